import pytest

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.errors import IllegalTransitionError
from mge_ray.domain.generation import StopReason, Usage
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from tests.builders import CALL_USD, MAYBE_BILLED, driven, failed, generation, policy
from tests.domain.test_answer_sizes import forecast

NAMES = ", ".join(f"a{number}" for number in range(30))


def raised(run, limit_usd, by="ada", reason="the customer agreed"):
    return run.handle(e.BudgetRaised(run.now, limit_usd, by, reason))


def told(outcome):
    return [item for item in outcome if isinstance(item, c.SoftLimitReached)]


# ---- another limit ---------------------------------------------------------------------------------------------------


def test_another_limit_is_kept_with_who_set_it_and_why_and_the_status_stays():
    run = driven("a", budget_usd=1.0)
    run.pause("budget: full")
    assert raised(run, 2.5) == []
    (change,) = run.machine.budget_changes
    assert (change.before_usd, change.limit_usd, change.by, change.reason) == (1.0, 2.5, "ada", "the customer agreed")
    assert (run.machine.status, run.machine.reason) == (ExecutionStatus.PAUSED, "budget: full")
    assert run.replayed().snapshot() == run.machine.snapshot()
    assert execution_state(run.machine).budget_usd == 2.5


def test_a_limit_may_be_lowered_to_what_is_committed_and_no_further():
    run = driven("a, b, c", budget_usd=1.0)
    run.attempt("a")
    run.call("b", usd=0.2)
    run.fail("b", MAYBE_BILLED)
    run.call("c", usd=0.3)
    before = run.machine.snapshot()
    with pytest.raises(IllegalTransitionError, match=r"limit of \$0.5000 is below what is committed already: spent"):
        raised(run, 0.5)
    assert run.machine.snapshot() == before
    raised(run, 0.51)
    assert not run.machine.money.fits(0.001)


