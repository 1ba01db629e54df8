from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mge_ray.domain.concurrency import LeasePool
from tests.properties import driven_far

LIMIT = 4
TTL_S = 10.0
names = st.lists(st.sampled_from([f"l{n}" for n in range(8)]), max_size=6)


class Leases(RuleBasedStateMachine):
    """A pool beside a model of it: a dictionary of who holds what until when."""

    def __init__(self):
        super().__init__()
        self.pool = LeasePool(LIMIT, ttl_s=TTL_S)
        self.now = 0.0
        self.until = {}

    def forget_the_expired(self):
        self.until = {lease: due for lease, due in self.until.items() if due > self.now}

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, TTL_S]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(wanted=names)
    def acquire(self, wanted):
        granted = self.pool.try_acquire(wanted, now=self.now)
        self.forget_the_expired()
        expected = []
        for lease in wanted:
            if lease in self.until or len(self.until) < LIMIT:
                self.until[lease] = self.now + TTL_S
                expected.append(lease)
        assert granted == expected

    @rule(wanted=names)
    def renew(self, wanted):
        gone = self.pool.renew(wanted, now=self.now)
        self.forget_the_expired()
        assert gone == [lease for lease in wanted if lease not in self.until]
        self.until |= {lease: self.now + TTL_S for lease in wanted if lease in self.until}

    @rule(given_back=names)
    def release(self, given_back):
        self.pool.release(given_back)
        for lease in given_back:
            self.until.pop(lease, None)

    @precondition(lambda self: self.until)
    @rule()
    def expire(self):
        before = set(self.until)
        dropped = self.pool.expire(now=self.now)
        self.forget_the_expired()
        assert set(dropped) == before - set(self.until)
        assert len(dropped) == len(set(dropped))

    @invariant()
    def never_more_than_the_limit(self):
        assert self.pool.in_use <= LIMIT
        assert self.pool.free == LIMIT - self.pool.in_use


TestLeases = Leases.TestCase
TestLeases.settings = settings(driven_far, max_examples=30)


def test_grants_follow_the_order_of_the_requests():
    pool = LeasePool(2)
    assert pool.try_acquire(["a", "b", "c"], now=0.0) == ["a", "b"]


def test_a_lease_that_is_not_renewed_frees_its_place():
    pool = LeasePool(1, ttl_s=30.0)
    pool.try_acquire(["a"], now=0.0)
    assert pool.try_acquire(["b"], now=29.9) == []
    assert pool.try_acquire(["b"], now=30.0) == ["b"]
    assert pool.expired_total == 1


def test_a_renewed_lease_lives_on():
    pool = LeasePool(1, ttl_s=30.0)
    pool.try_acquire(["a"], now=0.0)
    assert pool.renew(["a"], now=20.0) == []
    assert pool.try_acquire(["b"], now=40.0) == []


def test_a_lower_limit_grants_nothing_new_until_enough_is_given_back():
    pool = LeasePool(3)
    pool.try_acquire(["a", "b", "c"], now=0.0)
    pool.limit = 1
    assert (pool.in_use, pool.free) == (3, 0)
    assert pool.try_acquire(["d"], now=1.0) == []
    pool.release(["a", "b", "c"])
    assert pool.try_acquire(["d"], now=1.0) == ["d"]


def test_leases_without_an_end_never_expire():
    pool = LeasePool(1, ttl_s=float("inf"))
    pool.try_acquire(["a"], now=0.0)
    assert pool.expire(now=1e12) == []
    assert pool.in_use == 1
