import pytest

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import IllegalTransitionError
from mge_ray.domain.generation import Billing, FailureKind, StopReason
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.domain.validation import Level
from tests.builders import (
    BILLED,
    CALL_USD,
    MAYBE_BILLED,
    PASSED,
    UNBILLED,
    driven,
    failed,
    failure,
    generation,
    plan,
)

RATE_LIMITED = failure(FailureKind.RATE_LIMITED, retry_after_s=30.0)
ACCEPTED = {"files": {"tests/test_all.py": ""}, "acceptance_tests": ("tests",)}


def of(kind, outcome):
    return [item for item in outcome if isinstance(item, kind)]


def ended(run):
    return run.machine.status.value, run.machine.reason


# ---- the path of an atom ---------------------------------------------------------------------------------------------


def test_an_atom_goes_from_call_to_answer_to_check_to_success():
    run = driven("a")
    call = run.call("a", gateway="g1")
    assert (call.attempt, call.gateway, call.previous_code, call.previous_errors) == (1, "g1", None, ())
    assert run.arrive("a") == [c.Release(Pool.GENERATE, "lease-0"), c.Acknowledge(call.call_id, "g1")]
    assert run.check("a") == c.Execute("a", 1, call.call_id, "x = 1\n")
    assert run.judge("a") == [
        c.Release(Pool.EXECUTE, "lease-1"),
        c.AttemptMade("a", 1, passed=True, temperature_changed=False),
        c.AtomFinished("a", 1, succeeded=True, attempts=1, active_s=2.0),
        c.WaveFinished(1),
        c.ExecutionFinished(),
    ]
    assert ended(run) == ("completed", "")
    assert run.machine.accepted_codes() == {"a": "x = 1\n"}


def test_a_failed_attempt_goes_back_with_its_code_and_errors_and_a_lower_temperature():
    run = driven("a")
    run.attempt("a", failed("name 'y' is not defined"))
    second = run.call("a")
    assert (second.attempt, second.settings.temperature) == (2, 0.5)
    assert second.previous_code == "x = 1\n"
    assert second.previous_errors == ("[tests] name 'y' is not defined",)


def test_each_attempt_is_told_with_whether_it_was_cooler():
    run = driven("a")
    made = [item for _ in range(4) for item in of(c.AttemptMade, run.attempt("a", failed()))]
    assert [(one.attempt, one.temperature_changed) for one in made] == [(1, False), (2, True), (3, True), (4, False)]


def test_four_failed_attempts_fail_the_atom_and_keep_the_best_code():
    run = driven("a")
    for answer, errors in (("1\n", 3), ("2\n", 1), ("3\n", 2), ("4\n", 2)):
        run.call("a")
        run.arrive("a", generation(answer))
        run.check("a")
        run.judge("a", failed(*map(str, range(errors))))
    record = run.machine.atoms["a"]
    assert (record.status, record.cause, record.code) == (AtomStatus.FAILED, "all 4 attempts failed", "2\n")
    assert ended(run) == ("failed", "1 of 1 atoms failed, 0 blocked by them")
    assert run.machine.accepted_codes() == {}


def test_every_call_has_an_identity_of_its_own():
    run, seen = driven("a"), []
    for kind in (UNBILLED, MAYBE_BILLED):
        seen.append(run.call("a").call_id)
        run.fail("a", kind)
    seen.append(run.call("a").call_id)
    run.arrive("a")
    run.check("a")
    run.judge("a", failed())
    seen.append(run.call("a").call_id)
    assert len(set(seen)) == 4


def test_a_preview_is_the_call_and_changes_nothing():
    run = driven("a")
    before = run.machine.snapshot()
    previewed = run.machine.preview("a", gateway="g")
    assert run.machine.snapshot() == before
    assert run.call("a", gateway="g") == previewed


def test_a_preview_before_the_start_is_refused():
    with pytest.raises(IllegalTransitionError, match="has not started"):
        driven("a", started=False).machine.preview("a")


# ---- waves -----------------------------------------------------------------------------------------------------------


