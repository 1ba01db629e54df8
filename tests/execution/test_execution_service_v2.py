import asyncio
from uuid import UUID, uuid4

import pytest

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import PlanError, StateConflictError, UnknownExecutionError, UnknownPriceError
from mge_ray.domain.generation import FailureKind
from mge_ray.domain.plan import ExecutionWave
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.execution.recovery import ReplayError, replay
from tests.builders import CALL_USD, atoms, failure, many, plan, settings
from tests.engines import service, until
from tests.fakes.clock import ManualClock
from tests.fakes.journals import FlakyJournal
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.metrics import RecordedMetrics
from tests.fakes.validator import RuleValidator

GHOST = UUID(int=404)
GOOD = "good = True\n"


def closed_client(**script):
    """A model that answers when its gate is opened."""
    client = ScriptedClient(script)
    client.gate.clear()
    return client


async def held(plan_text="a, b", **options):
    """A service with an execution whose calls are in flight and stay there."""
    client = closed_client()
    made = service(client, **options)
    execution_id = await made.start_plan(plan(plan_text))
    await until(lambda: client.in_flight)
    return made, execution_id, client


# ---- start -----------------------------------------------------------------------------------------------------------


async def test_start_returns_before_the_end():
    client = closed_client()
    made = service(client)
    execution_id = await made.start_plan(plan("a"))
    state = await made.get_execution_state(execution_id)
    assert (state.status, state.atoms_completed) == (ExecutionStatus.RUNNING, 0)
    assert made.is_driven(execution_id)
    client.gate.set()
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED
    assert not made.is_driven(execution_id)


async def test_what_start_returned_from_is_journalled():
    made, execution_id, _ = await held()
    journal = made.wave_executor.journal
    assert isinstance(journal.events_of(execution_id)[0], e.ExecutionStarted)
    assert journal.state_of(execution_id).status is ExecutionStatus.RUNNING


async def test_the_seeds_start_takes_waves_and_atoms_and_gives_an_id():
    made = service()
    masterplan_id = uuid4()
    wave = ExecutionWave(wave_id=1, atom_ids=("a",))
    execution_id = await made.start_execution(
        masterplan_id, [wave], {"a": atoms("a")[0]}, files={"app/m.py": "# top\n"}
    )
    state = await made.wait(execution_id)
    assert (state.masterplan_id, state.status) == (masterplan_id, ExecutionStatus.COMPLETED)
    assert made.machine(execution_id).plan.files == {"app/m.py": "# top\n"}


async def test_a_plan_that_cannot_be_executed_starts_nothing():
    made = service()
    with pytest.raises(PlanError, match="'b' is in no wave"):
        await made.start_execution(
            uuid4(), [ExecutionWave(wave_id=1, atom_ids=("a",))], {unit.id: unit for unit in atoms("a, b")}
        )
    assert made.execution_ids == ()


async def test_executions_run_side_by_side_and_do_not_mix():
    made = service(ScriptedClient({"b": ["bad\n"]}))
    first, second = await made.start_plan(plan("a")), await made.start_plan(plan("b"))
    assert made.execution_ids == (first, second)
    assert (await made.wait(first)).status is ExecutionStatus.COMPLETED
    assert (await made.wait(second)).status is ExecutionStatus.FAILED


async def test_an_execution_id_is_taken_once():
    made = service()
    await made.start_plan(plan("a"), execution_id=GHOST)
    with pytest.raises(StateConflictError, match="exists already"):
        await made.start_plan(plan("a"), execution_id=GHOST)


async def test_a_budget_needs_a_client_that_can_quote():
    with pytest.raises(StateConflictError, match="a budget needs a client that can quote calls"):
        await service().start_plan(plan("a"), settings=settings(budget_usd=1.0))


async def test_a_model_without_a_price_is_named_at_the_start():
    class Priceless(QuotingClient):
        def max_cost_usd(self, *asked, call=None):
            raise UnknownPriceError("model 'm' has no known price")

    with pytest.raises(UnknownPriceError, match="no known price"):
        await service(Priceless()).start_plan(plan("a"))