@pytest.mark.parametrize("limit_usd", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_is_no_amount_is_refused(limit_usd):
    with pytest.raises(IllegalTransitionError, match="finite number of US dollars"):
        raised(driven("a"), limit_usd)


def test_a_limit_set_before_the_start_holds_at_the_start():
    run = driven("a", started=False)
    raised(run, 0.5)
    run.start(budget_usd=9.0)
    assert run.machine.money.limit_usd == 0.5


# ---- the soft limit --------------------------------------------------------------------------------------------------


def test_the_soft_limit_is_told_once_and_again_after_a_raise():
    run = driven("a, b, c, d", budget_usd=0.04)
    run.attempt("a")
    assert told(run.attempt("b")) == []
    run.call("c")
    (notice,) = told(run.arrive("c"))
    assert (notice.committed_usd, notice.limit_usd) == (pytest.approx(0.03), 0.04)
    run.check("c")
    assert told(run.judge("c")) == []
    assert told(raised(run, 0.05)) == []
    run.call("d")
    assert told(run.arrive("d")) == [c.SoftLimitReached(pytest.approx(0.04), 0.05)]
    assert run.machine.status is ExecutionStatus.RUNNING


def test_a_limit_that_is_lowered_to_what_is_used_is_told_at_once():
    run = driven("a, b", budget_usd=1.0)
    run.attempt("a")
    assert told(raised(run, CALL_USD)) == [c.SoftLimitReached(CALL_USD, CALL_USD)]


def test_a_limit_of_nothing_for_calls_that_cost_nothing_is_not_told():
    run = driven("a", budget_usd=0.0)
    run.call("a", usd=0.0)
    assert told(run.arrive("a", generation(usd=0.0))) == []


# ---- one atom --------------------------------------------------------------------------------------------------------


def exceeded(run, atom_id, usd):
    return run.handle(e.AtomBudgetExceeded(run.now, atom_id, usd))


def test_an_atom_whose_next_call_does_not_fit_its_own_budget_fails_alone_with_the_numbers():
    run = driven("a -> b, c", atom_budget_usd=0.03)
    run.call("a", usd=0.01)
    run.fail("a", MAYBE_BILLED)
    run.attempt("a", failed())
    with pytest.raises(IllegalTransitionError, match="does not fit its atom's budget"):
        run.call("a", usd=0.02)
    exceeded(run, "a", 0.02)
    record = run.machine.atoms["a"]
    assert record.status is AtomStatus.FAILED
    assert record.cause == (
        "its budget of $0.03 is used up: spent $0.0100, $0.0100 unknown, and the next call can cost up to $0.0200"
    )
    assert run.status("b") == "blocked"
    run.attempt("c")
    assert run.machine.status is ExecutionStatus.FAILED
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_a_call_that_fits_is_no_reason_to_fail_and_neither_is_one_that_is_not_next():
    run = driven("a, b", atom_budget_usd=0.03)
    with pytest.raises(IllegalTransitionError, match="fits its budget"):
        exceeded(run, "a", 0.03)
    run.call("b")
    with pytest.raises(IllegalTransitionError, match="while atom 'b' is generating"):
        exceeded(run, "b", 1.0)


def test_an_atom_that_waits_out_a_failure_is_not_next():
    run = driven("a", atom_budget_usd=0.03, policy=policy(backoff_base_s=100.0))
    run.call("a")
    run.fail("a")
    with pytest.raises(IllegalTransitionError, match="is not ready"):
        exceeded(run, "a", 1.0)


def test_a_retry_by_hand_grants_the_atom_its_budget_again():
    run = driven("a", atom_budget_usd=0.01)
    run.attempt("a", failed())
    exceeded(run, "a", CALL_USD)
    run.handle(e.RetryRequested(run.now))
    run.resume()
    run.attempt("a")
    assert run.machine.status is ExecutionStatus.COMPLETED


# ---- shorter answers are asked for -----------------------------------------------------------------------------------


def learned(count=8, tokens=200, **fields):
    """A machine that has seen `count` answers of so many tokens, and whose budget carries few calls."""
    run = driven(NAMES, **{"policy": policy(learns_max_tokens=True), "budget_usd": 1.0, **fields})
    for number in range(count):
        run.call(f"a{number}", usd=0.1)
        run.arrive(f"a{number}", answer(tokens))
    return run


def answer(tokens, **fields):
    found = generation("x = 1\n" if not fields else None, **fields)
    object.__setattr__(found, "usage", Usage(10, tokens))
    return found


def test_where_the_budget_carries_few_calls_answers_are_asked_for_as_long_as_they_have_been():
    run = learned()
    assert run.machine.asking("a29").max_tokens == 512
    assert learned(2).machine.asking("a29").max_tokens == 4_096
    assert run.replayed().asking("a29").max_tokens == 512


@pytest.mark.parametrize(
    "wishes",
    [{"budget_usd": None}, {"budget_usd": 100.0}, {"policy": policy()}, {"policy": policy(max_tokens=500)}],
    ids=["no limit", "ample", "not wanted", "less is the policy's own"],
)
def test_elsewhere_the_policy_says_how_long_they_may_be(wishes):
    run = learned(**{"policy": policy(learns_max_tokens=True), **wishes})
    own = run.machine.settings.policy.max_tokens
    assert run.machine.asking("a29").max_tokens == own


def test_before_answers_are_known_the_forecast_says_how_long_they_should_be():
    wishes = {"policy": policy(learns_max_tokens=True), "budget_usd": 1.0}
    run = driven(NAMES, started=False)
    settings = e.ExecutionSettings(**wishes, forecast=forecast(calls=10, output_tokens=2_500))
    run.handle(e.ExecutionStarted(run.now, settings, dearest_call_usd=0.1))
    assert run.machine.asking("a0").max_tokens == 1_024


def test_an_answer_cut_at_less_than_the_policy_allows_is_asked_for_again_whole_and_costs_no_attempt():
    run = learned()
    first = run.call("a29", usd=0.1)
    outcome = run.arrive("a29", answer(512, stop_reason=StopReason.MAX_TOKENS))
    assert [type(item) for item in outcome] == [c.Release, c.Acknowledge]
    again = run.call("a29", usd=0.1)
    assert (first.settings.max_tokens, again.settings.max_tokens) == (512, 4_096)
    assert (first.attempt, again.attempt) == (1, 1)
    assert first.call_id != again.call_id
    record = run.machine.atoms["a29"]
    assert (record.attempts, record.cut_answers, record.cost_usd) == ([], 0, CALL_USD)
    assert run.machine.answers_cut_short == 1
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_an_answer_cut_at_the_policys_own_bound_is_an_attempt():
    run = learned(policy=policy())
    run.call("a29", usd=0.1)
    run.arrive("a29", answer(4_096, stop_reason=StopReason.MAX_TOKENS))
    assert len(run.machine.atoms["a29"].attempts) == 1
    assert run.machine.asking("a29").max_tokens == 8_192


def test_after_a_restart_a_call_in_flight_is_the_one_that_was_reserved():
    run = learned()
    asked = run.call("a29", usd=0.1, gateway="g").settings
    for number in range(8, 20):
        run.call(f"a{number}", usd=0.1)
        run.arrive(f"a{number}", answer(2_000))
    again = [item for item in run.restart("g") if isinstance(item, c.Generate)]
    assert [item.settings for item in again] == [asked]
    assert run.machine.asking("a28").max_tokens > asked.max_tokens


# ---- what it will have cost ------------------------------------------------------------------------------------------


def test_the_forecast_at_completion_is_what_ended_atoms_took_for_all_that_may_still_be_made():
    run = driven("a, b, c -> d, e", budget_usd=1.0)
    assert execution_state(run.machine).forecast_cost_usd is None
    run.attempt("a")
    assert run.machine.forecast_usd == pytest.approx(5 * CALL_USD)
    run.call("b", usd=0.5)
    assert run.machine.forecast_usd == pytest.approx(5 * CALL_USD)
    run.arrive("b", generation(usd=0.3))
    assert run.machine.forecast_usd == pytest.approx(0.31)
    run.check("b")
    run.judge("b")
    assert run.machine.forecast_usd == pytest.approx(0.31 * 5 / 2)
    for _ in range(4):
        run.attempt("c", failed())
    run.attempt("e")
    assert run.machine.forecast_usd == execution_state(run.machine).total_cost_usd == pytest.approx(0.36)


def test_before_an_atom_has_ended_the_plans_forecast_is_told():
    planned = forecast(calls=1, output_tokens=1)
    run = driven("a, b", forecast=planned)
    assert run.machine.forecast_usd is None
    run = driven("a, b", forecast=planned.model_copy(update={"cost_usd": planned.calls}))
    assert run.machine.forecast_usd == 1.0


def test_a_cancelled_execution_will_have_cost_what_it_has():
    run = driven("a, b")
    run.attempt("a")
    run.cancel()
    assert run.machine.forecast_usd == CALL_USD


def test_an_atom_opened_again_is_not_counted_as_ended():
    run = driven("a, b", policy=policy(max_attempts=1))
    run.attempt("a", failed())
    assert run.machine.closed_usd == CALL_USD
    run.pause()
    run.handle(e.RetryRequested(run.now, ("a",)))
    assert run.machine.closed_usd == 0.0
    run.resume()
    run.attempt("a")
    assert run.machine.closed_usd == pytest.approx(2 * CALL_USD)