def test_a_wave_opens_when_the_one_before_is_done():
    run = driven("a, b, a -> c")
    assert run.ready() == ["a", "b"]
    run.attempt("a")
    assert run.ready() == ["b"]
    assert of(c.WaveFinished, run.attempt("b")) == [c.WaveFinished(1)]
    assert run.ready() == ["c"]


def test_dependents_of_a_failed_atom_are_blocked_and_unrelated_ones_go_on():
    run = driven("a -> c, b -> d, c -> e, a -> e", policy={"model": "m", "max_attempts": 1})
    run.attempt("a", failed())
    assert (run.status("c"), run.status("e")) == ("blocked", "blocked")
    assert run.machine.atoms["e"].cause == "depends on a, which failed"
    run.attempt("b")
    run.attempt("d")
    assert run.status("d") == "succeeded"
    assert ended(run) == ("failed", "1 of 5 atoms failed, 2 blocked by them")


def test_an_atom_below_two_failures_is_blocked_once():
    run = driven("a -> c, b -> c", policy={"model": "m", "max_attempts": 1})
    run.attempt("a", failed())
    run.attempt("b", failed())
    assert execution_state(run.machine).atoms_blocked == 1
    assert execution_state(run.machine).atoms_completed == 3


def test_waves_without_atoms_are_passed_through():
    waves = [{"wave_id": 1, "atom_ids": ()}, {"wave_id": 2, "atom_ids": ("a",)}, {"wave_id": 3, "atom_ids": ()}]
    run = driven("a", plan_fields={"execution_plan": waves})
    assert of(c.WaveFinished, run.attempt("a")) == [c.WaveFinished(2), c.WaveFinished(3)]
    assert run.machine.status is ExecutionStatus.COMPLETED


def test_a_wave_of_blocked_atoms_alone_finishes_by_itself():
    run = driven("a -> b", policy={"model": "m", "max_attempts": 1})
    assert of(c.WaveFinished, run.attempt("a", failed())) == [c.WaveFinished(1), c.WaveFinished(2)]


# ---- answers that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "advice", "rule"),
    [
        (StopReason.MAX_TOKENS, "cut at max_tokens", "max_tokens"),
        (StopReason.REFUSAL, "refused to answer", "refusal"),
        (StopReason.OTHER, "stopped before the end", "other"),
        (StopReason.END_TURN, "no fenced code block", "no-code-block"),
    ],
)
def test_a_bad_answer_is_an_attempt_and_its_fault_goes_back(stop, advice, rule):
    run = driven("a")
    run.call("a")
    outcome = run.arrive("a", generation(None, stop_reason=stop))
    assert of(c.AttemptMade, outcome) == [c.AttemptMade("a", 1, passed=False, temperature_changed=False)]
    assert run.machine.atoms["a"].attempts[0].verdict.issues[0].rule == rule
    assert advice in run.call("a").previous_errors[0]


def test_a_cut_answer_gets_more_room():
    run = driven("a")
    assert run.call("a").settings.max_tokens == 4_096
    run.arrive("a", generation("x = ", stop_reason=StopReason.MAX_TOKENS))
    again = run.call("a")
    assert again.settings.max_tokens == 8_192
    assert again.previous_code == "x = "


def test_a_prompt_that_does_not_fit_fails_the_atom_at_once():
    run = driven("a")
    run.call("a")
    run.arrive("a", generation(None, stop_reason=StopReason.CONTEXT_WINDOW))
    assert run.status("a") == "failed"
    assert run.machine.atoms["a"].cause == "the prompt does not fit the model's context window"


def test_an_empty_code_block_is_judged_like_any_other():
    run = driven("a")
    run.call("a")
    run.arrive("a", generation(""))
    assert run.check("a").code == ""
    run.judge("a", failed())
    assert run.call("a").previous_code is None


# ---- calls that fail -------------------------------------------------------------------------------------------------


def test_transport_errors_are_not_attempts():
    run = driven("a")
    for _ in range(3):
        run.call("a")
        run.fail("a")
    assert run.call("a").attempt == 1
    assert (run.machine.atoms["a"].attempts, run.machine.transport_errors) == ([], 3)


