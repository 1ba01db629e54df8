import pytest

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import IllegalTransitionError, StateConflictError, UnknownExecutionError
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from tests.builders import CALL_USD, PASSED, driven, failed, generation

ONE_ATTEMPT = {"policy": {"model": "m", "accepts_sampling": True, "max_attempts": 1}}
TESTED = {"files": {"tests/test_all.py": ""}, "acceptance_tests": ("tests",)}
MENDED = "mended = True\n"


def hand(run, event_type, *arguments, **fields):
    run.now += 1.0
    return run.handle(event_type(run.now, *arguments, **fields))


def edit(run, atom_id, code=MENDED):
    return hand(run, e.CodeEdited, atom_id, code, "ann", PASSED)


def told(run):
    return run.machine.status.value, run.machine.reason


def with_a_failed_atom(text="a -> b, c", **fields):
    """`a` has failed in its only attempt, `c` is done, `b` was blocked: the execution has failed."""
    run = driven(text, **ONE_ATTEMPT, **fields)
    run.attempt("a", failed("wrong"))
    run.attempt("c")
    assert run.machine.status is ExecutionStatus.FAILED
    return run


@pytest.mark.parametrize("limit", [0, -1, 100_001])
def test_a_bound_of_calls_that_makes_no_sense_is_no_event(limit):
    with pytest.raises(StateConflictError, match="between 1 and 100000"):
        e.ConcurrencyChanged(1.0, limit, "me")


# ---- halt ------------------------------------------------------------------------------------------------------------


def test_a_halt_pauses_and_counts_calls_in_flight_as_unknown_spend():
    run = driven("a, b")
    call = run.call("a", gateway="g1")
    assert hand(run, e.HaltRequested, "enough") == [
        c.Abandon(call.call_id, "g1"),
        c.Release(Pool.GENERATE, "lease-0"),
    ]
    assert told(run) == ("paused", "enough")
    assert run.machine.money.unknown_usd == CALL_USD
    assert run.machine.settled


def test_a_halted_call_is_made_again_under_another_id_and_its_late_answer_is_only_billed():
    run = driven("a")
    first = run.call("a")
    hand(run, e.HaltRequested)
    run.resume()
    second = run.call("a")
    assert (second.attempt, second.call_id == first.call_id) == (1, False)
    run.handle(e.GenerationArrived(run.now, "a", first.call_id, generation()))
    assert run.status("a") == "generating"
    assert (run.machine.money.spent_usd, run.machine.money.unknown_usd) == (CALL_USD, 0.0)


def test_a_halted_check_runs_again_on_the_answer_that_was_bought():
    run = driven("a", plan_fields=TESTED)
    run.call("a")
    run.arrive("a")
    run.check("a")
    hand(run, e.HaltRequested)
    assert run.status("a") == "answered"
    run.resume()
    run.check("a")
    run.judge("a")
    run.accept()
    hand(run, e.HaltRequested)
    assert run.ready(Pool.EXECUTE) == []
    run.resume()
    run.accept()
    run.acceptance()
    assert told(run) == ("completed", "")


def test_a_paused_execution_that_drains_can_be_halted_and_keeps_its_reason():
    run = driven("a")
    run.call("a")
    run.pause("lunch")
    hand(run, e.HaltRequested, "enough")
    assert (told(run), run.machine.in_flight) == (("paused", "lunch"), 0)


# ---- retry -----------------------------------------------------------------------------------------------------------


def test_a_retry_opens_failed_atoms_and_what_they_blocked_and_waits_for_a_resume():
    run = with_a_failed_atom()
    assert hand(run, e.RetryRequested) == []
    assert told(run) == ("paused", "opened again by hand; resume it to go on")
    assert [run.status(a) for a in "abc"] == ["ready", "pending", "succeeded"]
    assert run.ready() == []
    run.resume()
    run.attempt("a")
    run.attempt("b")
    assert told(run) == ("completed", "")


def test_a_retry_grants_a_new_round_with_the_last_errors_and_keeps_what_was():
    run = driven("a")
    for _ in range(4):
        run.attempt("a", failed("wrong"))
    hand(run, e.RetryRequested)
    run.resume()
    fifth = run.call("a")
    assert (fifth.attempt, fifth.settings.temperature) == (5, 0.7)
    assert (fifth.previous_code, fifth.previous_errors) == ("x = 1\n", ("[tests] wrong",))
    run.arrive("a")
    run.check("a")
    run.judge("a", failed())
    for _ in range(3):
        run.attempt("a", failed())
    assert [attempt.number for attempt in run.machine.atoms["a"].attempts] == list(range(1, 9))
    assert run.machine.atoms["a"].cause == "all 8 attempts failed"


