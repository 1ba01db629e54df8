"""What the API needs of the rest: executions, tokens, and what a start under a key became."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from mge_ray.api.schemas import StartSettings
from mge_ray.domain.access import Caller
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import AtomState, ExecutionState, WaveState
from mge_ray.domain.throttle import ThrottleView
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.views import AtomRow, AttemptView
from mge_ray.pipeline.wire import WireEvent


@dataclass(frozen=True, slots=True)
class ListedExecution:
    """One execution in a list. `created_at` is in seconds since the epoch."""

    state: ExecutionState
    created_at: float


@dataclass(frozen=True, slots=True)
class Project:
    """An assembled project as it stands; paths are plain, relative and inside it."""

    name: str
    files: dict[str, str]
    partial: bool


class Executions(Protocol):
    """The executions of one journal and the engine that drives them.

    Unknown ids raise UnknownExecutionError, impossible wishes StateConflictError, an engine between two lives
    EngineUnavailableError, a database that is away JournalUnavailableError.
    """

    async def ready(self) -> None:
        """Return if executions can be started now; raise what keeps them from it."""
        ...

    async def start(self, plan: Masterplan, choices: StartSettings, *, tenant: str, execution_id: UUID) -> UUID:
        """Start executing a plan; the same id gives the same execution, however often it is asked for."""
        ...

    async def tenant_of(self, execution_id: UUID) -> str:
        """Return whose execution it is."""
        ...

    async def listed(self, tenant: str, *, limit: int, before: tuple[float, UUID] | None) -> list[ListedExecution]:
        """Return a tenant's executions, the latest first, from before a place in that order."""
        ...

    async def state(self, execution_id: UUID) -> ExecutionState:
        """Return how the execution stands."""
        ...

    async def waves(self, execution_id: UUID) -> list[WaveState]:
        """Return how every wave stands."""
        ...

    async def wave(self, execution_id: UUID, wave_id: int) -> WaveState:
        """Return how one wave stands."""
        ...

    async def atom(self, execution_id: UUID, atom_id: str) -> AtomState:
        """Return how one atom stands."""
        ...

    async def atom_rows(
        self, execution_id: UUID, *, ids: Sequence[str] | None, after: int, limit: int
    ) -> tuple[list[AtomRow], int | None]:
        """Return atoms in the plan's order and where the next page begins, or just those named."""
        ...

    async def attempts(self, execution_id: UUID, atom_id: str) -> list[AttemptView]:
        """Return an atom's attempts, the first one first."""
        ...

    async def report(self, execution_id: UUID) -> ExecutionReport:
        """Return what the execution has come to."""
        ...

    async def project(self, execution_id: UUID) -> Project:
        """Return the project assembled from what was accepted so far."""
        ...

    async def events(self, execution_id: UUID, *, after: int, limit: int) -> list[WireEvent]:
        """Return journalled events with a greater sequence number than `after`, in order."""
        ...

    async def pause(self, execution_id: UUID, *, reason: str, now: bool) -> ExecutionState:
        """Stop dispatching; what is in flight finishes and is kept, or (`now`) is given up."""
        ...

    async def resume(self, execution_id: UUID) -> ExecutionState:
        """Go on from where it stands."""
        ...

    async def cancel(self, execution_id: UUID, *, reason: str) -> ExecutionState:
        """End the execution now."""
        ...

    async def retry(self, execution_id: UUID, atom_ids: Sequence[str]) -> ExecutionState:
        """Grant failed atoms, all or those named, new attempts; it is paused after that."""
        ...

    async def edit(self, execution_id: UUID, atom_id: str, code: str, *, by: str) -> ExecutionState:
        """Give an atom code written by hand, if it passes its check; it is paused after that."""
        ...

    async def approve(
        self, execution_id: UUID, atom_id: str, *, by: str, note: str, despite_failures: bool
    ) -> ExecutionState:
        """Say that a person has looked at an atom's code, or that a failed one's is to be used."""
        ...

    async def set_budget(self, execution_id: UUID, limit_usd: float, *, by: str, reason: str) -> ExecutionState:
        """Set another hard limit in US dollars."""
        ...

    async def set_concurrency(self, execution_id: UUID, limit: int, *, by: str) -> ExecutionState:
        """Set another bound for calls in flight."""
        ...

    async def throttling(self) -> list[ThrottleView]:
        """Return how calls are throttled now, by model class."""
        ...

    async def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        ...


class Tokens(Protocol):
    """Who may call, and the record of what they changed."""

    async def caller(self, token: str) -> Caller | None:
        """Return whose token it is; None for one that is unknown, revoked or expired."""
        ...

    async def audit(self, caller: Caller, verb: str, execution_id: UUID | None, details: dict[str, object]) -> None:
        """Record who changed what by hand."""
        ...


class Starts(Protocol):
    """What a start under an Idempotency-Key became."""

    async def claim(self, tenant: str, key: str, body_hash: str) -> tuple[UUID, bool]:
        """Return the id that this key stands for, from now on or since before, and whether the body is the same."""
        ...
