import asyncio
import pickle
from uuid import UUID

import pytest

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import StateConflictError, UnknownExecutionError
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.execution.defaults import LocalLeases
from mge_ray.execution.recovery import replay
from mge_ray.execution.requests import EditRefusedError
from tests.builders import failed, plan
from tests.engines import service, until
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.validator import RuleValidator

ID = UUID(int=5)
GOOD, BAD = "good = True\n", "bad\n"


async def failed_execution(text="a -> b, c", client=None, **options):
    """A service with an execution in which `a` has failed, `b` is blocked and `c` succeeded."""
    made = service(client or ScriptedClient({"a": [BAD]}), **options)
    execution_id = await made.start_plan(plan(text))
    assert (await made.wait(execution_id)).status is ExecutionStatus.FAILED
    return made, execution_id


async def to_the_end(made, execution_id):
    await made.resume_execution(execution_id)
    return await made.wait(execution_id)


def kinds(made, execution_id):
    return [event.kind for event in made.wave_executor.journal.events_of(execution_id)]


# ---- pause now -------------------------------------------------------------------------------------------------------


async def test_a_pause_now_gives_up_the_calls_in_flight_and_a_resume_makes_them_again():
    client = QuotingClient(quote_usd=0.05)
    client.gate.clear()
    made = service(client)
    execution_id = await made.start_plan(plan("a"))
    await until(lambda: client.in_flight)
    state = await made.pause_execution(execution_id, reason="enough", now=True)
    assert (state.status, state.reason, state.unknown_cost_usd) == (ExecutionStatus.PAUSED, "enough", 0.05)
    await made.wait(execution_id)
    assert client.in_flight == 0
    client.gate.set()
    assert (await to_the_end(made, execution_id)).status is ExecutionStatus.COMPLETED
    assert client.atom_ids == ["a", "a"]


async def test_an_execution_that_is_about_to_start_can_be_paused():
    made = service()
    _, state = await asyncio.gather(made.start_plan(plan("a"), execution_id=ID), made.pause_execution(ID))
    assert state.status is ExecutionStatus.PAUSED
    assert kinds(made, ID) == ["execution_started", "pause_requested"]


async def test_a_draining_pause_can_be_cut_short_and_pausing_now_twice_changes_nothing():
    client = ScriptedClient()
    client.gate.clear()
    made = service(client)
    execution_id = await made.start_plan(plan("a"))
    await until(lambda: client.in_flight)
    await made.pause_execution(execution_id)
    for _ in range(2):
        assert (await made.pause_execution(execution_id, now=True)).atoms_in_flight == 0
    assert kinds(made, execution_id).count("halt_requested") == 1


# ---- retry -----------------------------------------------------------------------------------------------------------


async def test_a_retry_leaves_the_execution_paused_and_a_resume_completes_the_blocked_too():
    client = ScriptedClient({"a": [BAD] * 4 + [GOOD]})
    made, execution_id = await failed_execution(client=client)
    assert (await made.retry_execution(execution_id)).status is ExecutionStatus.PAUSED
    state = await to_the_end(made, execution_id)
    assert (state.status, state.atoms_succeeded) == (ExecutionStatus.COMPLETED, 3)
    assert len(client.calls_for("a")) == 5
    assert len({asked.call.call_id for asked in client.asked}) == 7
    assert client.calls_for("a")[4].previous_errors == ["[tests] not good: bad"]


@pytest.mark.parametrize(
    ("atom_id", "why"),
    [
        ("b", "'b' is blocked \\(depends on a, which failed\\): edit, retry or approve what it rests on"),
        ("c", "'c' is succeeded; retry needs one that has failed"),
    ],
)
async def test_an_atom_that_has_not_failed_is_not_tried_again(atom_id, why):
    made, execution_id = await failed_execution()
    with pytest.raises(StateConflictError, match=why):
        await made.retry_execution(execution_id, [atom_id])
    with pytest.raises(UnknownExecutionError, match="no atom 'ghost'"):
        await made.retry_execution(execution_id, ["ghost"])


async def test_a_completed_execution_has_nothing_to_try_again():
    made = service()
    execution_id = await made.start_plan(plan("a"))
    await made.wait(execution_id)
    with pytest.raises(StateConflictError, match=r"is completed; retry needs one that is paused or failed$"):
        await made.retry_execution(execution_id)


# ---- edit ------------------------------------------------------------------------------------------------------------


async def test_an_edit_of_a_failed_atom_and_a_resume_complete_what_was_blocked():
    client = ScriptedClient({"a": [BAD]})
    made, execution_id = await failed_execution(client=client)
    spent = (await made.get_execution_state(execution_id)).total_cost_usd
    state = await made.edit_atom(execution_id, "a", "good = 'by hand'\n", by="ann")
    assert (state.status, state.total_cost_usd) == (ExecutionStatus.PAUSED, spent)
    state = await to_the_end(made, execution_id)
    assert (state.status, state.atoms_succeeded) == (ExecutionStatus.COMPLETED, 3)
    assert client.calls_for("b")[0].dependencies == {"a": "good = 'by hand'\n"}
    assert made.machine(execution_id).atoms["a"].edited_by == "ann"


async def test_code_that_does_not_pass_is_refused_with_the_verdict_and_changes_nothing():
    made, execution_id = await failed_execution()
    before = made.machine(execution_id).snapshot()
    with pytest.raises(
        EditRefusedError, match=r"'a' does not pass its check, so nothing was changed: .*not good: worse"
    ):
        await made.edit_atom(execution_id, "a", "worse\n", by="ann")
    assert made.machine(execution_id).snapshot() == before
    assert "code_edited" not in kinds(made, execution_id)


