from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mge_ray.adapters.journal import (
    SqlJournal,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
)
from mge_ray.domain import events as e
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import StateConflictError, UnknownExecutionError
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation, StopReason, Usage
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.domain.validation import Level, ValidationResult, failed_at
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.ports import JournalUnavailableError, StaleEpochError

PLAN = Masterplan(
    name="ledger é 🧾",
    atoms=(
        AtomicUnit(id="a", file="m.py", symbol="f"),
        AtomicUnit(id="b", file="m.py", symbol="g", depends_on=("a",)),
    ),
    files={"m.py": "# “skeleton”\n"},
)
SETTINGS = e.ExecutionSettings(policy=AttemptPolicy(model="m"), budget_usd=1.5)
NASTY = "nul \0, quote ' \" \\, line\r\n\u2028, emoji 🧾, html </script>, percent %s :x {}"
GENERATION = Generation(
    NASTY, NASTY, Usage(1, 2, 3, 4), 0.1 + 0.2, StopReason.END_TURN, "m", 1e-9, "req", {"anthropic-x": NASTY}
)
ONE_OF_EACH: tuple[e.Event, ...] = (
    e.ExecutionStarted(1.0, SETTINGS),
    e.LeaseGranted(2.0, Pool.GENERATE, "a", "lease", 0.01, "gateway"),
    e.AtomReused(2.5, "b", NASTY, "k" * 64, "earlier", 0.25, NASTY),
    e.GenerationArrived(3.1, "a", "call", GENERATION),
    e.GenerationFailed(4.0, "a", "call", CallFailure(FailureKind.TIMEOUT, NASTY, Billing.UNKNOWN, retry_after_s=2.5)),
    e.AtomExecuted(5.0, "a", "call", failed_at(Level.LINT, NASTY, rule="F401")),
    e.WorkerLost(6.0, "a", "call", NASTY),
    e.AtomTimedOut(7.0, "a"),
    e.AcceptanceFinished(8.0, ValidationResult(tests_run=3, seconds={"tests": 0.1})),
    e.AcceptanceLost(9.0, NASTY),
    e.PauseRequested(10.0, NASTY),
    e.ResumeRequested(11.0),
    e.CancelRequested(12.0, NASTY),
    e.CoordinatorRestarted(13.0, ("one", "two")),
    e.HaltRequested(14.0, NASTY),
    e.RetryRequested(15.0, ("a", "b")),
    e.CodeEdited(16.0, "a", NASTY, NASTY, ValidationResult(tests_run=3)),
    e.FailureAccepted(17.0, "a", NASTY, NASTY),
    e.AtomApproved(18.0, "a", NASTY, NASTY),
    e.ConcurrencyChanged(19.0, 7, NASTY),
    e.BudgetRaised(20.0, 5.0, NASTY, NASTY),
    e.AtomBudgetExceeded(21.0, "a", 0.5),
)


def pauses(*reasons: object) -> list[e.Event]:
    return [e.PauseRequested(1.0, str(reason)) for reason in reasons]


def state(execution_id: UUID, **changes: Any) -> ExecutionState:
    known: dict[str, Any] = {"status": ExecutionStatus.RUNNING, "total_waves": 2, "atoms_total": 2, "name": PLAN.name}
    return ExecutionState(execution_id=execution_id, masterplan_id=PLAN.masterplan_id, **(known | changes))


class MemoryStore:
    """The fake is its own store: opening it again finds the same executions."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()

    def open(self) -> MemoryJournal:
        return self.journal

    def events(self, execution_id: UUID) -> list[e.Event]:
        return self.journal.events_of(execution_id)

    def state(self, execution_id: UUID) -> ExecutionState | None:
        return self.journal.state_of(execution_id)

    def heartbeat_at(self, execution_id: UUID) -> float:
        return self.journal.heartbeat_of(execution_id)

    def control_address(self, execution_id: UUID) -> str | None:
        return self.journal.control_address_of(execution_id)

    def plan(self, execution_id: UUID) -> Masterplan:
        return self.journal.plan_of(execution_id)

    def settings(self, execution_id: UUID) -> e.ExecutionSettings:
        return self.journal.settings_of(execution_id)

    def close(self) -> None:
        self.journal.close()


class SqlStore:
    """Looks through connections of its own: what it sees is committed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened: list[SqlJournal] = []

    def open(self) -> SqlJournal:
        self.opened.append(SqlJournal(self.url))
        return self.opened[-1]

    def events(self, execution_id: UUID) -> list[e.Event]:
        found = load_events(self.url, execution_id)
        assert load_execution(self.url, execution_id).last_seq == len(found)
        return found

    def state(self, execution_id: UUID) -> ExecutionState:
        return load_execution(self.url, execution_id).state

    def heartbeat_at(self, execution_id: UUID) -> float:
        return load_execution(self.url, execution_id).heartbeat_at

    def control_address(self, execution_id: UUID) -> str | None:
        return load_execution(self.url, execution_id).control_address

    def plan(self, execution_id: UUID) -> Masterplan:
        return load_plan_of(self.url, execution_id)

    def settings(self, execution_id: UUID) -> e.ExecutionSettings:
        return load_execution(self.url, execution_id).settings

    def close(self) -> None:
        for journal in self.opened:
            journal.close()


