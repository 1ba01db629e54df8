from itertools import product

import pytest

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import IllegalTransitionError, UnknownExecutionError
from mge_ray.domain.state import (
    ATOM_ENDED,
    ATOM_TRANSITIONS,
    ENDED,
    REOPENING,
    TRANSITIONS,
    AtomStatus,
    ExecutionState,
    ExecutionStatus,
    WaveState,
)
from tests.builders import EXECUTION_ID, PASSED, UNBILLED, driven, failed, generation, settings

SAMPLES = {
    e.ExecutionStarted: lambda call_id: e.ExecutionStarted(2_000.0, settings()),
    e.LeaseGranted: lambda call_id: e.LeaseGranted(2_000.0, Pool.GENERATE, "a", "lease"),
    e.AtomReused: lambda call_id: e.AtomReused(2_000.0, "a", "x = 1\n", "key", "earlier"),
    e.GenerationArrived: lambda call_id: e.GenerationArrived(2_000.0, "a", call_id, generation()),
    e.GenerationFailed: lambda call_id: e.GenerationFailed(2_000.0, "a", call_id, UNBILLED),
    e.AtomExecuted: lambda call_id: e.AtomExecuted(2_000.0, "a", call_id, PASSED),
    e.WorkerLost: lambda call_id: e.WorkerLost(2_000.0, "a", call_id, "gone"),
    e.AtomTimedOut: lambda call_id: e.AtomTimedOut(2_000.0, "a"),
    e.AcceptanceFinished: lambda call_id: e.AcceptanceFinished(2_000.0, PASSED),
    e.AcceptanceLost: lambda call_id: e.AcceptanceLost(2_000.0, "gone"),
    e.PauseRequested: lambda call_id: e.PauseRequested(2_000.0),
    e.ResumeRequested: lambda call_id: e.ResumeRequested(2_000.0),
    e.CancelRequested: lambda call_id: e.CancelRequested(2_000.0),
    e.HaltRequested: lambda call_id: e.HaltRequested(2_000.0),
    e.ConcurrencyChanged: lambda call_id: e.ConcurrencyChanged(2_000.0, 7, "me"),
    e.RetryRequested: lambda call_id: e.RetryRequested(2_000.0),
    e.CodeEdited: lambda call_id: e.CodeEdited(2_000.0, "b", "x = 2\n", "me", PASSED),
    e.FailureAccepted: lambda call_id: e.FailureAccepted(2_000.0, "b", "me"),
    e.AtomApproved: lambda call_id: e.AtomApproved(2_000.0, "c", "me"),
    e.BudgetRaised: lambda call_id: e.BudgetRaised(2_000.0, 5.0, "me", "more"),
    e.AtomBudgetExceeded: lambda call_id: e.AtomBudgetExceeded(2_000.0, "d", 1.0),
    e.CoordinatorRestarted: lambda call_id: e.CoordinatorRestarted(2_000.0),
}
EVERY_PAIR = list(product(ExecutionStatus, e.EVENT_TYPES))


def execution_that_is(status):
    """A machine in this status. Work on `a` is in flight where it can be; `b` has failed if anything may, `c` not."""
    wishes = {"policy": {"model": "m", "max_attempts": 1}, "atom_budget_usd": 0.5}
    run = driven("a, b, c, d", started=status is not ExecutionStatus.PENDING, **wishes)
    if status is not ExecutionStatus.PENDING:
        run.attempt("b", PASSED if status is ExecutionStatus.COMPLETED else failed())
        run.attempt("c")
    if status in {ExecutionStatus.RUNNING, ExecutionStatus.PAUSED}:
        run.call("a")
    if status is ExecutionStatus.PAUSED:
        run.pause()
    if status is ExecutionStatus.CANCELLED:
        run.cancel()
    if status in {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED}:
        run.attempt("a")
        run.attempt("d")
    assert run.machine.status is status
    return run


def atom_that_is(status):
    """A machine whose atom `a` has this status."""
    attempts = 2 if status is AtomStatus.WAITING else 1
    text = "b -> a" if status in {AtomStatus.BLOCKED, AtomStatus.WAITING} else "a, b"
    run = driven(text, policy={"model": "m", "max_attempts": attempts})
    if status in {AtomStatus.GENERATING, AtomStatus.ANSWERED, AtomStatus.EXECUTING}:
        run.call("a")
    if status in {AtomStatus.ANSWERED, AtomStatus.EXECUTING}:
        run.arrive("a")
    if status is AtomStatus.EXECUTING:
        run.check("a")
    if status in {AtomStatus.SUCCEEDED, AtomStatus.FAILED}:
        run.attempt("a", PASSED if status is AtomStatus.SUCCEEDED else failed())
    if status is AtomStatus.BLOCKED:
        run.attempt("b", failed())
    if status is AtomStatus.WAITING:
        run.attempt("b")
        for _ in range(attempts):
            run.attempt("a", failed().model_copy(update={"blamed": ("b",)}))
    assert run.machine.atoms["a"].status is status
    return run