async def test_a_journal_that_is_away_for_good_refuses_the_start():
    client = ScriptedClient()
    made = service(client, journal=FlakyJournal(appends_away=10_000), clock=ManualClock(step_s=5.0))
    with pytest.raises(JournalUnavailableError, match="disk is full"):
        await made.start_plan(plan("a"))
    assert client.asked == []


# ---- pause, resume, cancel -------------------------------------------------------------------------------------------


async def test_a_pause_starts_nothing_new_and_keeps_what_is_in_flight():
    made, execution_id, client = await held("a -> b")
    state = await made.pause_execution(execution_id, reason="lunch")
    assert (state.status, state.reason) == (ExecutionStatus.PAUSED, "lunch")
    client.gate.set()
    state = await made.wait(execution_id)
    assert (state.status, state.atoms_in_flight) == (ExecutionStatus.PAUSED, 0)
    assert (await made.get_atom_status(execution_id, "a")).status is AtomStatus.ANSWERED
    assert client.atom_ids == ["a"]


async def test_a_pause_is_journalled_when_it_returns():
    made, execution_id, _ = await held()
    await made.pause_execution(execution_id)
    kinds = [event.kind for event in made.wave_executor.journal.events_of(execution_id)]
    assert "pause_requested" in kinds


@pytest.mark.parametrize("wish", ["pause_execution", "cancel_execution"])
async def test_a_reason_with_half_a_surrogate_pair_can_be_journalled(wish):
    made, execution_id, _ = await held()
    state = await getattr(made, wish)(execution_id, reason="half \ud83d")
    assert state.reason == "half \N{REPLACEMENT CHARACTER}"


async def test_resume_goes_on_from_where_the_execution_stands():
    made, execution_id, client = await held("a -> b")
    await made.pause_execution(execution_id)
    client.gate.set()
    await made.wait(execution_id)
    assert (await made.resume_execution(execution_id)).status is ExecutionStatus.RUNNING
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED
    assert client.atom_ids == ["a", "b"]


async def test_pausing_or_resuming_twice_changes_nothing():
    made, execution_id, client = await held()
    await made.pause_execution(execution_id, reason="first")
    assert (await made.pause_execution(execution_id, reason="second")).reason == "first"
    await made.resume_execution(execution_id)
    assert (await made.resume_execution(execution_id)).status is ExecutionStatus.RUNNING
    client.gate.set()
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED
    kinds = [event.kind for event in made.wave_executor.journal.events_of(execution_id)]
    assert (kinds.count("pause_requested"), kinds.count("resume_requested")) == (1, 1)


async def test_cancel_ends_the_execution_and_counts_what_may_have_been_billed():
    client = QuotingClient(quote_usd=0.05)
    client.gate.clear()
    made = service(client)
    execution_id = await made.start_plan(plan("a -> b"))
    await until(lambda: client.in_flight)
    state = await made.cancel_execution(execution_id, reason="wrong plan")
    assert (state.status, state.reason, state.unknown_cost_usd) == (ExecutionStatus.CANCELLED, "wrong plan", 0.05)
    assert (await made.cancel_execution(execution_id, reason="again")).reason == "wrong plan"
    await until(lambda: client.in_flight == 0)


async def test_a_paused_execution_can_be_cancelled():
    made, execution_id, client = await held()
    await made.pause_execution(execution_id)
    client.gate.set()
    await made.wait(execution_id)
    assert (await made.cancel_execution(execution_id)).status is ExecutionStatus.CANCELLED


@pytest.mark.parametrize(
    ("wish", "needs"),
    [("pause_execution", "running"), ("resume_execution", "paused"), ("cancel_execution", "running or paused")],
)
async def test_an_ended_execution_refuses_and_names_its_state(wish, needs):
    made = service()
    execution_id = await made.start_plan(plan("a"))
    await made.wait(execution_id)
    with pytest.raises(StateConflictError, match=f"is completed; {wish.split('_')[0]} needs one that is {needs}"):
        await getattr(made, wish)(execution_id)


