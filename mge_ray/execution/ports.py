"""The roles the engine needs filled. Adapters and the cluster fill them; fakes with real state fill them in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from uuid import UUID

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.commands import Abandon, Accept, Acknowledge, Execute, Generate, Notice
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.events import Event, ExecutionSettings
from mge_ray.domain.generation import CallFailure, Generation
from mge_ray.domain.plan import Masterplan, ValidationPlan
from mge_ray.domain.retry import AttemptSettings
from mge_ray.domain.state import ExecutionState
from mge_ray.domain.tenants import TenantStanding
from mge_ray.domain.throttle import CallOutcome, ThrottleView
from mge_ray.domain.validation import ValidationResult
from mge_ray.execution.facts import Fact, Standing


class CallFailedError(MgeRayError):
    """A call without a usable answer; `failure` says what kind, and what it may have cost."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(f"{failure.kind.value}: {failure.message}")
        self.failure = failure

    def __reduce__(self) -> tuple[type[CallFailedError], tuple[CallFailure]]:
        """Survive pickling, which passes only the message otherwise."""
        return (CallFailedError, (self.failure,))


class JournalUnavailableError(MgeRayError):
    """Nothing can be written (disk full, database gone): stop buying, keep what is known."""


class StaleEpochError(MgeRayError):
    """Another process has taken the execution over; this one must stop."""