@pytest.mark.parametrize(
    ("status", "event_type"),
    [pair for pair in EVERY_PAIR if pair not in TRANSITIONS],
    ids=lambda part: part.value if isinstance(part, ExecutionStatus) else part.__name__,
)
def test_what_is_not_in_the_table_raises_and_changes_nothing(status, event_type):
    run = execution_that_is(status)
    before = run.machine.snapshot()
    with pytest.raises(IllegalTransitionError, match=f"is not possible while the execution is {status.value}"):
        run.machine.handle(SAMPLES[event_type](run.call_id("a")))
    assert run.machine.snapshot() == before


@pytest.mark.parametrize(
    ("status", "event_type"),
    [pair for pair in EVERY_PAIR if pair in TRANSITIONS and pair[1] not in {e.LeaseGranted, e.AtomReused}],
    ids=lambda part: part.value if isinstance(part, ExecutionStatus) else part.__name__,
)
def test_what_is_in_the_table_leads_where_the_table_says(status, event_type):
    run = execution_that_is(status)
    run.machine.handle(SAMPLES[event_type](run.call_id("a")))
    assert run.machine.status is TRANSITIONS[status, event_type]


@pytest.mark.parametrize("event_type", [e.LeaseGranted, e.AtomTimedOut])
@pytest.mark.parametrize("status", [s for s in AtomStatus if s not in {AtomStatus.PENDING, AtomStatus.CANCELLED}])
def test_an_atom_refuses_what_its_table_does_not_have(status, event_type):
    run = atom_that_is(status)
    if (status, event_type) in ATOM_TRANSITIONS:
        pool = Pool.EXECUTE if status is AtomStatus.ANSWERED else Pool.GENERATE
        event = e.LeaseGranted(2_000.0, pool, "a", "l") if event_type is e.LeaseGranted else e.AtomTimedOut(2e3, "a")
        run.machine.handle(event)
        assert run.machine.atoms["a"].status in ATOM_TRANSITIONS[status, event_type]
        return
    before = run.machine.snapshot()
    with pytest.raises(IllegalTransitionError):
        run.machine.handle(SAMPLES[event_type](run.call_id("a")))
    assert run.machine.snapshot() == before


@pytest.mark.parametrize("event_type", [e.GenerationArrived, e.GenerationFailed, e.AtomExecuted, e.WorkerLost])
@pytest.mark.parametrize("status", [s for s in AtomStatus if s not in {AtomStatus.PENDING, AtomStatus.CANCELLED}])
def test_late_work_moves_no_atom_and_expected_work_moves_it_as_its_table_says(status, event_type):
    run = atom_that_is(status)
    run.machine.handle(SAMPLES[event_type](run.call_id("a")))
    assert run.machine.atoms["a"].status in ATOM_TRANSITIONS.get((status, event_type), (status,))


@pytest.mark.parametrize("pool", list(Pool))
@pytest.mark.parametrize("atom_id", ["a", ""])
def test_a_lease_of_the_wrong_pool_is_refused(pool, atom_id):
    run = atom_that_is(AtomStatus.ANSWERED if pool is Pool.GENERATE else AtomStatus.READY)
    before = run.machine.snapshot()
    with pytest.raises(IllegalTransitionError, match="is not ready"):
        run.machine.handle(e.LeaseGranted(2_000.0, pool, atom_id, "lease"))
    assert run.machine.snapshot() == before


@pytest.mark.parametrize("event_type", [e.GenerationArrived, e.AtomExecuted, e.LeaseGranted, e.AtomTimedOut])
def test_an_event_about_an_atom_that_nobody_knows_changes_nothing(event_type):
    run = driven("b")
    before = run.machine.snapshot()
    with pytest.raises(UnknownExecutionError, match=f"execution {EXECUTION_ID} has no atom 'a'"):
        run.machine.handle(SAMPLES[event_type]("call"))
    assert run.machine.snapshot() == before


def test_an_ended_execution_is_completed_failed_or_cancelled():
    assert {status for status in ExecutionStatus if status.ended} == ENDED
    assert {status.value for status in ENDED} == {"completed", "failed", "cancelled"}
    moved = {event for (status, event), target in TRANSITIONS.items() if status in ENDED and target not in ENDED}
    assert moved < set(REOPENING)


def test_only_a_person_moves_an_ended_atom():
    assert {status for status in AtomStatus if status.ended} == ATOM_ENDED
    assert {event for status, event in ATOM_TRANSITIONS if status in ATOM_ENDED} == set(REOPENING)


def state(**fields):
    known = {"status": ExecutionStatus.RUNNING, "total_waves": 1, "atoms_total": 8}
    return ExecutionState(execution_id=EXECUTION_ID, masterplan_id=EXECUTION_ID, **(known | fields))


def test_shares_are_of_all_atoms_or_of_those_tried():
    made = state(atoms_completed=6, atoms_succeeded=4, atoms_failed=1, atoms_blocked=1, retried_atoms=2)
    assert made.completion_percent == 75.0
    assert made.precision_percent == 50.0
    assert made.retry_rate == 0.4


def test_shares_of_nothing_are_zero():
    made = state(atoms_total=0)
    assert (made.completion_percent, made.precision_percent, made.retry_rate) == (0.0, 0.0, 0.0)


def test_a_wave_without_atoms_is_complete():
    nothing = dict.fromkeys(
        ("atoms_total", "atoms_completed", "atoms_succeeded", "atoms_failed", "atoms_blocked", "attempts"), 0
    )
    assert WaveState(wave_id=1, cost_usd=0, time_seconds=0, **nothing).completion_percent == 100.0