def test_a_retry_of_one_atom_leaves_other_failures_alone():
    run = driven("a -> b, c -> b, d", **ONE_ATTEMPT)
    run.attempt("a", failed())
    run.attempt("c", failed())
    run.attempt("d")
    hand(run, e.RetryRequested, ("a",))
    assert [run.status(x) for x in "abcd"] == ["ready", "blocked", "failed", "succeeded"]
    run.resume()
    run.attempt("a")
    assert told(run) == ("failed", "1 of 4 atoms failed, 1 blocked by them")


def test_failed_atoms_of_later_waves_wait_for_the_earlier_ones():
    run = driven("a, b -> c", **ONE_ATTEMPT)
    run.attempt("a", failed())
    run.attempt("b")
    run.attempt("c", failed())
    hand(run, e.RetryRequested)
    run.resume()
    assert run.ready() == ["a"]
    run.attempt("a")
    assert run.ready() == ["c"]
    run.attempt("c")
    assert told(run) == ("completed", "")


def test_an_atom_that_timed_out_is_tried_again_under_a_new_id_with_all_its_time():
    run = driven("a", atom_timeout_s=10.0)
    first = run.call("a")
    run.now += 20.0
    run.time_out("a")
    hand(run, e.RetryRequested)
    run.resume()
    assert run.call("a").call_id != first.call_id
    assert run.machine.overdue(now=run.now + 5.0) == []


def test_an_atom_whose_check_took_too_long_is_asked_for_again_under_a_new_id():
    run = driven("a", atom_timeout_s=10.0)
    first = run.call("a")
    run.arrive("a")
    run.check("a")
    run.time_out("a")
    hand(run, e.RetryRequested)
    run.resume()
    assert run.call("a").call_id != first.call_id


def test_work_under_way_in_a_later_wave_goes_on_beside_what_is_opened_again():
    run = driven("a, b -> c, b -> d", **ONE_ATTEMPT)
    run.attempt("a", failed())
    run.attempt("b")
    run.call("c")
    run.pause()
    hand(run, e.RetryRequested)
    run.resume()
    assert run.ready() == ["d", "a"]
    run.arrive("c")
    run.check("c")
    run.judge("c")
    run.attempt("a")
    assert run.ready() == ["d"]
    run.attempt("d")
    assert told(run) == ("completed", "")


def test_what_was_opened_again_in_an_earlier_wave_comes_before_what_is_opened_later():
    run = driven("a -> b, c -> d", **ONE_ATTEMPT)
    run.attempt("a", failed())
    run.attempt("c")
    run.attempt("d")
    hand(run, e.RetryRequested)
    edit(run, "d")
    run.resume()
    assert run.ready() == ["a"]
    run.attempt("a")
    run.attempt("b")
    assert told(run) == ("completed", "")


def test_a_gate_that_failed_for_good_is_run_again_and_may_blame_atoms_once_more():
    run = driven("a", plan_fields=TESTED, **ONE_ATTEMPT)
    run.attempt("a")
    run.accept()
    blaming = failed("together").model_copy(update={"blamed": ("a",)})
    run.acceptance(blaming)
    assert told(run) == ("failed", "every atom passed, but the acceptance tests failed")
    hand(run, e.RetryRequested)
    run.resume()
    run.accept()
    run.acceptance(blaming)
    run.attempt("a")
    run.accept()
    run.acceptance()
    assert told(run) == ("completed", "")


@pytest.mark.parametrize(
    ("atom_ids", "why"),
    [(("b",), "while atom 'b' is blocked"), (("c",), "while atom 'c' is succeeded"), (("d",), "no atom 'd'")],
)
def test_only_failed_atoms_can_be_tried_again(atom_ids, why):
    run = with_a_failed_atom()
    before = run.machine.snapshot()
    with pytest.raises((IllegalTransitionError, UnknownExecutionError), match=why):
        hand(run, e.RetryRequested, atom_ids)
    assert run.machine.snapshot() == before


def test_where_nothing_has_failed_nothing_is_tried_again():
    run = driven("a")
    run.pause()
    with pytest.raises(IllegalTransitionError, match="nothing has failed"):
        hand(run, e.RetryRequested)


def test_the_time_between_an_end_and_the_resume_is_a_pause():
    run = with_a_failed_atom()
    before = execution_state(run.machine).total_time_seconds
    run.now += 1_000.0
    hand(run, e.RetryRequested)
    assert execution_state(run.machine, now=run.now).total_time_seconds == before
    run.now += 1_000.0
    run.resume()
    assert execution_state(run.machine, now=run.now + 5.0).total_time_seconds == before + 5.0


# ---- edit ------------------------------------------------------------------------------------------------------------


def test_an_edit_accepts_the_code_at_no_cost_and_frees_the_dependents():
    run = with_a_failed_atom()
    spent, version = run.machine.money.spent_nano, run.machine.accepted_version
    assert edit(run, "a") == []
    record = run.machine.atoms["a"]
    assert (record.status, record.code, record.cause) == (AtomStatus.SUCCEEDED, MENDED, "")
    assert (record.attempts[-1].number, record.attempts[-1].by, record.attempts[-1].cost_usd) == (2, "ann", 0.0)
    assert (record.edited_by, run.machine.money.spent_nano) == ("ann", spent)
    assert run.machine.accepted_version != version
    run.resume()
    run.attempt("b")
    assert told(run) == ("completed", "")
    assert run.machine.accepted_codes()["a"] == MENDED


