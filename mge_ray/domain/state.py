"""The states of executions and atoms, the transitions between them as data, and the views other parts read.

`TRANSITIONS` and `ATOM_TRANSITIONS` are the whole truth about what may follow what; docs draw their diagrams from them.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from mge_ray.domain import events as e


class ExecutionStatus(str, Enum):
    """Where an execution stands."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True when nothing will happen any more."""
        return self in ENDED


ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class AtomStatus(str, Enum):
    """Where an atom stands."""

    PENDING = "pending"
    READY = "ready"
    GENERATING = "generating"
    ANSWERED = "answered"
    EXECUTING = "executing"
    WAITING = "waiting"
    """For an atom it rests on, which is open again."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True when the atom will not move any more."""
        return self in ATOM_ENDED


ATOM_ENDED = frozenset({AtomStatus.SUCCEEDED, AtomStatus.FAILED, AtomStatus.BLOCKED, AtomStatus.CANCELLED})

_S = ExecutionStatus
_WORK_EVENTS = (
    e.GenerationArrived,
    e.GenerationFailed,
    e.AtomExecuted,
    e.WorkerLost,
    e.AtomTimedOut,
    e.AcceptanceFinished,
    e.AcceptanceLost,
)

# (status, event) -> status after it. Work that ends the run moves on from RUNNING to COMPLETED or FAILED by itself.
TRANSITIONS: dict[tuple[ExecutionStatus, type], ExecutionStatus] = {
    (_S.PENDING, e.ExecutionStarted): _S.RUNNING,
    (_S.PENDING, e.CancelRequested): _S.CANCELLED,
    (_S.RUNNING, e.LeaseGranted): _S.RUNNING,
    (_S.RUNNING, e.AtomReused): _S.RUNNING,
    (_S.RUNNING, e.PauseRequested): _S.PAUSED,
    (_S.RUNNING, e.CancelRequested): _S.CANCELLED,
    (_S.RUNNING, e.CoordinatorRestarted): _S.RUNNING,
    (_S.RUNNING, e.AtomBudgetExceeded): _S.RUNNING,
    (_S.PAUSED, e.PauseRequested): _S.PAUSED,
    (_S.PAUSED, e.ResumeRequested): _S.RUNNING,
    (_S.PAUSED, e.CancelRequested): _S.CANCELLED,
    (_S.PAUSED, e.CoordinatorRestarted): _S.PAUSED,
    # What people do by hand (ADR 12): whatever opens an execution again leaves it paused.
    (_S.RUNNING, e.HaltRequested): _S.PAUSED,
    (_S.PAUSED, e.HaltRequested): _S.PAUSED,
    (_S.RUNNING, e.ConcurrencyChanged): _S.RUNNING,
    (_S.PAUSED, e.ConcurrencyChanged): _S.PAUSED,
    **{(status, e.RetryRequested): _S.PAUSED for status in (_S.PAUSED, _S.FAILED)},
    **{(status, e.FailureAccepted): _S.PAUSED for status in (_S.PAUSED, _S.FAILED)},
    **{(status, e.CodeEdited): _S.PAUSED for status in (_S.PAUSED, _S.FAILED, _S.COMPLETED)},
    **{(status, e.AtomApproved): status for status in _S if status is not _S.PENDING},
    **{(status, e.BudgetRaised): status for status in _S if status is not _S.CANCELLED},
    **{(_S.RUNNING, event): _S.RUNNING for event in _WORK_EVENTS},
    **{(_S.PAUSED, event): _S.PAUSED for event in _WORK_EVENTS},
    # A late answer still has a bill; a late verdict is one that nobody waits for any more.
    **{
        (status, event): status
        for status in (_S.CANCELLED, _S.FAILED, _S.COMPLETED)
        for event in _WORK_EVENTS
        if event is not e.AtomTimedOut
    },
}

_A = AtomStatus