def test_a_failed_call_backs_off_without_a_lease():
    run = driven("a", policy={"model": "m", "backoff_base_s": 10.0})
    run.call("a")
    assert of(c.Release, run.fail("a")) == [c.Release(Pool.GENERATE, "lease-0")]
    assert run.ready() == []
    assert run.now + 5.0 <= run.machine.next_wake() <= run.now + 10.0
    run.now = run.machine.next_wake()
    assert run.ready() == ["a"]


def test_a_lease_during_the_back_off_is_refused():
    run = driven("a", policy={"model": "m", "backoff_base_s": 10.0})
    run.call("a")
    run.fail("a")
    with pytest.raises(IllegalTransitionError, match="'a' is not ready for the generate pool"):
        run.call("a")


def test_a_rate_limit_holds_everybody_for_as_long_as_the_provider_says():
    run = driven("a, b")
    run.call("a")
    run.fail("a", RATE_LIMITED)
    assert run.ready() == []
    run.now += 30.0
    assert run.ready() == ["b", "a"]


def test_checks_go_on_while_calls_are_held():
    run = driven("a, b")
    run.call("a")
    run.call("b")
    run.arrive("a")
    run.fail("b", RATE_LIMITED)
    assert run.ready(Pool.EXECUTE) == ["a"]


def test_an_answer_ends_a_series_of_failures():
    run = driven("a, b", max_transport_tries=2)
    run.call("a")
    run.fail("a")
    run.call("b")
    run.arrive("b")
    run.call("a")
    run.fail("a")
    assert run.machine.transport_errors_in_a_row == 1
    assert run.status("a") == "failed"
    assert run.machine.atoms["a"].cause == "no answer in 2 calls; the last: a server_error in a test"


def test_a_provider_that_never_answers_pauses_the_run_and_fails_no_atom():
    run = driven("a", max_transport_tries=3)
    for _ in range(3):
        run.call("a")
        run.fail("a")
    assert ended(run) == ("paused", "the provider does not answer; the last failure was a server_error in a test")
    run.resume()
    assert run.call("a").attempt == 1


@pytest.mark.parametrize("kind", [FailureKind.SPEND_LIMIT, FailureKind.AUTHENTICATION, FailureKind.UNKNOWN_MODEL])
def test_a_failure_that_every_call_would_meet_pauses_the_run(kind):
    run = driven("a, b")
    run.call("a")
    run.fail("a", failure(kind))
    assert ended(run) == ("paused", f"{kind.value}: a {kind.value} in a test")
    assert (run.ready(), run.status("a")) == ([], "ready")


def test_the_first_reason_for_a_pause_is_kept():
    run = driven("a, b")
    run.call("a")
    run.call("b")
    run.fail("a", failure(FailureKind.SPEND_LIMIT))
    run.fail("b", failure(FailureKind.AUTHENTICATION))
    assert run.machine.reason.startswith("spend_limit")


@pytest.mark.parametrize("kind", [FailureKind.REQUEST_REFUSED, FailureKind.INTERNAL])
def test_a_request_that_is_refused_as_such_fails_the_atom_alone(kind):
    run = driven("a, b")
    run.call("a")
    run.fail("a", failure(kind))
    assert (run.status("a"), run.status("b")) == ("failed", "ready")
    assert run.machine.atoms["a"].cause == f"{kind.value}: a {kind.value} in a test"


def test_calls_without_an_answer_are_counted_by_kind_and_bill():
    run = driven("a")
    for why in (UNBILLED, MAYBE_BILLED, MAYBE_BILLED):
        run.call("a")
        run.fail("a", why)
    assert run.machine.calls_without_answer == {"server_error:not_billed": 1, "timeout:unknown": 2}


# ---- money -----------------------------------------------------------------------------------------------------------


def test_an_answer_settles_its_reservation():
    run = driven("a", budget_usd=1.0)
    run.call("a", usd=0.4)
    assert run.machine.money.reserved_usd == 0.4
    run.arrive("a")
    assert (run.machine.money.reserved_usd, run.machine.money.spent_usd) == (0.0, CALL_USD)