Store = MemoryStore | SqlStore


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "memory":
        made: Store = MemoryStore()
    elif request.param == "sqlite":
        made = SqlStore(f"sqlite:///{tmp_path}/made/by/itself/journal.db")
    else:
        made = SqlStore(request.getfixturevalue("postgres_server").url)
    yield made
    made.close()


@dataclass
class Run:
    """An execution just created, and the journal that holds its epoch."""

    store: Store
    journal: SqlJournal | MemoryJournal
    id: UUID
    epoch: int

    async def append(self, *events: e.Event, epoch: int | None = None, **changes: Any) -> None:
        await self.journal.append(self.id, epoch or self.epoch, events, state(self.id, **changes))

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.store.events(self.id) if isinstance(event, e.PauseRequested)]


async def started(store: Store) -> Run:
    journal, execution_id = store.open(), uuid4()
    return Run(store, journal, execution_id, await journal.create(execution_id, PLAN, SETTINGS))


async def test_a_new_execution_keeps_its_plan_and_settings_and_has_no_events(store):
    run = await started(store)
    assert run.epoch >= 1
    assert store.plan(run.id) == PLAN
    assert store.settings(run.id) == SETTINGS
    assert store.events(run.id) == []


async def test_an_execution_id_is_created_once(store):
    run = await started(store)
    await run.append(*pauses("kept"))
    with pytest.raises(StateConflictError, match="exists already"):
        await run.journal.create(run.id, PLAN, SETTINGS)
    assert run.reasons == ["kept"]


async def test_every_kind_of_event_is_read_back_equal_and_in_order(store):
    assert {type(event) for event in ONE_OF_EACH} == set(e.EVENT_TYPES)
    run = await started(store)
    await run.append(*ONE_OF_EACH)
    assert tuple(store.events(run.id)) == ONE_OF_EACH


async def test_what_append_has_returned_from_is_seen_at_once_by_somebody_else(store):
    run = await started(store)
    for count in range(1, 6):
        await run.append(*pauses(count), attempts=count)
        assert run.reasons == [str(one) for one in range(1, count + 1)]
        assert store.state(run.id) == state(run.id, attempts=count)


async def test_an_event_about_an_oddly_named_atom_is_kept(store):
    run = await started(store)
    odd = e.AtomTimedOut(1.0, NASTY * 10)
    await run.append(odd)
    assert store.events(run.id) == [odd]


async def test_an_append_without_events_still_writes_the_state(store):
    run = await started(store)
    await run.append(status=ExecutionStatus.FAILED, reason=NASTY)
    assert store.state(run.id) == state(run.id, status=ExecutionStatus.FAILED, reason=NASTY)
    assert store.events(run.id) == []


async def test_appends_of_many_tasks_each_stay_whole_and_in_the_order_they_were_made(store):
    runs = [await started(store) for _ in range(4)]
    journal = runs[0].journal
    for run in runs[1:]:
        if not isinstance(store, MemoryStore):
            run.journal.close()
        run.journal = journal
    await asyncio.gather(*(run.append(*pauses(f"{n}.0", f"{n}.1"), attempts=n) for n in range(30) for run in runs))
    for run in runs:
        assert run.reasons == [f"{n}.{part}" for n in range(30) for part in (0, 1)]
        assert store.state(run.id) == state(run.id, attempts=29)


async def test_an_older_epoch_is_refused_and_writes_nothing(store):
    run = await started(store)
    await run.append(*pauses("before"))
    newer = store.open()
    epoch = await newer.take_over(run.id)
    assert epoch > run.epoch
    with pytest.raises(StaleEpochError, match="taken over"):
        await run.append(*pauses("late"), attempts=99)
    assert run.reasons == ["before"]
    assert store.state(run.id) == state(run.id)
    await newer.append(run.id, epoch, pauses("after"), state(run.id))
    assert run.reasons == ["before", "after"]