async def test_wishes_that_cross_are_refused_as_conflicts():
    made, execution_id, _ = await held()
    outcomes = await asyncio.gather(
        made.cancel_execution(execution_id), made.pause_execution(execution_id), return_exceptions=True
    )
    assert outcomes[0].status is ExecutionStatus.CANCELLED
    assert isinstance(outcomes[1], StateConflictError)
    assert "pause_requested is not possible while the execution is cancelled" in str(outcomes[1])


@pytest.mark.parametrize(
    "wish",
    [
        lambda made: made.pause_execution(GHOST),
        lambda made: made.resume_execution(GHOST),
        lambda made: made.cancel_execution(GHOST),
        lambda made: made.wait(GHOST),
        lambda made: made.get_execution_state(GHOST),
        lambda made: made.get_wave_status(GHOST, 1),
        lambda made: made.get_atom_status(GHOST, "a"),
    ],
)
async def test_an_unknown_execution_is_named(wish):
    with pytest.raises(UnknownExecutionError, match=str(GHOST)):
        await wish(service())


async def test_closing_stops_driving_and_keeps_the_state():
    made, execution_id, _ = await held()
    await made.close()
    assert not made.is_driven(execution_id)
    assert (await made.get_execution_state(execution_id)).status is ExecutionStatus.RUNNING


async def test_a_request_that_the_closing_service_did_not_hear_is_refused():
    made, execution_id, _ = await held()
    refused, _ = await asyncio.gather(made.pause_execution(execution_id), made.close(), return_exceptions=True)
    assert isinstance(refused, StateConflictError)
    assert "ended before the request was heard" in str(refused)


# ---- states, waves, atoms, cost and time -----------------------------------------------------------------------------


async def test_views_follow_the_execution():
    client = closed_client()
    made = service(client)
    execution_id = await made.start_plan(plan("a, b -> c"))
    await until(lambda: client.in_flight == 2)
    first, second = [await made.get_wave_status(execution_id, n) for n in (1, 2)]
    assert (first.atoms_completed, second.atoms_completed) == (0, 0)
    assert (await made.get_atom_status(execution_id, "a")).status is AtomStatus.GENERATING
    assert (await made.get_atom_status(execution_id, "c")).status is AtomStatus.PENDING
    client.gate.set()
    state = await made.wait(execution_id)
    assert (state.completion_percent, state.precision_percent, state.current_wave) == (100.0, 100.0, 2)
    assert (await made.get_wave_status(execution_id, 2)).completion_percent == 100.0
    assert (await made.get_atom_status(execution_id, "c")).code == GOOD


@pytest.mark.parametrize("wave_id", [0, 2])
async def test_an_unknown_wave_or_atom_is_named(wave_id):
    made = service()
    execution_id = await made.start_plan(plan("a"))
    with pytest.raises(UnknownExecutionError, match=f"wave {wave_id} does not exist"):
        await made.get_wave_status(execution_id, wave_id)
    with pytest.raises(UnknownExecutionError, match="no atom 'ghost'"):
        await made.get_atom_status(execution_id, "ghost")


async def test_costs_add_up_from_attempts_to_the_execution():
    made = service(ScriptedClient({"a": ["bad\n", GOOD]}))
    execution_id = await made.start_plan(plan("a, b"))
    state = await made.wait(execution_id)
    per_atom = [(await made.get_atom_status(execution_id, a)).cost_usd for a in "ab"]
    assert per_atom == [pytest.approx(2 * CALL_USD), CALL_USD]
    assert (await made.get_wave_status(execution_id, 1)).cost_usd == pytest.approx(3 * CALL_USD)
    assert state.total_cost_usd == pytest.approx(3 * CALL_USD)
    assert (state.attempts, state.retried_atoms, state.retry_rate) == (3, 1, 0.5)