@pytest.mark.parametrize(
    ("why", "spent", "unknown"), [(UNBILLED, 0.0, 0.0), (BILLED, 0.004, 0.0), (MAYBE_BILLED, 0.0, 0.4)]
)
def test_a_failed_call_is_refunded_billed_or_counted_as_unknown(why, spent, unknown):
    run = driven("a", budget_usd=1.0)
    run.call("a", usd=0.4)
    run.fail("a", why)
    money, record = run.machine.money, run.machine.atoms["a"]
    assert (money.spent_usd, money.unknown_usd, money.reserved_usd) == (spent, unknown, 0.0)
    assert (record.cost_usd, record.unknown_usd) == (spent, unknown)


def test_a_call_that_does_not_fit_the_budget_is_refused_and_changes_nothing():
    run = driven("a, b", budget_usd=1.0)
    run.call("a", usd=0.7)
    before = run.machine.snapshot()
    with pytest.raises(IllegalTransitionError, match="does not fit"):
        run.call("b", usd=0.4)
    assert run.machine.snapshot() == before


def test_an_answer_with_an_impossible_bill_changes_nothing():
    run = driven("a")
    run.call("a")
    before = run.machine.snapshot()
    with pytest.raises(Exception, match="finite number of US dollars"):
        run.arrive("a", generation(usd=float("nan")))
    assert run.machine.snapshot() == before


def test_a_late_answer_is_billed_and_does_nothing_else():
    run = driven("a, b", budget_usd=1.0)
    late = run.call("a", usd=0.4, gateway="g").call_id
    run.fail("a", MAYBE_BILLED)
    run.call("a")
    outcome = run.handle(e.GenerationArrived(run.now, "a", late, generation(usd=0.1)))
    assert outcome == [c.Acknowledge(late, "g" if run.machine.atoms["a"].gateway else "")]
    assert (run.machine.money.unknown_usd, run.machine.money.spent_usd) == (0.0, 0.1)
    assert run.machine.atoms["a"].unknown_usd == 0.0
    assert run.status("a") == "generating"


def test_a_late_failure_is_billed_if_it_was():
    run = driven("a")
    late = run.call("a", usd=0.4).call_id
    run.time_out("a")
    run.handle(e.GenerationFailed(run.now, "a", late, UNBILLED))
    assert run.machine.money.unknown_usd == 0.4
    run.handle(e.GenerationFailed(run.now, "a", late, BILLED))
    assert (run.machine.money.unknown_usd, run.machine.money.spent_usd) == (0.0, 0.004)


def test_an_answer_that_comes_twice_is_billed_once():
    run = driven("a")
    call_id = run.call("a").call_id
    run.arrive("a")
    assert run.handle(e.GenerationArrived(run.now, "a", call_id, generation())) == [c.Acknowledge(call_id, "")]
    assert run.machine.money.spent_usd == CALL_USD


def test_a_late_answer_has_a_bill_after_the_end_too():
    run = driven("a")
    late = run.call("a", usd=0.4).call_id
    run.time_out("a")
    assert run.machine.status is ExecutionStatus.FAILED
    run.handle(e.GenerationArrived(run.now, "a", late, generation()))
    assert run.machine.money.spent_usd == CALL_USD
    assert run.machine.status is ExecutionStatus.FAILED


# ---- checks that are lost, atoms that take too long ------------------------------------------------------------------


def test_a_lost_check_runs_again_on_the_same_answer():
    run = driven("a")
    run.call("a")
    run.arrive("a")
    first = run.check("a")
    assert run.lose_worker("a") == [c.Release(Pool.EXECUTE, "lease-1")]
    assert run.check("a") == first
    run.judge("a")
    assert (run.status("a"), run.machine.answers) == ("succeeded", 1)


def test_an_atom_that_ends_three_workers_fails_with_the_reason():
    run = driven("a")
    run.call("a")
    run.arrive("a")
    for _ in range(3):
        run.check("a")
        run.lose_worker("a", "out of memory")
    assert run.status("a") == "failed"
    assert run.machine.atoms["a"].cause == "checking it ended 3 workers; the last: out of memory"
    assert run.machine.atoms["a"].code == "x = 1\n"