async def test_a_refused_append_does_not_harm_the_ones_it_is_grouped_with(store):
    first, second = await started(store), await started(store)
    journal = first.journal
    stale = second.epoch
    second.epoch = await journal.take_over(second.id)
    second.journal.close()
    second.journal = journal
    outcomes = await asyncio.gather(
        first.append(*pauses(1)),
        second.append(*pauses("stale"), epoch=stale),
        second.append(*pauses("held")),
        first.append(*pauses(2)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), StaleEpochError, type(None), type(None)]
    assert first.reasons == ["1", "2"]
    assert second.reasons == ["held"]


async def test_an_append_queued_behind_a_take_over_is_stale(store):
    run = await started(store)
    outcomes = await asyncio.gather(
        run.append(*pauses("in time")),
        run.journal.take_over(run.id),
        run.append(*pauses("too late")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[2], StaleEpochError)
    assert run.reasons == ["in time"]


async def test_only_the_owner_has_a_heartbeat_and_a_control_address(store):
    run = await started(store)
    before = store.heartbeat_at(run.id)
    await asyncio.sleep(0.01)
    await run.journal.heartbeat(run.id, run.epoch)
    await run.journal.set_control_address(run.id, run.epoch, "127.0.0.1:1234")
    assert store.heartbeat_at(run.id) > before
    assert store.control_address(run.id) == "127.0.0.1:1234"
    await run.journal.take_over(run.id)
    assert store.control_address(run.id) is None
    with pytest.raises(StaleEpochError):
        await run.journal.heartbeat(run.id, run.epoch)
    with pytest.raises(StaleEpochError):
        await run.journal.set_control_address(run.id, run.epoch, "127.0.0.1:1")
    assert store.control_address(run.id) is None


async def test_an_execution_the_journal_does_not_have_is_neither_taken_over_nor_written(store):
    journal, unknown = store.open(), uuid4()
    with pytest.raises(UnknownExecutionError, match=str(unknown)):
        await journal.take_over(unknown)
    with pytest.raises(JournalUnavailableError, match=str(unknown)):
        await journal.append(unknown, 1, pauses("lost"), state(unknown))
    with pytest.raises(JournalUnavailableError, match=str(unknown)):
        await journal.heartbeat(unknown, 1)


async def test_an_event_that_cannot_be_encoded_fails_alone_and_writes_nothing(store):
    run = await started(store)
    outcomes = await asyncio.gather(
        run.append(*pauses("good")), run.append(*pauses("half", "\ud83d")), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ValueError)
    assert run.reasons == ["good"]


async def test_one_journal_serves_several_event_loops(store):
    run = await started(store)

    def elsewhere(name: str) -> None:
        async def many() -> None:
            for n in range(10):
                await run.append(*pauses(f"{name}{n}"))

        asyncio.run(many())

    threads = [threading.Thread(target=elsewhere, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert sorted(run.reasons) == sorted(f"{name}{n}" for name in "xy" for n in range(10))


async def test_two_journals_write_their_own_executions_side_by_side(store):
    runs = [await started(store) for _ in range(2)]

    async def many(run: Run) -> None:
        for n in range(15):
            await run.append(*pauses(n))

    await asyncio.gather(*map(many, runs))
    assert all(run.reasons == [str(n) for n in range(15)] for run in runs)


async def test_closing_twice_changes_nothing(store):
    run = await started(store)
    await run.append(*pauses("kept"))
    run.journal.close()
    run.journal.close()
    assert run.reasons == ["kept"]


def test_a_closed_sql_journal_says_so(tmp_path):
    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.db")
    journal.close()
    with pytest.raises(JournalUnavailableError, match="closed in this process"):
        asyncio.run(journal.create(uuid4(), PLAN, SETTINGS))


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(
        st.builds(e.PauseRequested, at=numbers, reason=text)
        | st.builds(e.WorkerLost, at=numbers, atom_id=text, call_id=text, reason=text)
        | st.builds(
            e.GenerationArrived,
            at=numbers,
            atom_id=text,
            call_id=text,
            generation=st.builds(
                Generation,
                text=text,
                code=st.none() | text,
                usage=st.builds(Usage, st.integers(0, 1 << 40), st.integers(0, 1 << 40)),
                cost_usd=numbers,
                stop_reason=st.sampled_from(StopReason),
                model=text,
                rate_limits=st.dictionaries(text, text, max_size=2),
            ),
        ),
        max_size=5,
    )
)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_text_and_any_number_survives(store, events):
    async def once() -> None:
        run = await started(store)
        await run.append(*events)
        run.journal.close()
        assert store.events(run.id) == events

    asyncio.run(once())


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_the_list_shows_the_latest_execution_first(store):
    runs = [await started(store) for _ in range(3)]
    assert [one.execution_id for one in list_executions(store.url, limit=3)] == [run.id for run in reversed(runs)]
    assert list_executions(store.url, limit=1)[0].owner.count(":") == 1