async def test_an_edit_waits_for_a_lease_and_gives_it_back():
    leases = LocalLeases(execute=1)
    made, execution_id = await failed_execution(leases=leases)
    await leases.try_acquire(Pool.EXECUTE, ["somebody else's"])
    edit = asyncio.ensure_future(made.edit_atom(execution_id, "a", GOOD, by="ann"))
    await asyncio.wait([edit], timeout=0.05)
    assert not edit.done()
    await leases.release(Pool.EXECUTE, ["somebody else's"])
    assert (await edit).status is ExecutionStatus.PAUSED
    assert await leases.try_acquire(Pool.EXECUTE, ["the next one's"]) == ["the next one's"]


async def test_an_edit_is_judged_again_where_what_it_rests_on_changed_meanwhile():
    validator = RuleValidator()
    made, execution_id = await failed_execution("c, c -> a", validator=validator)

    def rule(candidate):
        made.machine(execution_id).atoms["c"].code = "good = 'changed'\n"
        return failed() if "bad" in candidate.code else RuleValidator().rule(candidate)

    validator.rule = rule
    with pytest.raises(StateConflictError, match="what atom 'a' rests on has changed meanwhile"):
        await made.edit_atom(execution_id, "a", GOOD, by="ann")


async def test_a_running_execution_is_not_edited():
    client = ScriptedClient({"a": [BAD]})
    client.gate.clear()
    made = service(client)
    execution_id = await made.start_plan(plan("a"))
    await until(lambda: client.in_flight)
    with pytest.raises(
        StateConflictError, match="edit needs one that is paused, completed or failed \\(pause it first\\)"
    ):
        await made.edit_atom(execution_id, "a", GOOD, by="ann")
    await made.pause_execution(execution_id)
    with pytest.raises(StateConflictError, match="'a' is generating; edit needs one that has failed or succeeded"):
        await made.edit_atom(execution_id, "a", GOOD, by="ann")
    await made.close()


def test_a_refused_edit_keeps_its_verdict_on_its_way_between_processes():
    refused = pickle.loads(pickle.dumps(EditRefusedError("a", failed("no"))))  # noqa: S301  # our own
    assert (refused.atom_id, refused.verdict, str(refused)) == (
        "a",
        failed("no"),
        str(EditRefusedError("a", failed("no"))),
    )


# ---- approve ---------------------------------------------------------------------------------------------------------


async def test_an_approval_marks_the_atom_and_leaves_the_execution_as_it_is():
    made = service()
    execution_id = await made.start_plan(plan("a"))
    await made.wait(execution_id)
    state = await made.approve_atom(execution_id, "a", by="ann", note="fine")
    assert state.status is ExecutionStatus.COMPLETED
    assert made.machine(execution_id).atoms["a"].approved.by == "ann"


async def test_a_failed_atom_is_approved_despite_its_failures_or_not_at_all():
    client = ScriptedClient({"a": [BAD]})
    made, execution_id = await failed_execution(client=client)
    with pytest.raises(StateConflictError, match="'a' failed: edit or retry it, or approve it despite its failures"):
        await made.approve_atom(execution_id, "a", by="ann")
    with pytest.raises(
        StateConflictError, match="'c' is succeeded; approve in spite of failures needs one that has fail"
    ):
        await made.approve_atom(execution_id, "c", by="ann", despite_failures=True)
    await made.approve_atom(execution_id, "a", by="ann", despite_failures=True)
    state = await to_the_end(made, execution_id)
    assert (state.status, state.atoms_succeeded, state.atoms_failed) == (ExecutionStatus.FAILED, 2, 1)
    assert client.calls_for("b")[0].dependencies == {"a": BAD}


# ---- by another process ----------------------------------------------------------------------------------------------


async def test_an_ended_execution_is_taken_over_when_it_is_changed_and_not_before():
    first, execution_id = await failed_execution()
    journal = first.wave_executor.journal
    second = service(journal=journal)
    await second.recover_execution(execution_id, plan("a -> b, c"), journal.events_of(execution_id))
    assert (first.epoch(execution_id), second.epoch(execution_id)) == (1, 0)
    await second.retry_execution(execution_id, ["a"])
    assert second.epoch(execution_id) == 2
    assert (await to_the_end(second, execution_id)).status is ExecutionStatus.COMPLETED


async def test_what_people_did_is_recovered_and_watched():
    first, execution_id = await failed_execution()
    await first.edit_atom(execution_id, "a", GOOD, by="ann")
    journal, told = first.wave_executor.journal, []
    events = journal.events_of(execution_id)
    second = service(journal=journal)
    state = await second.recover_execution(execution_id, plan("a -> b, c"), events, watch=told.append)
    assert state.status is ExecutionStatus.PAUSED
    assert (await to_the_end(second, execution_id)).status is ExecutionStatus.COMPLETED
    assert [type(notice).__name__ for notice in told][-1] == "ExecutionFinished"
    again = replay(execution_id, plan("a -> b, c"), journal.events_of(execution_id))
    assert again.snapshot() == second.machine(execution_id).snapshot()
    assert again.atoms["b"].status is AtomStatus.SUCCEEDED
    assert any(isinstance(event, e.CodeEdited) for event in journal.events_of(execution_id))