def test_an_edit_of_a_completed_execution_runs_its_gates_again():
    run = driven("a -> b", plan_fields=TESTED)
    run.attempt("a")
    run.attempt("b")
    run.accept()
    run.acceptance()
    assert told(run) == ("completed", "")
    edit(run, "a")
    assert run.machine.acceptance_result is None
    run.resume()
    assert run.ready() == []
    run.accept()
    run.acceptance(failed("not together"))
    assert told(run) == ("failed", "every atom passed, but the acceptance tests failed")


def test_a_gate_waiting_for_its_turn_is_put_off_by_an_edit_and_one_running_forbids_it():
    run = driven("a", plan_fields=TESTED)
    run.attempt("a")
    run.pause()
    edit(run, "a")
    run.resume()
    run.accept()
    run.pause()
    with pytest.raises(IllegalTransitionError, match="tests above the atoms are running"):
        edit(run, "a")


def test_an_edited_atom_that_a_gate_blames_goes_back_to_the_model_with_the_persons_code():
    run = driven("a", plan_fields=TESTED)
    run.attempt("a")
    run.pause()
    edit(run, "a")
    run.resume()
    run.accept()
    run.acceptance(failed("together").model_copy(update={"blamed": ("a",)}))
    third = run.call("a")
    assert (third.attempt, third.previous_code, third.settings.temperature) == (3, MENDED, 0.5)


@pytest.mark.parametrize("status", ["generating", "blocked"])
def test_an_atom_that_has_no_code_of_its_own_yet_is_not_edited(status):
    run = with_a_failed_atom() if status == "blocked" else driven("b")
    if status == "generating":
        run.call("b")
        run.pause()
    with pytest.raises(IllegalTransitionError, match=f"while atom 'b' is {status}"):
        edit(run, "b")


# ---- approve ---------------------------------------------------------------------------------------------------------


def test_an_approval_holds_for_the_code_that_was_looked_at():
    run = driven("a, b")
    run.attempt("a")
    hand(run, e.AtomApproved, "a", "ann", "read it")
    approved = run.machine.atoms["a"].approved
    assert (approved.by, approved.note, run.machine.status) == ("ann", "read it", ExecutionStatus.RUNNING)
    run.pause()
    edit(run, "a")
    assert run.machine.atoms["a"].approved is None


def test_a_failed_atom_is_not_simply_approved():
    with pytest.raises(IllegalTransitionError, match="while atom 'a' is failed"):
        hand(with_a_failed_atom(), e.AtomApproved, "a", "ann")


def test_a_failure_that_is_accepted_frees_the_dependents_and_stays_a_failure():
    run = with_a_failed_atom(plan_fields=TESTED)
    hand(run, e.FailureAccepted, "a", "ann", "the test is wrong")
    assert (run.status("a"), run.machine.accepted_codes()["a"]) == ("failed", "x = 1\n")
    run.resume()
    run.attempt("b")
    run.accept()
    run.acceptance()
    state = execution_state(run.machine)
    assert (state.status, state.atoms_succeeded, state.atoms_failed) == (ExecutionStatus.FAILED, 2, 1)
    assert state.reason == (
        "1 of 3 atoms failed, 0 blocked by them; 1 of them used in spite of it, as somebody decided"
    )
    assert run.machine.atoms["a"].approved.note == "the test is wrong"


def test_a_failure_that_was_accepted_can_be_edited_but_not_tried_again_under_its_dependents():
    run = with_a_failed_atom()
    hand(run, e.FailureAccepted, "a", "ann")
    with pytest.raises(IllegalTransitionError, match="used in spite of its failure; edit it instead"):
        hand(run, e.RetryRequested, ("a",))
    hand(run, e.FailureAccepted, "a", "ann", "once more")
    assert run.machine.waived_atoms == 1
    edit(run, "a")
    assert (run.status("a"), run.machine.waived_atoms) == ("succeeded", 0)


def test_there_must_be_code_to_accept():
    run = driven("a")
    run.call("a")
    run.time_out("a")
    with pytest.raises(IllegalTransitionError, match="no code to accept; edit it"):
        hand(run, e.FailureAccepted, "a", "ann")


def test_what_people_did_is_replayed():
    run = with_a_failed_atom()
    hand(run, e.RetryRequested)
    run.resume()
    run.attempt("a", failed())
    hand(run, e.FailureAccepted, "a", "ann")
    edit(run, "a")
    hand(run, e.AtomApproved, "a", "ben")
    run.resume()
    run.call("b")
    hand(run, e.HaltRequested)
    assert run.replayed().snapshot() == run.machine.snapshot()