def test_a_verdict_or_loss_of_an_earlier_check_is_ignored():
    run = driven("a")
    run.attempt("a", failed())
    old = run.call_id("a")
    run.call("a")
    run.arrive("a")
    run.check("a")
    assert run.handle(e.AtomExecuted(run.now, "a", old, PASSED)) == []
    assert run.handle(e.WorkerLost(run.now, "a", old, "gone")) == []
    assert run.status("a") == "executing"


@pytest.mark.parametrize("phase", ["call", "check"])
def test_an_atom_whose_time_in_flight_is_used_up_fails(phase):
    run = driven("a", atom_timeout_s=10.0)
    run.call("a", usd=0.4, gateway="g")
    if phase == "check":
        run.arrive("a")
        run.check("a")
    assert run.machine.overdue(now=run.now + 1) == []
    run.now += 10
    assert run.machine.overdue(now=run.now) == ["a"]
    outcome = run.time_out("a")
    assert of(c.Abandon, outcome) == [c.Abandon(run.call_id("a"), "g")]
    assert run.machine.atoms["a"].cause == "not done after 10 s in flight"
    assert run.machine.money.unknown_usd == (0.4 if phase == "call" else 0.0)


def test_waiting_is_not_time_in_flight():
    run = driven("a", atom_timeout_s=10.0)
    run.call("a")
    run.arrive("a")
    run.now += 1_000
    assert run.machine.overdue(now=run.now) == []
    run.check("a")
    assert run.machine.atoms["a"].active_s == 1.0
    assert run.machine.next_wake() == run.now + 9.0


def test_a_flight_that_landed_is_not_overdue():
    run = driven("a", atom_timeout_s=10.0)
    run.attempt("a")
    assert run.machine.overdue(now=run.now + 1_000) == []


def test_two_flights_at_one_moment_are_overdue_once():
    run = driven("a", atom_timeout_s=10.0)
    for _ in range(2):
        run.handle(e.LeaseGranted(2_000.0, Pool.GENERATE, "a", "lease"))
        if not run.machine.transport_errors:
            run.handle(e.GenerationFailed(2_000.0, "a", run.call_id("a"), UNBILLED))
    assert run.machine.overdue(now=3_000.0) == ["a"]


# ---- pause, resume, cancel -------------------------------------------------------------------------------------------


def test_a_paused_execution_dispatches_nothing_and_keeps_what_is_in_flight():
    run = driven("a, b")
    run.call("a")
    run.pause("lunch")
    assert ended(run) == ("paused", "lunch")
    assert run.ready() == []
    with pytest.raises(IllegalTransitionError):
        run.call("b")
    run.arrive("a")
    assert run.ready(Pool.EXECUTE) == []
    run.resume()
    assert (run.ready(Pool.EXECUTE), run.ready(), run.machine.reason) == (["a"], ["b"], "")


def test_pausing_twice_keeps_the_first_reason():
    run = driven("a")
    run.pause("first")
    run.pause("second")
    assert run.machine.reason == "first"


def test_a_pause_holds_the_end():
    run = driven("a")
    run.call("a")
    run.arrive("a")
    run.check("a")
    run.pause()
    run.judge("a")
    assert run.machine.status is ExecutionStatus.PAUSED
    assert run.machine.settled
    assert of(c.ExecutionFinished, run.resume()) == [c.ExecutionFinished()]
    assert run.machine.status is ExecutionStatus.COMPLETED


def test_the_next_wave_opens_during_a_pause_but_does_not_start():
    run = driven("a -> b")
    run.call("a")
    run.arrive("a")
    run.check("a")
    run.pause()
    run.judge("a")
    assert (run.machine.current_wave, run.ready()) == (2, [])
    run.resume()
    assert run.ready() == ["b"]


def test_an_execution_is_settled_when_it_is_paused_and_nothing_is_in_flight():
    run = driven("a")
    assert not run.machine.settled
    run.call("a")
    run.pause()
    assert not run.machine.settled
    run.fail("a")
    assert run.machine.settled


