"""What has happened, in the past tense. Events are frozen, carry their time, and are all that the journal holds.

`encode` and `decode` are the journal's format. EVENT_VERSION rises when a stored event could be read differently;
`decode` refuses versions it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import MgeRayError, StateConflictError
from mge_ray.domain.forecast import Forecast
from mge_ray.domain.generation import CallFailure, Generation, whole
from mge_ray.domain.lease import DEFAULT_PRIORITY, HIGHEST_PRIORITY, LOWEST_PRIORITY
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.reuse import ReuseSettings
from mge_ray.domain.validation import ValidationResult

EVENT_VERSION = 1
MOST_CONCURRENCY = 100_000
TENANT_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"
"""A tenant's name; the empty one is nobody's: a machine of one's own."""


class ExecutionSettings(BaseModel):
    """Everything about a run that is decided once, at its start. Seconds, US dollars, calls in flight.

    Without `reuse` everything is bought. `prime_prompt_cache` lets one call go ahead of those that share its prefix.
    `tenant` is whose execution it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    policy: AttemptPolicy
    budget_usd: float | None = Field(default=None, ge=0)
    atom_budget_usd: float | None = Field(default=None, ge=0)
    max_concurrency: int = Field(default=100, ge=1, le=MOST_CONCURRENCY)
    atom_timeout_s: float = Field(default=300.0, gt=0)
    call_timeout_s: float = Field(default=120.0, gt=0)
    max_transport_tries: int = Field(default=12, ge=1)
    max_worker_losses: int = Field(default=3, ge=1)
    priority: int = Field(default=DEFAULT_PRIORITY, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    simulated: bool = False
    forecast: Forecast | None = None
    reuse: ReuseSettings | None = None
    prime_prompt_cache: bool = False
    tenant: str = Field(default="", pattern=TENANT_PATTERN)


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """The execution exists and may begin. `dearest_call_usd` is the most that one of its first calls can bill."""

    at: float
    settings: ExecutionSettings
    dearest_call_usd: float = 0.0
    kind: Literal["execution_started"] = "execution_started"


@dataclass(frozen=True, slots=True)
class LeaseGranted:
    """A ready piece of work got its lease (and, for a call, its reservation). Journalled, this is the intent to act."""

    at: float
    pool: Pool
    atom_id: str
    lease_id: str
    reserved_usd: float = 0.0
    gateway: str = ""
    kind: Literal["lease_granted"] = "lease_granted"


@dataclass(frozen=True, slots=True)
class AtomReused:
    """Code that passed the same check before stands for an atom. `source` is the execution it is from.

    `saved_usd` is what it cost there; `by` is empty, or names the person who wrote it.
    """

    at: float
    atom_id: str
    code: str
    key: str
    source: str
    saved_usd: float = 0.0
    by: str = ""
    kind: Literal["atom_reused"] = "atom_reused"

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", whole(self.code))
        object.__setattr__(self, "by", whole(self.by))


@dataclass(frozen=True, slots=True)
class GenerationArrived:
    """The model answered a call."""

    at: float
    atom_id: str
    call_id: str
    generation: Generation
    kind: Literal["generation_arrived"] = "generation_arrived"


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    """A call ended without a usable answer."""

    at: float
    atom_id: str
    call_id: str
    failure: CallFailure
    kind: Literal["generation_failed"] = "generation_failed"


@dataclass(frozen=True, slots=True)
class AtomExecuted:
    """A candidate was checked; `result` is the verdict."""

    at: float
    atom_id: str
    call_id: str
    result: ValidationResult
    kind: Literal["atom_executed"] = "atom_executed"


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The process that checked a candidate died before it gave a verdict."""

    at: float
    atom_id: str
    call_id: str
    reason: str
    kind: Literal["worker_lost"] = "worker_lost"

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", whole(self.reason))


@dataclass(frozen=True, slots=True)
class AtomTimedOut:
    """An atom's time in flight is used up."""

    at: float
    atom_id: str
    kind: Literal["atom_timed_out"] = "atom_timed_out"


@dataclass(frozen=True, slots=True)
class AcceptanceFinished:
    """The plan's acceptance tests ran on the assembled project."""

    at: float
    result: ValidationResult
    kind: Literal["acceptance_finished"] = "acceptance_finished"


@dataclass(frozen=True, slots=True)
class AcceptanceLost:
    """The process that ran the acceptance tests died before it gave a verdict."""

    at: float
    reason: str
    kind: Literal["acceptance_lost"] = "acceptance_lost"

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", whole(self.reason))


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Somebody, or a guardrail, wants nothing new to be dispatched; `reason` is for people."""

    at: float
    reason: str = "requested"
    kind: Literal["pause_requested"] = "pause_requested"


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """A paused execution may go on."""

    at: float
    kind: Literal["resume_requested"] = "resume_requested"


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The execution is to end now; what is queued is dropped."""

    at: float
    reason: str = "requested"
    kind: Literal["cancel_requested"] = "cancel_requested"