@dataclass(frozen=True, slots=True)
class PlanContext:
    """What every prompt of one plan has in common."""

    name: str = ""
    description: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call knows beyond the atom: its identity, how this attempt asks, and what the last one wrote."""

    call_id: str = ""
    settings: AttemptSettings | None = None
    previous_code: str | None = None
    plan: PlanContext = field(default_factory=PlanContext)
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Code to be judged: with the code accepted for its whole dependency closure, and the skeleton they live in."""

    atom: AtomicUnit
    code: str
    dependencies: tuple[AcceptedAtom, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    validation: ValidationPlan = field(default_factory=ValidationPlan)


class LLMClient(Protocol):
    """Generates code for one atom. Raises CallFailedError; never retries by itself."""

    async def generate(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        temperature: float | None = None,
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> Generation:
        """Return the model's answer."""
        ...


@runtime_checkable
class QuotesCalls(Protocol):
    """A client that can say beforehand what a call costs at most (US dollars); needed to run under a budget."""

    def max_cost_usd(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> float:
        """Return an upper bound of the call's bill; raise UnknownPriceError for a model without a price."""
        ...


class Validator(Protocol):
    """Judges one candidate by really running it."""

    async def validate(self, candidate: Candidate) -> ValidationResult:
        """Return the verdict. Never raises for anything the candidate does."""
        ...

    async def accept(self, plan: Masterplan, codes: Mapping[str, str], wave_id: int = 0) -> ValidationResult:
        """Check the project assembled from `codes` (atom id -> accepted code) by a wave's tests or (0) by acceptance.

        The verdict names the atoms to blame where it can.
        """
        ...


WorkCommand = Generate | Execute | Accept | Acknowledge | Abandon


class Work(Protocol):
    """Where commands become events: `ray.wait` over references in production, asyncio tasks in a library."""

    def quote_usd(self, command: Generate) -> float:
        """Return the most this call can bill."""
        ...

    def gateway_for(self, atom_id: str) -> str:
        """Return the incarnation of the gateway that will be asked; empty where there is none."""
        ...

    def fence(self, epoch: int) -> None:
        """Act in this epoch from now on; whatever outlives its callers refuses those of older ones."""
        ...

    def submit(self, command: WorkCommand) -> None:
        """Begin; the outcome arrives through `wait_any`."""
        ...

    async def wait_any(self, timeout_s: float) -> list[Event]:
        """Return what has happened, at the latest after `timeout_s` seconds, then possibly nothing."""
        ...


class Leases(Protocol):
    """The throttle shared by everybody who works at the same time. Ids are those of `domain.lease`."""

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Return the ids that were granted, at once; all are one execution's."""
        ...

    async def observe(self, outcomes: Sequence[CallOutcome]) -> None:
        """Learn from calls that have ended how many the provider bears."""
        ...

    async def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Give leases back."""
        ...

    async def retune(self, limit: int) -> None:
        """Set another upper bound for calls in flight, while running."""
        ...

    async def views(self) -> list[ThrottleView]:
        """Return how every model class is throttled now."""
        ...

    async def renew(self, held: Mapping[Pool, Sequence[str]]) -> None:
        """Prolong what is held; leases that were lost meanwhile are registered again."""
        ...


class Journal(Protocol):
    """Where events are kept. What `append` has returned from is durable. One writer per execution, by epoch."""

    async def create(self, execution_id: UUID, plan: Masterplan, settings: ExecutionSettings) -> int:
        """Record a new execution and return its epoch."""
        ...

    async def take_over(self, execution_id: UUID) -> int:
        """Return a new epoch; appends of older ones raise StaleEpochError from now on."""
        ...

    async def append(self, execution_id: UUID, epoch: int, events: Sequence[Event], state: ExecutionState) -> None:
        """Write events and the state they lead to, in one transaction.

        Raises StaleEpochError and JournalUnavailableError.
        """
        ...

    async def heartbeat(self, execution_id: UUID, epoch: int) -> None:
        """Say that the execution's owner is alive."""
        ...


class TenantBooks(Protocol):
    """What the journal knows of tenants. Both raise JournalUnavailableError."""

    async def standing(self, tenant: str) -> TenantStanding:
        """Return a tenant's limit, and the sums of its executions begun since."""
        ...

    async def limits(self, tenants: Sequence[str]) -> Mapping[str, tuple[float | None, float]]:
        """Return limit (US dollars) and beginning of the period of those tenants that have any."""
        ...


@dataclass(frozen=True, slots=True)
class KeptCode:
    """Accepted code and the execution it is from. `cost_usd` is what all attempts at it cost there.

    `by` is empty, or names the person who wrote it.
    """

    key: str
    atom_id: str
    code: str
    source: str
    plan_name: str = ""
    cost_usd: float = 0.0
    by: str = ""


class ReuseStore(Protocol):
    """Where accepted code is kept, by key, for later executions. Bounded in time and size; may lose anything.

    All methods raise JournalUnavailableError when it cannot be reached.
    """

    async def find(self, keys: Sequence[str]) -> dict[str, KeptCode]:
        """Return what is kept under these keys, and note that it was used."""
        ...

    async def keep(self, codes: Sequence[KeptCode]) -> None:
        """Keep code; what was there under the same key gives way."""
        ...

    async def drop(self, codes: Sequence[tuple[str, str]]) -> None:
        """Forget entries, given as (key, code): one that holds other code by now stays."""
        ...


class Metrics(Protocol):
    """Counts what the engine does. Labels are bounded: no atom ids (ADR 0004)."""

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Count one attempt with its verdict."""
        ...

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Count one atom that reached its end."""
        ...

    def wave_progress(self, *, wave_id: int, completed: int, total: int, elapsed_s: float, finished: bool) -> None:
        """Set one wave's progress; `finished` is true once per wave."""
        ...

    def cost_added(self, *, usd: float) -> None:
        """Count money spent."""
        ...

    def soft_limit_reached(self) -> None:
        """Count an execution of which most of the budget is used."""
        ...

    def execution_finished(self, *, precision_percent: float, duration_s: float) -> None:
        """Record one execution's end."""
        ...

    def happened(self, fact: Fact) -> None:
        """Count whatever else happened; labels take no identity from it but the class of its model."""
        ...

    def standing(self, standing: Standing) -> None:
        """Learn how the execution stands after a turn."""
        ...


class Traces(Protocol):
    """Makes spans of one execution, from what has happened already: nothing is open that a crash could leave open."""

    def told(self, news: Notice | Fact, *, at: float) -> None:
        """Take a notice or fact, in the order in which they came; `at` is when, in seconds since the epoch."""
        ...


class Clock(Protocol):
    """Time as the engine sees it."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...