def test_cancelling_gives_up_what_is_in_flight_and_drops_what_is_queued():
    run = driven("a, b, c, a -> d")
    first = run.call("a", usd=0.4, gateway="g").call_id
    run.call("b")
    run.arrive("b")
    second = run.check("b").call_id
    outcome = run.cancel()
    assert of(c.Abandon, outcome) == [c.Abandon(first, "g"), c.Abandon(second)]
    assert of(c.Release, outcome) == [c.Release(Pool.GENERATE, "lease-0"), c.Release(Pool.EXECUTE, "lease-2")]
    assert {run.status(a) for a in "abcd"} == {"cancelled"}
    assert run.machine.money.unknown_usd == 0.4
    assert run.machine.calls_without_answer == {"given_up:unknown": 1}
    assert run.machine.settled


def test_cancelling_keeps_what_was_accepted():
    run = driven("a, b")
    run.attempt("a")
    run.cancel()
    assert (run.status("a"), run.status("b")) == ("succeeded", "cancelled")
    assert run.machine.accepted_codes() == {"a": "x = 1\n"}


def test_an_execution_can_be_cancelled_before_its_start_and_while_paused():
    run = driven("a", started=False)
    run.cancel()
    assert run.machine.status is ExecutionStatus.CANCELLED
    run = driven("a")
    run.pause()
    run.cancel()
    assert run.machine.status is ExecutionStatus.CANCELLED
    assert execution_state(run.machine).total_time_seconds == 1.0


@pytest.mark.parametrize("event", [e.AtomExecuted(1.0, "a", "c", PASSED), e.WorkerLost(1.0, "a", "c", "gone")])
def test_a_verdict_after_the_end_changes_nothing(event):
    run = driven("a")
    run.cancel()
    before = run.machine.snapshot()
    assert run.handle(event) == []
    assert run.machine.snapshot() == before


# ---- a new coordinator -----------------------------------------------------------------------------------------------


def test_a_restart_runs_checks_again():
    run = driven("a")
    run.call("a")
    run.arrive("a")
    check = run.check("a")
    assert run.restart() == [check]


def test_a_restart_rejoins_calls_that_their_gateway_still_holds():
    run = driven("a")
    call = run.call("a", gateway="g1")
    assert run.restart("g1", "g2") == [call]
    run.arrive("a")
    assert run.status("a") == "answered"


def test_a_restart_counts_calls_of_a_gateway_that_is_gone_as_unknown_spend():
    run = driven("a")
    call = run.call("a", usd=0.4, gateway="g1")
    assert run.restart("g2") == [c.Release(Pool.GENERATE, "lease-0"), c.Acknowledge(call.call_id, "g1")]
    assert run.machine.money.unknown_usd == 0.4
    assert run.machine.calls_without_answer == {"gateway_lost:unknown": 1}
    assert run.status("a") == "ready"


def test_a_restart_leaves_what_waits_where_it_is():
    run = driven("a, b, c")
    run.call("b")
    run.arrive("b")
    run.attempt("c")
    before = {a: run.status(a) for a in "abc"}
    assert run.restart() == []
    assert {a: run.status(a) for a in "abc"} == before


def test_a_restart_during_a_pause_keeps_the_pause():
    run = driven("a")
    run.pause("lunch")
    run.restart()
    assert ended(run) == ("paused", "lunch")


@pytest.mark.parametrize("phase", ["rejoined call", "lost call", "check"])
def test_time_without_a_coordinator_is_no_time_in_flight(phase):
    run = driven("a", atom_timeout_s=10.0)
    run.call("a", gateway="g")
    if phase == "check":
        run.arrive("a")
        run.check("a")
    run.restart("g" if phase == "rejoined call" else "another", after_s=3_600.0)
    if phase == "lost call":
        run.call("a")
    assert run.machine.overdue(now=run.now + 1) == []
    assert run.machine.atoms["a"].active_s <= 1.0
    assert run.machine.overdue(now=run.now + 10) == ["a"]


# ---- acceptance ------------------------------------------------------------------------------------------------------


def finished_atoms(**fields):
    run = driven("a", plan_fields=ACCEPTED, **fields)
    run.attempt("a")
    return run


