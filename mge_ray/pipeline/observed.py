"""Observed: an execution seen through its journal: every call and check with its times, and money over time.

Pure: events are replayed through the machine, so attempts and amounts are those it decided on. Serves the HTML report
and the measurements forecasts rest on; totals per atom and wave are left to `report`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.execution_record import ACCEPTANCE
from mge_ray.domain.generation import FailureKind, StopReason, Usage
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.execution.recovery import ReplayError

RUNNING = "running"
GIVEN_UP = "given_up"


@dataclass(slots=True)
class Span:
    """One call or check in flight, in seconds since the epoch. `outcome` is how it ended, `closed_by` the event.

    A call ends as `answered`, `bad_answer` or the kind of its failure; a check as `passed`, `rejected` or
    `worker_lost`; either as `given_up`, or it is `running` where the journal ends.
    """

    pool: Pool
    atom_id: str
    attempt: int
    model: str
    start: float
    end: float = 0.0
    outcome: str = RUNNING
    closed_by: e.Event | None = None

    @property
    def busy_s(self) -> float:
        """Seconds that were work: a check's own time without its wait for a core, else all of it."""
        if isinstance(self.closed_by, e.AtomExecuted | e.AcceptanceFinished):
            return self.closed_by.result.duration_s
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class MoneyPoint:
    """US dollars from `at` on: spent, and what is reserved or of unknown fate on top of it."""

    at: float
    spent_usd: float
    at_risk_usd: float


@dataclass(slots=True)
class Observed:
    """One execution with its history."""

    machine: ExecutionMachine
    spans: list[Span] = field(default_factory=list)
    money: list[MoneyPoint] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    _open: dict[str, Span] = field(default_factory=dict)

    @property
    def usage(self) -> Usage:
        """The tokens of every call that told them."""
        told = [usage for _, usage in self.usages]
        return Usage(
            sum(usage.input_tokens for usage in told),
            sum(usage.output_tokens for usage in told),
            sum(usage.cache_write_tokens for usage in told),
            sum(usage.cache_read_tokens for usage in told),
        )

    @property
    def usages(self) -> list[tuple[str, Usage]]:
        """The model and the tokens of every call that told them."""
        return [(span.model, usage) for span in self.spans if (usage := _usage(span.closed_by)) is not None]

    @property
    def calls(self) -> list[Span]:
        """Every call, in the order they began."""
        return [span for span in self.spans if span.pool is Pool.GENERATE]

    def take(self, event: e.Event) -> None:
        """Let the machine handle one event and note what it began or ended."""
        attempt = self._attempt_of(event)
        self.machine.handle(event)
        if isinstance(event, e.LeaseGranted):
            self._begin(event, attempt)
        elif isinstance(event, e.GenerationArrived | e.GenerationFailed):
            self._end(event.atom_id, Pool.GENERATE, event)
        elif isinstance(event, e.AtomExecuted | e.WorkerLost | e.AtomTimedOut):
            self._end(event.atom_id, None, event)
        elif isinstance(event, e.AcceptanceFinished | e.AcceptanceLost):
            self._end(ACCEPTANCE, None, event)
        elif isinstance(event, e.CancelRequested | e.HaltRequested):
            for atom_id in list(self._open):
                self._end(atom_id, None, event)
        self._note_restart(event)
        self._note_money(event.at)
        self._note_pause(event.at)

    def close(self) -> Observed:
        """End what is still open where the journal ends."""
        last = self.machine.last_at
        for span in self._open.values():
            span.end = last
        if self.pauses and not self.pauses[-1][1]:
            self.pauses[-1] = (self.pauses[-1][0], last)
        return self

    def _attempt_of(self, event: e.Event) -> int:
        record = self.machine.atoms.get(getattr(event, "atom_id", ACCEPTANCE))
        return record.attempt if record else 1

    def _begin(self, event: e.LeaseGranted, attempt: int) -> None:
        record = self.machine.atoms.get(event.atom_id)
        model = record.settings.model if record and record.settings else ""
        span = Span(event.pool, event.atom_id, attempt, model, event.at)
        self.spans.append(span)
        self._open[event.atom_id] = span

    def _end(self, atom_id: str, pool: Pool | None, event: e.Event) -> None:
        span = self._open.get(atom_id)
        if span is not None and pool in {None, span.pool}:
            del self._open[atom_id]
            span.end, span.outcome, span.closed_by = event.at, _outcome(event), event

    def _note_restart(self, event: e.Event) -> None:
        """End the calls that a restart found lost: the machine has booked them already."""
        if isinstance(event, e.CoordinatorRestarted):
            for atom_id in list(self._open):
                record = self.machine.atoms.get(atom_id)
                if record is not None and not record.in_flight:
                    self._end(atom_id, None, event)

    def _note_money(self, at: float) -> None:
        money = self.machine.money
        point = MoneyPoint(at, money.spent_usd, money.reserved_usd + money.unknown_usd)
        last = self.money[-1] if self.money else None
        if last is None or (last.spent_usd, last.at_risk_usd) != (point.spent_usd, point.at_risk_usd):
            self.money.append(point)

    def _note_pause(self, at: float) -> None:
        paused = self.machine.paused_at is not None
        open_pause = bool(self.pauses) and not self.pauses[-1][1]
        if paused and not open_pause:
            self.pauses.append((at, 0.0))
        elif open_pause and not paused:
            self.pauses[-1] = (self.pauses[-1][0], at)


def observe(execution_id: UUID, plan: Masterplan, events: Iterable[e.Event]) -> Observed:
    """Return the execution that `events` lead to, with its history; raise ReplayError as `replay` does."""
    seen = Observed(ExecutionMachine(execution_id, plan))
    for seq, event in enumerate(events, start=1):
        try:
            seen.take(event)
        except MgeRayError as error:
            where = f"execution {execution_id}: event {seq} ({event.kind})"
            raise ReplayError(f"{where} cannot be replayed: {error}") from error
    return seen.close()


def _outcome(event: e.Event) -> str:
    if isinstance(event, e.GenerationArrived):
        answer = event.generation
        return "answered" if answer.stop_reason is StopReason.END_TURN and answer.code is not None else "bad_answer"
    if isinstance(event, e.GenerationFailed):
        return event.failure.kind.value
    if isinstance(event, e.AtomExecuted | e.AcceptanceFinished):
        return "passed" if event.result.passed else "rejected"
    if isinstance(event, e.WorkerLost | e.AcceptanceLost):
        return "worker_lost"
    if isinstance(event, e.CoordinatorRestarted):
        return FailureKind.GATEWAY_LOST.value
    return GIVEN_UP


def _usage(event: e.Event | None) -> Usage | None:
    if isinstance(event, e.GenerationArrived):
        return event.generation.usage
    return event.failure.usage if isinstance(event, e.GenerationFailed) else None
