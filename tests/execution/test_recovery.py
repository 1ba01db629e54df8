import pytest
from hypothesis import given
from hypothesis import strategies as st

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.execution.recovery import ReplayError, replay
from tests.builders import EXECUTION_ID, driven, failed, generation, plan, settings
from tests.properties import bounded


def finished():
    run = driven("a, b -> c")
    run.attempt("a", failed())
    run.pause()
    run.resume()
    for atom_id in "abc":
        run.attempt(atom_id)
    return run


def test_replay_gives_an_equal_machine():
    run = finished()
    assert replay(EXECUTION_ID, run.machine.plan, run.events).snapshot() == run.machine.snapshot()


@bounded
@given(st.integers(0, 100))
def test_a_replay_in_two_parts_is_a_replay(cut):
    run = finished()
    cut %= len(run.events) + 1
    machine = replay(EXECUTION_ID, run.machine.plan, run.events[:cut])
    for event in run.events[cut:]:
        machine.handle(event)
    assert machine.snapshot() == run.machine.snapshot()


def test_no_events_lead_to_an_execution_that_has_not_begun():
    assert replay(EXECUTION_ID, plan("a"), []).status.value == "pending"


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (e.ExecutionStarted(2.0, settings()), "not possible while the execution is running"),
        (e.GenerationArrived(2.0, "ghost", "call", generation()), "has no atom 'ghost'"),
        (e.LeaseGranted(2.0, Pool.EXECUTE, "a", "lease"), "not ready for the execute pool"),
    ],
)
def test_the_first_event_that_cannot_have_happened_is_named(event, why):
    with pytest.raises(ReplayError, match=f"event 2 \\({event.kind}\\) cannot be replayed: .*{why}"):
        replay(EXECUTION_ID, plan("a"), [e.ExecutionStarted(1.0, settings()), event])


def test_whatever_a_damaged_journal_does_to_the_machine_is_said_of_that_execution():
    with pytest.raises(ReplayError, match="event 1 \\(execution_started\\) cannot be replayed: AttributeError"):
        replay(EXECUTION_ID, plan("a"), [e.ExecutionStarted(1.0, None)])


def test_an_event_with_an_impossible_amount_cannot_be_replayed():
    run = driven("a")
    run.call("a")
    impossible = e.GenerationArrived(9.0, "a", run.call_id("a"), generation(usd=-1.0))
    with pytest.raises(ReplayError, match="finite number of US dollars"):
        replay(EXECUTION_ID, run.machine.plan, [*run.events, impossible])
