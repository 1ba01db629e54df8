"""How many calls may start: an adaptive limit, rates, a breaker, and fair shares of what there is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mge_ray.domain.adaptive import AdaptiveLimit, CircuitBreaker
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.fairness import Demand, fair_shares
from mge_ray.domain.generation import FailureKind
from mge_ray.domain.lease import Lease, model_class, read_lease
from mge_ray.domain.rates import RateBucket, Rates
from mge_ray.domain.throttle import CallOutcome, SharedLeases, Throttle, Throttles, described


def leases(execution, *names, priority=5, pool=Pool.GENERATE, model="sonnet-5"):
    return [Lease(execution, pool, name, model, priority).id for name in names]


def many(execution, count, first=0, **fields):
    return leases(execution, *(f"a{n}" for n in range(first, first + count)), **fields)


def failed(kind, retry_after_s=None, call_id="c"):
    return CallOutcome("sonnet-5", call_id, kind, retry_after_s=retry_after_s)


def answer(latency_s=1.0, output_tokens=100, **headers):
    limits = {f"anthropic-ratelimit-{name.replace('_', '-')}": str(value) for name, value in headers.items()}
    return CallOutcome(
        "sonnet-5", "c", latency_s=latency_s, input_tokens=10, output_tokens=output_tokens, rate_limits=limits
    )


# ---- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("atom_id", ["a", "module:Class.method", "x:generate:5:y:z"])
def test_a_lease_s_id_says_whose_it_is(atom_id):
    lease = Lease("7", Pool.EXECUTE, atom_id, "opus-5", 9)
    assert read_lease(lease.id) == lease


@pytest.mark.parametrize("text", ["7:generate:a", "7:generate:a:b:c", "7:nothing:5:m:a", "odd"])
def test_an_id_of_another_form_belongs_to_what_stands_first(text):
    assert read_lease(text).execution == text.partition(":")[0]


def test_a_priority_from_outside_is_bounded():
    assert read_lease("7:generate:99999999:m:a").priority == 10


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("claude-sonnet-5-5", "sonnet-5"),
        ("claude-haiku-4-5-20251001", "haiku-4"),
        ("claude-3-5-sonnet-20241022", "sonnet-3"),
        ("claude-fable", "fable"),
        ("qwen3:8b", "qwen3_8b"),
        ("", ""),
    ],
)
def test_models_of_one_family_and_major_version_share_their_limits(model, name):
    assert model_class(model) == name


# ---- the adaptive limit ----------------------------------------------------------------------------------------------


def test_it_doubles_in_a_round_trip_while_it_is_used_up_and_stops_at_the_upper_bound():
    limit = AdaptiveLimit(highest=30, value=10.0)
    for _ in range(10):
        limit.answered(1.0, now=0.0, in_use=limit.limit)
    assert limit.limit == 20
    for _ in range(100):
        limit.answered(1.0, now=0.0, in_use=limit.limit)
    assert limit.limit == 30


def test_it_does_not_grow_when_it_is_not_used():
    limit = AdaptiveLimit(value=100.0)
    limit.answered(1.0, now=0.0, in_use=70)
    assert limit.limit == 100


def test_it_halves_once_a_round_trip_and_then_grows_by_steps():
    limit = AdaptiveLimit(highest=500, value=100.0)
    for _ in range(50):
        limit.pushed_back(now=10.0)
    assert (limit.limit, limit.pushed_back_total, limit.slow_start) == (50, 50, False)
    limit.pushed_back(now=12.0)
    assert limit.limit == 25
    for _ in range(25):
        limit.answered(1.0, now=13.0, in_use=25)
    assert 30 <= limit.value <= 40, "a step of ten a round trip"


def test_it_stays_within_its_bounds():
    limit = AdaptiveLimit(highest=500, value=12.0)
    for second in range(0, 100, 10):
        limit.pushed_back(now=float(second))
    assert limit.limit == 10
    limit.retune(4)
    assert (limit.limit, limit.lowest, limit.highest) == (4, 4, 4)


def test_a_doubled_p95_cuts_it_by_a_quarter_and_only_once_for_the_same_slowness():
    limit = AdaptiveLimit(value=100.0)
    for _ in range(200):
        limit.answered(1.0, now=0.0, in_use=0)
    assert limit.limit == 100
    for second in range(300):
        limit.answered(2.5, now=100.0 + second, in_use=0)
    assert limit.limit == 75


# ---- the breaker -----------------------------------------------------------------------------------------------------


def test_eight_overloads_in_a_row_open_it_and_an_answer_between_them_does_not():
    breaker = CircuitBreaker()
    for _ in range(7):
        breaker.overloaded(now=0.0)
    breaker.answered(began_at=-5.0)
    for _ in range(7):
        breaker.overloaded(now=0.0)
    assert breaker.allowed(now=0.0) is None
    breaker.overloaded(now=0.0)
    assert (breaker.is_open, breaker.allowed(now=0.5), breaker.allowed(now=1.0)) == (True, 0, 1)


def opened():
    breaker = CircuitBreaker()
    for _ in range(8):
        breaker.overloaded(now=0.0)
    return breaker


def test_a_single_call_tries_and_its_answer_closes_it():
    breaker = opened()
    breaker.started(now=1.0)
    assert breaker.allowed(now=2.0) == 0
    breaker.answered(began_at=1.0)
    assert (breaker.is_open, breaker.allowed(now=2.0)) == (False, None)


def test_an_answer_to_a_call_that_was_let_in_before_it_opened_does_not_close_it():
    breaker = opened()
    breaker.answered(began_at=-0.1)
    assert (breaker.is_open, breaker.allowed(now=0.5), breaker.allowed(now=1.0)) == (True, 0, 1)
    breaker.started(now=1.0)
    breaker.overloaded(now=1.0)
    breaker.answered(began_at=0.5)
    assert (breaker.is_open, breaker.allowed(now=2.9), breaker.allowed(now=3.0)) == (True, 0, 1)


def test_each_failed_try_doubles_the_wait_up_to_a_minute():
    breaker, now, waits = opened(), 1.0, []
    for _ in range(8):
        breaker.started(now=now)
        breaker.overloaded(now=now)
        waits.append(breaker.open_until - now)
        now = breaker.open_until
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_what_was_sent_before_it_opened_does_not_prolong_it():
    breaker = opened()
    for _ in range(100):
        breaker.overloaded(now=0.9)
    assert breaker.allowed(now=1.0) == 1


def test_a_try_that_never_ends_is_followed_by_another():
    breaker = opened()
    breaker.started(now=1.0)
    assert (breaker.allowed(now=120.0), breaker.allowed(now=121.0)) == (0, 1)


# ---- rates -----------------------------------------------------------------------------------------------------------


def test_nothing_is_held_back_before_anything_is_known():
    assert Rates().room(now=0.0, in_flight=1_000) == math.inf


def test_requests_follow_the_headers_less_what_they_cannot_have_seen():
    rates = Rates()
    rates.started(5, now=0.0)
    rates.started(7, now=9.9)
    headers = {"anthropic-ratelimit-requests-limit": "60", "anthropic-ratelimit-requests-remaining": "20"}
    rates.answered(headers, latency_s=1.0, input_tokens=0, output_tokens=0, now=10.0)
    assert rates.room(now=10.0, in_flight=0) == 20 - 7 - 3
    assert rates.room(now=14.0, in_flight=0) == 14, "one a second flows in"
    rates.started(14, now=14.0)
    assert rates.room(now=14.0, in_flight=0) == 0


def test_input_tokens_are_drawn_when_a_call_starts():
    rates = Rates()
    headers = {"anthropic-ratelimit-input-tokens-limit": "1000", "anthropic-ratelimit-input-tokens-remaining": "1000"}
    rates.answered(headers, latency_s=1.0, input_tokens=100, output_tokens=0, now=0.0)
    assert rates.room(now=0.0, in_flight=0) == 9.5
    rates.started(5, now=0.0)
    assert rates.room(now=0.0, in_flight=0) == 4.5


def test_output_tokens_of_calls_under_way_count_and_so_does_what_flows_in_meanwhile():
    rates = Rates()
    headers = {"anthropic-ratelimit-output-tokens-limit": "6000", "anthropic-ratelimit-output-tokens-remaining": "1300"}
    rates.answered(headers, latency_s=5.0, input_tokens=0, output_tokens=100, now=0.0)
    assert rates.room(now=0.0, in_flight=0) == (1300 - 300 + 500) / 100
    assert rates.room(now=0.0, in_flight=15) == 0
    rates.answered({}, latency_s=5.0, input_tokens=0, output_tokens=100, now=0.0)
    assert rates.room(now=0.0, in_flight=0) == 14


@pytest.mark.parametrize("value", ["", "many", "-1", "nan", "inf", "0"])
def test_headers_that_make_no_sense_are_ignored(value):
    bucket = RateBucket()
    headers = {"anthropic-ratelimit-requests-limit": value, "anthropic-ratelimit-requests-remaining": "5"}
    bucket.learn(headers, "requests", now=0.0, unseen=0)
    assert bucket.level(now=1.0) == math.inf


# ---- fairness --------------------------------------------------------------------------------------------------------


def test_what_one_does_not_want_goes_to_the_others():
    assert fair_shares(90, {"a": Demand(10, 1), "b": Demand(100, 1), "c": Demand(100, 1)}) == {
        "a": 10,
        "b": 40,
        "c": 40,
    }
    assert fair_shares(90, {"a": Demand(100, 2), "b": Demand(100, 1)}) == {"a": 60, "b": 30}


@given(
    total=st.integers(0, 200),
    wishes=st.dictionaries(
        st.sampled_from("abcde"), st.builds(Demand, st.integers(0, 100), st.sampled_from([0.5, 1.0, 2.0])), min_size=1
    ),
)
def test_shares_are_max_min_fair(total, wishes):
    shares = fair_shares(total, wishes)
    assert sum(shares.values()) == pytest.approx(min(total, sum(wish.wanted for wish in wishes.values())))
    for name, share in shares.items():
        assert share <= wishes[name].wanted + 1e-9
        if share < wishes[name].wanted - 1e-9:
            most = max(other / wishes[key].weight for key, other in shares.items())
            assert share / wishes[name].weight == pytest.approx(most), "whoever wants more has as much as anybody"


def test_two_executions_share_and_neither_takes_the_other_s_part():
    shared = SharedLeases(10, ttl_s=30.0)
    assert len(shared.try_acquire(many("a", 20), now=0.0)) == 10
    assert shared.try_acquire(many("b", 20), now=0.0) == []
    shared.release(many("a", 6))
    assert shared.try_acquire(many("a", 20, 100), now=0.1) == leases("a", "a100")
    assert shared.try_acquire(many("b", 20), now=0.1) == many("b", 5)


def test_a_step_of_priority_doubles_the_share():
    shared = SharedLeases(12, ttl_s=30.0)
    shared.try_acquire(many("low", 1), now=0.0)
    shared.try_acquire(many("high", 20, priority=6), now=0.0)
    shared.release([*many("low", 1), *many("high", 20, priority=6)])
    shared.try_acquire(many("low", 20), now=0.0)
    assert len(shared.try_acquire(many("high", 20, priority=6), now=0.0)) == 8


def test_a_wish_that_is_not_repeated_is_forgotten_but_not_what_is_held():
    shared = SharedLeases(10, ttl_s=30.0)
    shared.try_acquire(many("a", 4), now=0.0)
    assert len(shared.try_acquire(many("b", 20), now=5.0)) == 6


def test_a_live_lease_is_granted_again_for_free_and_nothing_wanted_is_nothing_granted():
    shared = SharedLeases(2, ttl_s=30.0)
    shared.try_acquire(many("a", 2), now=0.0)
    assert shared.try_acquire(many("a", 3), now=1.0) == many("a", 2)
    assert shared.try_acquire([], now=1.0) == []


def test_leases_that_were_forgotten_are_registered_again_also_beyond_the_limit():
    shared = SharedLeases(1, ttl_s=30.0)
    shared.renew(many("a", 3), now=0.0)
    assert shared.pool.in_use == 3
    assert shared.try_acquire(many("b", 1), now=0.0) == []
    shared.release([*many("a", 3), *many("nobody", 1)])
    assert shared.try_acquire(many("b", 1), now=0.0) == many("b", 1)


# ---- the throttle ----------------------------------------------------------------------------------------------------


def test_a_retry_after_closes_it_for_everybody_and_jitter_only_adds():
    throttle = Throttle(ttl_s=30.0)
    throttle.observe(failed(FailureKind.RATE_LIMITED, 10.0), now=0.0)
    assert 10.0 <= throttle.paused_until <= 11.0
    assert throttle.try_acquire(many("a", 5), now=9.9) == []
    assert throttle.try_acquire(many("b", 5), now=13.0) == many("b", 5)


def test_a_retry_after_of_hours_is_not_believed():
    throttle = Throttle(ttl_s=30.0)
    throttle.observe(failed(FailureKind.RATE_LIMITED, 1e9), now=0.0)
    assert throttle.paused_until <= 301.0


def test_a_user_s_cap_bounds_it_and_it_starts_where_it_is_told():
    assert len(Throttle(7, ttl_s=30.0).try_acquire(many("a", 50), now=0.0)) == 7
    assert len(Throttle(ttl_s=30.0).try_acquire(many("a", 900), now=0.0)) == 100
    assert len(Throttle(1_000, start=1_000, ttl_s=30.0).try_acquire(many("a", 1_200), now=0.0)) == 1_000


def test_one_storm_is_one_reason_to_cut():
    throttle = Throttle(start=100, ttl_s=30.0)
    for call in range(60):
        throttle.observe(failed(FailureKind.OVERLOADED, call_id=str(call)), now=call / 10)
    assert throttle.adaptive.limit == 50
    assert throttle.try_acquire(many("a", 5), now=6.0) == many("a", 1), "a single call tries"
    throttle.observe(answer(), now=7.0)
    assert len(throttle.try_acquire(many("a", 5), now=7.0)) == 5


def test_what_says_nothing_about_load_changes_nothing():
    throttle = Throttle(ttl_s=30.0)
    throttle.observe(failed(FailureKind.REQUEST_REFUSED), now=0.0)
    assert throttle.adaptive.limit == 100


def test_rates_are_shared_fairly_too():
    throttle = Throttle(ttl_s=30.0)
    throttle.observe(answer(requests_limit=60, requests_remaining=13), now=0.0)
    assert len(throttle.try_acquire(many("a", 50), now=0.0)) == 10
    throttle.release(many("a", 10))
    assert throttle.try_acquire(many("b", 50), now=0.5) == []
    assert len(throttle.try_acquire(many("b", 50), now=2.0)) >= 1


def test_it_can_be_retuned_while_running():
    throttles = Throttles(4, 50, ttl_s=30.0)
    throttles.try_acquire(Pool.GENERATE, many("a", 50), now=0.0)
    throttles.retune(20)
    (view,) = throttles.views(now=0.0)
    assert (view.limit, view.highest, view.in_use, view.requests_per_minute) == (20, 20, 50, None)
    assert throttles.try_acquire(Pool.GENERATE, many("b", 1), now=0.0) == []
    assert throttles.of("opus-5").adaptive.highest == 20


def test_each_model_class_has_its_own_and_checks_are_apart():
    throttles = Throttles(2, 1, ttl_s=30.0)
    sonnet, opus = leases("a", "x", "y"), leases("a", "z", model="opus-5")
    assert throttles.try_acquire(Pool.GENERATE, [*sonnet, *opus], now=0.0) == [sonnet[0], opus[0]]
    checks = leases("a", "x", "y", "z", pool=Pool.EXECUTE, model="")
    assert throttles.try_acquire(Pool.EXECUTE, checks, now=0.0) == checks[:2]
    assert throttles.in_use(now=0.0) == {"generate": 2, "execute": 2}
    throttles.observe([failed(FailureKind.RATE_LIMITED, 5.0)], now=0.0)
    assert [view.paused_s > 0 for view in throttles.views(now=0.0)] == [False, True]
    throttles.renew(Pool.GENERATE, sonnet, now=20.0)
    throttles.renew(Pool.EXECUTE, checks[:1], now=20.0)
    assert throttles.in_use(now=31.0) == {"generate": 2, "execute": 1}
    throttles.release(Pool.GENERATE, sonnet)
    throttles.release(Pool.EXECUTE, checks)
    assert throttles.in_use(now=31.0) == {"generate": 0, "execute": 0}


def test_a_view_is_one_line_for_people():
    throttles = Throttles(2, 50, ttl_s=30.0)
    throttles.observe([answer(requests_limit=300, requests_remaining=9)], now=0.0)
    (view,) = throttles.views(now=0.0)
    assert described(view) == (
        "sonnet-5: 0 in flight, limit 50 (at most 50), doubling; never pushed back; "
        "the provider allows 300 requests a minute"
    )
    for call in range(9):
        throttles.observe([failed(FailureKind.OVERLOADED, 20.0, str(call))], now=0.0)
    told = described(throttles.views(now=0.0)[0])
    assert "growing by steps; pushed back 8 times; the provider is overloaded, one call tries; all wait for 2" in told
