"""Facts: what happened to one execution, as metrics, logs and traces want to know it. They hold no code and no prompt.

Owns their making, from an event and the machine that is about to handle it; the machine itself tells only notices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mge_ray.domain import events as e
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.execution_record import ACCEPTANCE
from mge_ray.domain.generation import Billing, FailureKind, StopReason, Usage
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.domain.validation import Level, ValidationResult

BUDGET_PAUSE = "budget: "
"""How the reason of a pause begins that the budget has made."""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call to the model ended; `failure` is None for an answer. US dollars, seconds, tokens.

    `late` says that nobody waited for it any more; `shared` that another execution paid for the answer. `try_number`
    tells the calls of one attempt apart, and `max_tokens` is what was asked for.
    """

    atom_id: str
    attempt: int
    try_number: int
    model: str
    began_at: float
    at: float
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    latency_s: float = 0.0
    failure: FailureKind | None = None
    billing: Billing = Billing.BILLED
    stop_reason: StopReason | None = None
    answered_by: str = ""
    max_tokens: int = 0
    temperature: float | None = None
    shared: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class CallsUnanswered:
    """Calls came to nothing: failed, given up, or lost with a process; `kind` and `billing` as the report has them."""

    kind: str
    billing: str
    count: int


@dataclass(frozen=True, slots=True)
class CheckEnded:
    """A check ended in a verdict; without an atom id, one above the single atom. `seconds` is by level."""

    atom_id: str
    attempt: int
    began_at: float
    at: float
    level: Level
    passed: bool
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """The process that checked something died before it gave a verdict; without an atom id, above the single atom."""

    atom_id: str


@dataclass(frozen=True, slots=True)
class CodeTaken:
    """Accepted code of an earlier execution stands for an atom; `saved_usd` is what it cost there."""

    atom_id: str
    saved_usd: float


@dataclass(frozen=True, slots=True)
class BudgetRefused:
    """A call was not made because it did not fit the budget of an `execution`, or of a single `atom`."""

    scope: str
    atom_id: str = ""


@dataclass(frozen=True, slots=True)
class BudgetMoved:
    """A person set another limit in US dollars."""

    limit_usd: float


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """The execution moved on from one status to another."""

    before: ExecutionStatus
    after: ExecutionStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """Another process has taken the execution over."""

    live_gateways: int


@dataclass(frozen=True, slots=True)
class JournalAway:
    """The journal could not be written; nothing is bought until it can."""


Fact = (
    CallEnded
    | CallsUnanswered
    | CheckEnded
    | WorkerGone
    | CodeTaken
    | BudgetRefused
    | BudgetMoved
    | StatusChanged
    | Recovered
    | JournalAway
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an execution stands after a turn. `driven` is false once this process has left it without its end."""

    status: ExecutionStatus
    spent_usd: float
    reserved_usd: float
    unknown_usd: float
    limit_usd: float | None
    in_flight: Mapping[Pool, int]
    waiting: Mapping[Pool, int]
    journal_away: bool
    driven: bool = True


def standing_of(machine: ExecutionMachine, *, journal_away: bool, driven: bool = True) -> Standing:
    """Return how an execution stands."""
    money = machine.money
    return Standing(
        machine.status,
        money.spent_usd,
        money.reserved_usd,
        money.unknown_usd,
        money.limit_usd,
        machine.flying,
        {pool: machine.queues.waiting(pool) for pool in Pool},
        journal_away,
        driven,
    )


def fact_of(machine: ExecutionMachine, event: e.Event) -> Fact | None:
    """Return what an event means to those who watch, or None. To be asked before the machine handles it."""
    making = _MAKING.get(type(event))
    return making(machine, event) if making else None


def _call_ended(machine: ExecutionMachine, event: e.GenerationArrived | e.GenerationFailed) -> CallEnded:
    record = machine.atom(event.atom_id)
    settings = record.settings
    known = CallEnded(
        record.atom_id,
        record.attempt,
        record.calls_failed + 1,
        settings.model if settings else "",
        record.flight_began_at,
        event.at,
        max_tokens=settings.max_tokens if settings else 0,
        temperature=settings.temperature if settings else None,
        late=record.status is not AtomStatus.GENERATING or record.call_id != event.call_id,
    )
    return _answered(known, event) if isinstance(event, e.GenerationArrived) else _failed(known, event)


def _answered(known: CallEnded, event: e.GenerationArrived) -> CallEnded:
    answer = event.generation
    return replace(
        known,
        usage=answer.usage,
        cost_usd=answer.cost_usd,
        latency_s=answer.latency_s,
        stop_reason=answer.stop_reason,
        answered_by=answer.model,
        shared=answer.shared,
    )


def _failed(known: CallEnded, event: e.GenerationFailed) -> CallEnded:
    why = event.failure
    cost_usd = why.cost_usd if why.billing is Billing.BILLED else 0.0
    return replace(
        known, usage=why.usage, cost_usd=cost_usd, latency_s=why.latency_s, failure=why.kind, billing=why.billing
    )


def _check_ended(record: AtomRecord, at: float, verdict: ValidationResult) -> CheckEnded | None:
    """Return nothing for a verdict that nobody waits for any more."""
    if record.status is not AtomStatus.EXECUTING:
        return None
    attempt = record.rechecks[0].attempt + 1 if record.rechecks else record.attempt
    return CheckEnded(
        record.atom_id, attempt, record.flight_began_at, at, verdict.level, verdict.passed, verdict.seconds
    )


def _pause(_machine: ExecutionMachine, event: e.PauseRequested) -> BudgetRefused | None:
    return BudgetRefused("execution") if event.reason.startswith(BUDGET_PAUSE) else None


_MAKING: dict[type, Callable[[ExecutionMachine, Any], Fact | None]] = {
    e.GenerationArrived: _call_ended,
    e.GenerationFailed: _call_ended,
    e.AtomExecuted: lambda machine, event: _check_ended(machine.atom(event.atom_id), event.at, event.result),
    e.AcceptanceFinished: lambda machine, event: _check_ended(machine.acceptance, event.at, event.result),
    e.WorkerLost: lambda _machine, event: WorkerGone(event.atom_id),
    e.AcceptanceLost: lambda _machine, _event: WorkerGone(ACCEPTANCE),
    e.AtomReused: lambda _machine, event: CodeTaken(event.atom_id, event.saved_usd),
    e.AtomBudgetExceeded: lambda _machine, event: BudgetRefused("atom", event.atom_id),
    e.PauseRequested: _pause,
    e.BudgetRaised: lambda _machine, event: BudgetMoved(event.limit_usd),
    e.CoordinatorRestarted: lambda _machine, event: Recovered(len(event.live_gateways)),
}