# (status, event) -> the statuses that may follow. One opened again that fails falls back on the code it had: succeeded.
ATOM_TRANSITIONS: dict[tuple[AtomStatus, type], tuple[AtomStatus, ...]] = {
    (_A.READY, e.LeaseGranted): (_A.GENERATING,),
    (_A.READY, e.AtomReused): (_A.SUCCEEDED,),
    (_A.READY, e.AtomBudgetExceeded): (_A.FAILED, _A.SUCCEEDED),
    (_A.ANSWERED, e.LeaseGranted): (_A.EXECUTING,),
    (_A.GENERATING, e.GenerationArrived): (_A.ANSWERED, _A.READY, _A.WAITING, _A.FAILED, _A.SUCCEEDED),
    (_A.GENERATING, e.GenerationFailed): (_A.READY, _A.FAILED, _A.SUCCEEDED),
    (_A.GENERATING, e.AtomTimedOut): (_A.FAILED, _A.SUCCEEDED),
    (_A.EXECUTING, e.AtomExecuted): (_A.SUCCEEDED, _A.READY, _A.ANSWERED, _A.WAITING, _A.FAILED),
    (_A.EXECUTING, e.WorkerLost): (_A.ANSWERED, _A.READY, _A.WAITING, _A.FAILED, _A.SUCCEEDED),
    (_A.EXECUTING, e.AtomTimedOut): (_A.FAILED, _A.SUCCEEDED),
    (_A.FAILED, e.RetryRequested): (_A.READY, _A.PENDING),
    (_A.FAILED, e.CodeEdited): (_A.SUCCEEDED,),
    (_A.SUCCEEDED, e.CodeEdited): (_A.SUCCEEDED,),
    (_A.FAILED, e.FailureAccepted): (_A.FAILED,),
    (_A.SUCCEEDED, e.AtomApproved): (_A.SUCCEEDED,),
}

# What opens an ended execution or atom again; nothing else moves one.
REOPENING = (e.RetryRequested, e.CodeEdited, e.FailureAccepted, e.AtomApproved)


class ExecutionState(BaseModel):
    """One execution as the outside sees it. Money in US dollars, time in seconds."""

    model_config = ConfigDict(frozen=True)

    execution_id: UUID
    masterplan_id: UUID
    name: str = ""
    status: ExecutionStatus
    reason: str = ""
    current_wave: int = 0
    total_waves: int
    atoms_total: int
    atoms_completed: int = 0
    atoms_succeeded: int = 0
    atoms_failed: int = 0
    atoms_blocked: int = 0
    atoms_in_flight: int = 0
    atoms_reused: int = 0
    attempts: int = 0
    retried_atoms: int = 0
    transport_errors: int = 0
    total_cost_usd: float = 0.0
    reserved_cost_usd: float = 0.0
    unknown_cost_usd: float = 0.0
    budget_usd: float | None = None
    soft_limit_reached: bool = False
    forecast_cost_usd: float | None = None
    """What it will have cost at its end, as things stand; None where nothing is known."""
    total_time_seconds: float = 0.0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    simulated: bool = False

    @property
    def completion_percent(self) -> float:
        """Share of atoms that reached an end."""
        return 100.0 * self.atoms_completed / self.atoms_total if self.atoms_total else 0.0

    @property
    def precision_percent(self) -> float:
        """Share of all atoms that succeeded."""
        return 100.0 * self.atoms_succeeded / self.atoms_total if self.atoms_total else 0.0

    @property
    def retry_rate(self) -> float:
        """Share of the atoms attempted that needed more than one attempt."""
        tried = self.atoms_succeeded + self.atoms_failed - self.atoms_reused
        return self.retried_atoms / tried if tried else 0.0


class WaveState(BaseModel):
    """One wave as the outside sees it."""

    model_config = ConfigDict(frozen=True)

    wave_id: int
    atoms_total: int
    atoms_completed: int
    atoms_succeeded: int
    atoms_failed: int
    atoms_blocked: int
    attempts: int
    cost_usd: float
    time_seconds: float

    @property
    def completion_percent(self) -> float:
        """Share of the wave's atoms that reached an end."""
        return 100.0 * self.atoms_completed / self.atoms_total if self.atoms_total else 100.0


class AtomState(BaseModel):
    """One atom as the outside sees it; `code` is the accepted code, or the best attempt's where none was accepted."""

    model_config = ConfigDict(frozen=True)

    atom_id: str
    wave_id: int
    status: AtomStatus
    attempts: int
    transport_errors: int
    cost_usd: float
    unknown_cost_usd: float
    time_seconds: float
    cause: str = ""
    code: str | None = None
    errors: tuple[str, ...] = ()
    reused_from: str = ""
