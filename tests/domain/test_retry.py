import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mge_ray.domain.atom import Complexity
from mge_ray.domain.retry import MAX_FEEDBACK_CHARS, AttemptPolicy, best_of, feedback, fraction
from mge_ray.domain.validation import Level, Severity, ValidationIssue, ValidationResult, failed_at
from tests.builders import failed, failure, policy
from tests.properties import bounded

seconds = st.floats(0, 1e6)


def settings_of(made, complexity=Complexity.MEDIUM):
    return [made.settings(attempt, complexity) for attempt in range(1, made.max_attempts + 1)]


def test_attempts_cool_down_where_the_model_takes_a_temperature():
    assert [asked.temperature for asked in settings_of(policy())] == [0.7, 0.5, 0.3, 0.3]
    assert {asked.effort for asked in settings_of(policy())} == {None}


def test_effort_rises_where_it_takes_none():
    made = AttemptPolicy(model="m")
    assert [asked.effort for asked in settings_of(made, Complexity.LOW)] == ["low", "medium", "medium", "high"]
    assert [asked.effort for asked in settings_of(made)] == ["medium", "high", "high", "high"]
    assert [asked.effort for asked in settings_of(made, Complexity.HIGH)] == ["high"] * 4
    assert {asked.temperature for asked in settings_of(made)} == {None}


def test_a_model_that_takes_neither_is_asked_the_same_way_each_time():
    made = AttemptPolicy(model="m", accepts_effort=False)
    assert {(asked.temperature, asked.effort) for asked in settings_of(made)} == {(None, None)}


def test_the_last_attempt_goes_to_the_escalation_model():
    made = AttemptPolicy(model="small", escalation_model="large")
    assert [asked.model for asked in settings_of(made)] == ["small", "small", "small", "large"]


def test_a_single_attempt_is_not_the_last_resort():
    made = AttemptPolicy(model="small", escalation_model="large", max_attempts=1)
    assert [asked.model for asked in settings_of(made)] == ["small"]


def test_models_that_sample_are_not_escalated():
    made = policy(escalation_model="large")
    assert {asked.model for asked in settings_of(made)} == {"m"}


def test_a_cut_answer_gets_more_room_up_to_the_ceiling():
    made = policy(max_tokens=1_000, max_tokens_ceiling=3_000)
    room = [made.settings(1, Complexity.LOW, cut_answers=cut).max_tokens for cut in range(4)]
    assert room == [1_000, 2_000, 3_000, 3_000]


def test_the_ceiling_never_takes_room_away():
    assert policy(max_tokens=5_000, max_tokens_ceiling=100).settings(1, Complexity.LOW).max_tokens == 5_000


@pytest.mark.parametrize(
    "fields",
    [
        {"temperatures": (0.7,)},
        {"max_attempts": 0},
        {"max_attempts": 5},
        {"max_tokens": 1},
        {"backoff_base_s": -1},
        {"backoff_cap_s": float("inf")},
        {"backoff_cap_s": float("nan")},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ValidationError):
        policy(**fields)


def test_feedback_is_at_most_five_critical_or_error_messages_critical_first():
    issues = [ValidationIssue(severity=Severity.WARNING, level=Level.LINT, message="warning")]
    issues += [ValidationIssue(severity=Severity.ERROR, level=Level.LINT, message=f"e{n}") for n in range(6)]
    issues += [ValidationIssue(severity=Severity.CRITICAL, level=Level.LINT, message="worst")]
    told = feedback(ValidationResult(issues=tuple(issues)))
    assert told == ("[lint] worst", "[lint] e0", "[lint] e1", "[lint] e2", "[lint] e3")


def test_feedback_says_where_and_by_which_rule():
    found = ValidationIssue(severity=Severity.ERROR, level=Level.LINT, message="unused", rule="F401", line=3)
    assert feedback(ValidationResult(issues=(found,))) == ("[lint F401, line 3] unused",)


def test_feedback_is_bounded():
    (told,) = feedback(failed("x" * 10_000))
    assert len(told) < MAX_FEEDBACK_CHARS + 100


def test_a_verdict_that_passed_feeds_nothing_back():
    assert feedback(ValidationResult()) == ()


def test_the_best_attempt_got_furthest_and_among_equals_is_the_latest():
    early, late = failed_at(Level.PARSE, "no", rule="r"), failed("no")
    assert best_of([early, late, early]) == 1
    assert best_of([late, early, late]) == 2


@bounded
@given(tries=st.integers(1, 10_000), base=seconds, cap=seconds, call_id=st.text())
def test_backoff_grows_to_a_cap_and_never_waits_less_than_half_of_it(tries, base, cap, call_id):
    made = policy(backoff_base_s=base, backoff_cap_s=cap)
    ceiling = min(base * 2 ** min(tries - 1, 20), cap)
    assert ceiling / 2 <= made.backoff_s(failure(), call_id, tries) <= ceiling


@bounded
@given(retry_after=seconds, base=seconds, cap=seconds, call_id=st.text())
def test_jitter_only_adds_to_what_the_provider_asked_for(retry_after, base, cap, call_id):
    made = policy(backoff_base_s=base, backoff_cap_s=cap)
    wait = made.backoff_s(failure(retry_after_s=retry_after), call_id, 1)
    assert min(retry_after, cap) <= wait <= min(retry_after, cap) + min(base, cap)


def test_the_same_call_draws_the_same_jitter_and_others_draw_others():
    made = policy(backoff_base_s=1.0)
    waits = {made.backoff_s(failure(), f"call {n}", 1) for n in range(50)}
    assert len(waits) == 50
    assert made.backoff_s(failure(), "call 1", 1) in waits


@bounded
@given(st.text())
def test_a_fraction_is_at_least_0_and_less_than_1(key):
    assert 0 <= fraction(key) < 1