async def test_time_runs_while_the_execution_does_and_stops_with_it():
    clock, client = ManualClock(), closed_client()
    made = service(client, clock=clock)
    execution_id = await made.start_plan(plan("a"))
    await until(lambda: client.in_flight)
    clock.advance(60.0)
    assert (await made.get_execution_state(execution_id)).total_time_seconds == 60.0
    client.gate.set()
    await made.wait(execution_id)
    clock.advance(3_600.0)
    state = await made.get_execution_state(execution_id)
    assert state.total_time_seconds == 60.0
    assert (await made.get_atom_status(execution_id, "a")).time_seconds == 60.0


async def test_a_budget_pauses_the_execution_with_the_numbers():
    made = service(QuotingClient(quote_usd=CALL_USD))
    execution_id = await made.start_plan(many(5), settings=settings(budget_usd=0.035))
    state = await made.wait(execution_id)
    assert state.status is ExecutionStatus.PAUSED
    assert state.reason.startswith("budget: ")
    assert state.total_cost_usd == pytest.approx(0.03)
    assert state.soft_limit_reached


async def test_a_provider_that_stops_the_run_pauses_it_and_a_resume_goes_on():
    client = ScriptedClient({"a": [failure(FailureKind.SPEND_LIMIT), GOOD]})
    made = service(client)
    execution_id = await made.start_plan(plan("a"))
    state = await made.wait(execution_id)
    assert (state.status, state.reason) == (ExecutionStatus.PAUSED, "spend_limit: a spend_limit in a test")
    await made.resume_execution(execution_id)
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED


async def test_completed_means_acceptance_passed_too():
    made = service(validator=RuleValidator(acceptance=OSError("disk")))
    execution_id = await made.start_plan(plan("a", files={"tests/t.py": ""}, acceptance_tests=("tests",)))
    state = await made.wait(execution_id)
    assert (state.status, state.precision_percent) == (ExecutionStatus.FAILED, 100.0)
    assert state.reason == "every atom passed, but the acceptance tests failed"


async def test_who_watches_is_told():
    told = []
    made = service()
    await made.wait(await made.start_plan(plan("a"), watch=told.append))
    assert [type(notice).__name__ for notice in told][-1] == "ExecutionFinished"


# ---- a journal that is away ------------------------------------------------------------------------------------------


async def test_an_execution_that_lost_its_journal_shows_as_paused_with_the_reason_and_can_be_resumed():
    clock, journal, client = ManualClock(), FlakyJournal(), closed_client()
    made = service(client, journal=journal, clock=clock)
    execution_id = await made.start_plan(plan("a -> b"))
    await until(lambda: client.in_flight)
    journal.appends_away = 10_000
    client.gate.set()
    await until(lambda: made.trouble(execution_id))
    assert (await made.get_execution_state(execution_id)).status is ExecutionStatus.RUNNING
    clock.advance(60.0)
    state = await made.wait(execution_id)
    assert (state.status, state.reason) == (ExecutionStatus.PAUSED, "the journal's disk is full")
    assert not made.is_driven(execution_id)
    journal.appends_away = 0
    await made.resume_execution(execution_id)
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED
    assert client.atom_ids == ["a", "b"]


async def test_a_request_that_could_not_be_kept_is_not_carried_out_later():
    clock, journal, client = ManualClock(), FlakyJournal(), closed_client()
    made = service(client, journal=journal, clock=clock)
    execution_id = await made.start_plan(plan("a"))
    await until(lambda: client.in_flight)
    journal.appends_away = 10_000
    client.gate.set()
    await until(lambda: made.trouble(execution_id))
    clock.advance(60.0)
    await made.wait(execution_id)
    with pytest.raises(JournalUnavailableError):
        await made.cancel_execution(execution_id)
    assert journal.state_of(execution_id).status is ExecutionStatus.RUNNING


# ---- recovery --------------------------------------------------------------------------------------------------------