@dataclass(frozen=True, slots=True)
class ConcurrencyChanged:
    """Somebody wants another bound for this execution's calls in flight; what is in flight beyond it ends by itself."""

    at: float
    limit: int
    by: str = ""
    kind: Literal["concurrency_changed"] = "concurrency_changed"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", whole(self.by))
        if not 1 <= self.limit <= MOST_CONCURRENCY:
            raise StateConflictError(f"calls in flight are bounded between 1 and {MOST_CONCURRENCY}, got {self.limit}")


@dataclass(frozen=True, slots=True)
class HaltRequested:
    """Nothing new is to be dispatched, and what is in flight is not waited for."""

    at: float
    reason: str = "requested"
    kind: Literal["halt_requested"] = "halt_requested"


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """Failed atoms, all or those named, are to have new attempts, and what they blocked its first."""

    at: float
    atom_ids: tuple[str, ...] = ()
    kind: Literal["retry_requested"] = "retry_requested"


@dataclass(frozen=True, slots=True)
class CodeEdited:
    """A person wrote an atom's code, and it passed its check; `result` is the verdict."""

    at: float
    atom_id: str
    code: str
    by: str
    result: ValidationResult
    kind: Literal["code_edited"] = "code_edited"

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", whole(self.code))
        object.__setattr__(self, "by", whole(self.by))


@dataclass(frozen=True, slots=True)
class FailureAccepted:
    """A person wants the best code of a failed atom to be used all the same."""

    at: float
    atom_id: str
    by: str
    note: str = ""
    kind: Literal["failure_accepted"] = "failure_accepted"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", whole(self.by))
        object.__setattr__(self, "note", whole(self.note))


@dataclass(frozen=True, slots=True)
class AtomApproved:
    """A person has looked at an atom's accepted code and is content."""

    at: float
    atom_id: str
    by: str
    note: str = ""
    kind: Literal["atom_approved"] = "atom_approved"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", whole(self.by))
        object.__setattr__(self, "note", whole(self.note))


@dataclass(frozen=True, slots=True)
class BudgetRaised:
    """A person set another limit (US dollars), usually a higher one, and said why."""

    at: float
    limit_usd: float
    by: str
    reason: str
    kind: Literal["budget_raised"] = "budget_raised"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", whole(self.by))
        object.__setattr__(self, "reason", whole(self.reason))


@dataclass(frozen=True, slots=True)
class AtomBudgetExceeded:
    """An atom's next call, which can bill `next_call_usd`, does not fit the limit of a single atom."""

    at: float
    atom_id: str
    next_call_usd: float
    kind: Literal["atom_budget_exceeded"] = "atom_budget_exceeded"


@dataclass(frozen=True, slots=True)
class CoordinatorRestarted:
    """A new process took the execution over. `live_gateways` still hold the calls they were given."""

    at: float
    live_gateways: tuple[str, ...] = field(default_factory=tuple)
    kind: Literal["coordinator_restarted"] = "coordinator_restarted"


Event = (
    ExecutionStarted
    | LeaseGranted
    | AtomReused
    | GenerationArrived
    | GenerationFailed
    | AtomExecuted
    | WorkerLost
    | AtomTimedOut
    | AcceptanceFinished
    | AcceptanceLost
    | PauseRequested
    | ResumeRequested
    | CancelRequested
    | HaltRequested
    | ConcurrencyChanged
    | RetryRequested
    | CodeEdited
    | FailureAccepted
    | AtomApproved
    | BudgetRaised
    | AtomBudgetExceeded
    | CoordinatorRestarted
)

EVENT_TYPES: tuple[type[Any], ...] = Event.__args__
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    event_type.__dataclass_fields__["kind"].default: TypeAdapter(event_type) for event_type in EVENT_TYPES
}
_ANY: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class UnreadableEventError(MgeRayError):
    """A journalled event that this version cannot read."""


def encode(event: Event) -> str:
    """Return the event as JSON."""
    return _ADAPTERS[event.kind].dump_json(event).decode()


def decode(payload: str, *, version: int = EVENT_VERSION) -> Event:
    """Return the event that `encode` wrote; raise UnreadableEventError for anything else."""
    if version != EVENT_VERSION:
        raise UnreadableEventError(f"event version {version} is not {EVENT_VERSION}; use a matching mge-ray")
    try:
        return _ANY.validate_json(payload)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnreadableEventError(f"a journalled event cannot be read: {str(error).splitlines()[0]}") from None