def test_acceptance_runs_after_the_last_atom_and_decides():
    run = finished_atoms()
    assert (run.machine.status, run.ready(Pool.EXECUTE)) == (ExecutionStatus.RUNNING, [""])
    assert run.accept() == [c.Accept()]
    assert run.machine.held_leases() == {Pool.GENERATE: [], Pool.EXECUTE: ["lease-2"]}
    assert run.acceptance() == [c.Release(Pool.EXECUTE, "lease-2"), c.ExecutionFinished()]
    assert ended(run) == ("completed", "")
    assert run.machine.acceptance_result == PASSED


def test_failed_acceptance_tests_fail_the_execution_though_every_atom_passed():
    run = finished_atoms()
    run.accept()
    run.acceptance(failed("the report is empty"))
    assert ended(run) == ("failed", "every atom passed, but the acceptance tests failed")
    assert execution_state(run.machine).precision_percent == 100.0


def test_acceptance_does_not_run_when_an_atom_failed():
    run = driven("a", plan_fields=ACCEPTED, policy={"model": "m", "max_attempts": 1})
    run.attempt("a", failed())
    assert run.machine.status is ExecutionStatus.FAILED


def test_a_lost_acceptance_run_runs_again_and_fails_the_execution_the_third_time():
    run = finished_atoms()
    for losses in range(1, 4):
        run.accept()
        run.handle(e.AcceptanceLost(run.now, "out of memory"))
        assert run.machine.acceptance.workers_lost == losses
    assert run.machine.status is ExecutionStatus.FAILED
    assert "out of memory" in run.machine.acceptance_result.failures[0].message


def test_a_restart_runs_acceptance_again():
    run = finished_atoms()
    run.accept()
    assert run.restart() == [c.Accept()]


def test_acceptance_is_not_dispatched_while_paused():
    run = finished_atoms()
    run.pause()
    assert run.ready(Pool.EXECUTE) == []
    run.resume()
    assert run.ready(Pool.EXECUTE) == [""]


def test_a_pause_during_acceptance_holds_the_end():
    run = finished_atoms()
    run.accept()
    run.pause()
    run.acceptance()
    assert run.machine.status is ExecutionStatus.PAUSED
    run.resume()
    assert run.machine.status is ExecutionStatus.COMPLETED


def test_acceptance_can_be_cancelled():
    run = finished_atoms()
    run.accept()
    assert of(c.Abandon, run.cancel()) == [c.Abandon("", "")]
    assert run.acceptance() == []
    assert run.handle(e.AcceptanceLost(run.now, "gone")) == []
    assert run.machine.status is ExecutionStatus.CANCELLED


def test_acceptance_starts_once():
    run = finished_atoms()
    run.accept()
    with pytest.raises(IllegalTransitionError, match="the acceptance run is not ready"):
        run.accept()
    with pytest.raises(IllegalTransitionError, match="the acceptance run is not ready"):
        run.lease(Pool.GENERATE, "")


# ---- gates: tests above the single atom ------------------------------------------------------------------------------


def gated(text: str = "a -> b", **fields):
    """A plan whose first wave has tests of its own, and acceptance tests."""
    waves = [{**wave.model_dump(), "tests": ("tests/test_all.py::test_w",)} for wave in plan(text).waves[:1]]
    waves += [wave.model_dump() for wave in plan(text).waves[1:]]
    return driven(text, plan_fields={**ACCEPTED, "execution_plan": waves}, **fields)


def blaming(*atoms: str):
    return failed("the story fails").model_copy(update={"level": Level.SYSTEM, "blamed": atoms})


def test_a_wave_s_tests_run_before_the_next_wave_opens():
    run = gated()
    told = run.attempt("a")
    assert of(c.WaveFinished, told) == []
    assert (run.ready(), run.ready(Pool.EXECUTE)) == ([], [""])
    assert run.accept() == [c.Accept(1)]
    assert of(c.WaveFinished, run.acceptance()) == [c.WaveFinished(1)]
    assert run.ready() == ["b"]
    run.attempt("b")
    assert run.accept() == [c.Accept()]
    run.acceptance()
    assert ended(run) == ("completed", "")


