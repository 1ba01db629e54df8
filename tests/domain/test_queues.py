import pytest

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.queues import FAILURES_BEFORE_A_SHARED_HOLD, ReadyQueues


def hold(queues, *, now=100.0, retry_after_s=None, failures=FAILURES_BEFORE_A_SHARED_HOLD, base_s=1.0, cap_s=60.0):
    queues.hold(now=now, retry_after_s=retry_after_s, failures_in_a_row=failures, base_s=base_s, cap_s=cap_s)
    return queues.hold_until


def filled(*atom_ids):
    queues = ReadyQueues()
    for atom_id in atom_ids:
        queues.add(Pool.GENERATE, atom_id)
    return queues


def test_first_come_first_served():
    assert filled("b", "a", "c").first(Pool.GENERATE, now=1.0, limit=2) == ["b", "a"]


def test_pools_do_not_mix():
    queues = filled("a")
    queues.add(Pool.EXECUTE, "b")
    assert queues.first(Pool.EXECUTE, now=1.0, limit=9) == ["b"]
    assert queues.content() == {"generate": ["a"], "execute": ["b"]}


def test_a_delayed_atom_is_queued_but_not_ready_before_its_time():
    queues = ReadyQueues()
    queues.add(Pool.GENERATE, "a", not_before=10.0)
    assert queues.content()["generate"] == ["a"]
    assert queues.next_wake() == 10.0
    assert not queues.has(Pool.GENERATE, "a", now=9.9)
    assert queues.has(Pool.GENERATE, "a", now=10.0)


def test_what_is_taken_is_gone():
    queues = filled("a")
    queues.take(Pool.GENERATE, "a")
    assert queues.first(Pool.GENERATE, now=1.0, limit=9) == []


def test_a_hold_closes_the_generate_pool_alone():
    queues = filled("a")
    queues.add(Pool.EXECUTE, "b")
    hold(queues, now=100.0, retry_after_s=5.0)
    assert queues.first(Pool.GENERATE, now=104.9, limit=9) == []
    assert queues.first(Pool.EXECUTE, now=104.9, limit=9) == ["b"]
    assert queues.next_wake() == 105.0
    assert queues.first(Pool.GENERATE, now=105.0, limit=9) == ["a"]


def test_a_providers_wish_is_followed_up_to_the_cap_and_never_shortens_a_hold():
    queues = ReadyQueues()
    assert hold(queues, retry_after_s=500.0, failures=1) == 160.0
    assert hold(queues, retry_after_s=1.0, failures=1) == 160.0


def test_a_single_failure_holds_nobody_else():
    assert hold(ReadyQueues(), failures=FAILURES_BEFORE_A_SHARED_HOLD - 1) == 0.0


def test_each_hold_after_a_reopening_lasts_twice_as_long_up_to_the_cap():
    queues, lengths, now = ReadyQueues(), [], 100.0
    for _ in range(5):
        lengths.append(hold(queues, now=now, cap_s=6.0) - now)
        now = queues.hold_until
    assert lengths == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_failures_during_a_hold_do_not_prolong_it():
    queues = ReadyQueues()
    assert hold(queues, now=100.0) == hold(queues, now=100.5) == 101.0


def test_an_answer_ends_the_series_of_holds():
    queues = ReadyQueues()
    hold(queues, now=100.0)
    hold(queues, now=101.0)
    queues.answered()
    assert hold(queues, now=110.0) == 111.0


def test_flights_are_reported_overdue_once():
    queues = ReadyQueues()
    queues.watch("a", began_at=1.0, deadline=5.0)
    queues.watch("b", began_at=1.0, deadline=9.0)
    assert queues.next_wake() == 5.0
    assert queues.overdue(now=4.9) == []
    assert queues.overdue(now=5.0) == [("a", 1.0)]
    assert queues.overdue(now=5.0) == []


def test_a_flight_that_is_watched_twice_is_overdue_once():
    queues = ReadyQueues()
    queues.watch("a", began_at=1.0, deadline=5.0)
    queues.watch("a", began_at=1.0, deadline=5.0)
    assert queues.overdue(now=5.0) == [("a", 1.0)]


@pytest.mark.parametrize("not_before", [0.0, 10.0])
def test_clearing_drops_everything_queued(not_before):
    queues = ReadyQueues()
    queues.add(Pool.GENERATE, "a", not_before=not_before)
    queues.clear()
    assert queues.content() == {"generate": [], "execute": []}
    assert queues.next_wake() is None