async def events_until_crash(client, plan_text="a, b -> c"):
    """Run until calls are in flight, then stop at once; return what the journal holds."""
    made = service(client)
    execution_id = await made.start_plan(plan(plan_text))
    await until(lambda: client.in_flight)
    await made.close()
    return made.wave_executor.journal, execution_id


async def test_a_recovered_execution_runs_to_its_end():
    journal, execution_id = await events_until_crash(closed_client())
    client = ScriptedClient()
    made = service(client, journal=journal)
    await made.recover_execution(execution_id, journal.plan_of(execution_id), journal.events_of(execution_id))
    state = await made.wait(execution_id)
    assert state.status is ExecutionStatus.COMPLETED
    assert sorted(client.atom_ids) == ["a", "b", "c"]


async def test_recovery_from_events_equals_the_live_machine():
    client = ScriptedClient({"a": ["bad\n", GOOD], "b": [failure(), "bad\n"]})
    made = service(client)
    execution_id = await made.start_plan(plan("a -> c, b -> d, e"))
    await made.wait(execution_id)
    live, journal = made.machine(execution_id), made.wave_executor.journal
    replayed = replay(execution_id, journal.plan_of(execution_id), journal.events_of(execution_id))
    assert replayed.snapshot() == live.snapshot()


async def test_calls_of_a_live_gateway_are_rejoined_under_their_identity():
    journal, execution_id = MemoryJournal(), uuid4()
    epoch = await journal.create(execution_id, plan("a"), settings())
    started = [e.ExecutionStarted(1.0, settings()), e.LeaseGranted(2.0, Pool.GENERATE, "a", "lease", 0.0, "g1")]
    machine = replay(execution_id, plan("a"), started)
    client = ScriptedClient()
    made = service(client, journal=journal)
    await made.recover_execution(execution_id, plan("a"), started, live_gateways=["g1"])
    await made.wait(execution_id)
    assert client.asked[0].call.call_id == machine.atoms["a"].call_id
    assert await journal.take_over(execution_id) == epoch + 2


async def test_an_execution_that_had_ended_is_shown_and_not_driven():
    made = service()
    execution_id = await made.start_plan(plan("a"))
    await made.wait(execution_id)
    journal = made.wave_executor.journal
    again = service(journal=journal)
    state = await again.recover_execution(execution_id, plan("a"), journal.events_of(execution_id))
    assert state.status is ExecutionStatus.COMPLETED
    assert not again.is_driven(execution_id)
    assert (await again.wait(execution_id)).status is ExecutionStatus.COMPLETED


async def test_an_execution_whose_start_was_not_journalled_starts_with_the_settings_it_was_created_with():
    journal, execution_id = MemoryJournal(), uuid4()
    wishes = settings(budget_usd=0.015)
    await journal.create(execution_id, many(3), wishes)
    made = service(QuotingClient(quote_usd=CALL_USD), journal=journal)
    await made.recover_execution(execution_id, many(3), [], settings=wishes)
    state = await made.wait(execution_id)
    assert (state.budget_usd, state.status) == (0.015, ExecutionStatus.PAUSED)
    assert state.total_cost_usd == CALL_USD


async def test_a_recovered_execution_tells_its_metrics_only_what_is_new():
    journal, execution_id = await events_until_crash(closed_client(b=[GOOD]), "a -> b")
    metrics = RecordedMetrics()
    made = service(journal=journal, metrics=metrics)
    await made.recover_execution(execution_id, plan("a -> b"), journal.events_of(execution_id))
    await made.wait(execution_id)
    assert sum(metrics.costs_usd) == pytest.approx(2 * CALL_USD)


async def test_a_journal_that_leads_nowhere_sets_this_execution_aside():
    made = service()
    with pytest.raises(ReplayError, match="event 1 \\(resume_requested\\) cannot be replayed"):
        await made.recover_execution(GHOST, plan("a"), [e.ResumeRequested(1.0)])
    assert made.execution_ids == ()