def test_the_last_wave_s_tests_run_before_acceptance():
    run = gated("a")
    run.attempt("a")
    assert run.accept() == [c.Accept(1)]
    assert of(c.WaveFinished, run.acceptance()) == [c.WaveFinished(1)]
    assert run.accept() == [c.Accept()]
    run.acceptance()
    assert ended(run) == ("completed", "")


def test_a_wave_s_tests_that_fail_for_good_fail_the_execution_at_its_end_and_hold_up_nothing():
    run = gated()
    run.attempt("a")
    run.accept()
    run.acceptance(failed("no"))
    run.attempt("b")
    run.accept()
    run.acceptance(failed("no"))
    assert ended(run) == ("failed", "every atom passed, but the tests after wave 1 and the acceptance tests failed")


def test_a_wave_s_tests_are_left_out_where_an_atom_failed():
    run = gated("a -> b, c", policy={"model": "m", "max_attempts": 1})
    run.attempt("a", failed())
    run.attempt("c")
    assert ended(run)[0] == "failed"


def test_a_wave_s_tests_are_held_by_a_pause_and_run_again_after_a_restart():
    run = gated()
    run.call("a")
    run.arrive("a")
    run.check("a")
    run.pause()
    run.judge("a")
    assert run.ready(Pool.EXECUTE) == []
    run.resume()
    assert run.accept() == [c.Accept(1)]
    assert run.restart() == [c.Accept(1)]
    run.acceptance()
    assert run.ready() == ["b"]


def test_blamed_atoms_are_opened_again_with_what_failed_above_them():
    run = gated()
    run.attempt("a")
    run.accept()
    run.acceptance(blaming("a", "a", "unknown"))
    assert (run.status("a"), run.ready()) == ("ready", ["a"])
    seen = execution_state(run.machine)
    assert (seen.atoms_succeeded, seen.atoms_completed, seen.retried_atoms) == (0, 0, 0)
    command = run.call("a")
    assert (command.attempt, command.previous_errors) == (2, ("[tests] the story fails",))
    run.arrive("a")
    run.check("a")
    assert of(c.AtomFinished, run.judge("a")) == []
    assert run.accept() == [c.Accept(1)]
    run.acceptance()
    assert run.ready() == ["b"]
    assert execution_state(run.machine).retried_atoms == 1


def test_an_atom_of_an_earlier_wave_is_opened_again_by_the_acceptance_tests():
    run = gated()
    run.attempt("a")
    run.accept()
    run.acceptance()
    run.attempt("b")
    run.accept()
    before = run.machine.accepted_version
    run.acceptance(blaming("a"))
    assert run.machine.accepted_version != before
    assert run.machine.accepted_codes().keys() == {"a", "b"}, "what rests on it still finds its former code"
    run.attempt("a")
    assert run.accept() == [c.Accept()]
    run.acceptance()
    assert ended(run) == ("completed", "")
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_an_atom_opened_again_that_comes_to_nothing_keeps_its_former_code():
    run = gated("a", policy={"model": "m", "max_attempts": 2})
    run.attempt("a")
    run.accept()
    former = run.machine.atoms["a"].code
    run.acceptance(blaming("a"))
    run.attempt("a", failed())
    record = run.machine.atoms["a"]
    assert (record.status.value, record.code) == ("succeeded", former)
    assert "kept as it was accepted before" in record.cause
    run.accept()
    run.acceptance(blaming("a"))
    run.accept()
    run.acceptance(blaming("a"))
    assert ended(run) == ("failed", "every atom passed, but the tests after wave 1 and the acceptance tests failed")


# ---- replay ----------------------------------------------------------------------------------------------------------


def test_the_same_events_give_the_same_machine():
    run = driven("a, b -> c", plan_fields=ACCEPTED)
    run.attempt("a", failed())
    run.call("b", gateway="g")
    run.fail("b", failure(billing=Billing.UNKNOWN))
    run.pause()
    run.resume()
    run.restart("g")
    run.attempt("a")
    run.attempt("b")
    run.attempt("c")
    run.accept()
    run.acceptance()
    assert run.replayed().snapshot() == run.machine.snapshot()
    assert run.machine.status is ExecutionStatus.COMPLETED
