"""MemoryJournal: the journal port for runs that need not survive their process, as in library use and tests.

Keeps what the database keeps, in the same encoding, so that whatever cannot be journalled fails here too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from mge_ray.domain.errors import StateConflictError, UnknownExecutionError
from mge_ray.domain.events import Event, ExecutionSettings, decode, encode
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState
from mge_ray.execution.ports import Journal, JournalUnavailableError, StaleEpochError


@dataclass(slots=True)
class _Record:
    plan: Masterplan
    settings: ExecutionSettings
    heartbeat_at: float
    epoch: int = 1
    events: list[str] = field(default_factory=list)
    state: str | None = None
    control_address: str | None = None


class MemoryJournal(Journal):
    """Holds executions in a dictionary. Nothing survives the process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._records: dict[UUID, _Record] = {}

    async def create(self, execution_id: UUID, plan: Masterplan, settings: ExecutionSettings) -> int:
        """Record a new execution and return its epoch; raise StateConflictError for an id that is taken."""
        if execution_id in self._records:
            raise StateConflictError(f"execution {execution_id} exists already; resume it, or start a new one")
        self._records[execution_id] = _Record(plan, settings, heartbeat_at=self._clock())
        return 1

    async def take_over(self, execution_id: UUID) -> int:
        """Return a new epoch; appends of older ones raise StaleEpochError from now on."""
        record = self._record(execution_id)
        record.epoch += 1
        record.heartbeat_at = self._clock()
        record.control_address = None
        return record.epoch

    async def append(self, execution_id: UUID, epoch: int, events: Sequence[Event], state: ExecutionState) -> None:
        """Keep events and the state they lead to, all or nothing."""
        record = self._owned(execution_id, epoch)
        encoded, stored = [encode(event) for event in events], state.model_dump_json()
        record.events += encoded
        record.state = stored
        record.heartbeat_at = self._clock()

    async def heartbeat(self, execution_id: UUID, epoch: int) -> None:
        """Say that the execution's owner is alive."""
        self._owned(execution_id, epoch).heartbeat_at = self._clock()

    async def set_control_address(self, execution_id: UUID, epoch: int, address: str | None) -> None:
        """Say where the execution's owner listens for pause and cancel."""
        self._owned(execution_id, epoch).control_address = address

    def close(self) -> None:
        """Nothing is held that needs letting go of."""

    def executions(self) -> list[UUID]:
        """Return the ids of all executions, the oldest first."""
        return list(self._records)

    def events_of(self, execution_id: UUID) -> list[Event]:
        """Return an execution's events, read back from their stored form."""
        return [decode(payload) for payload in self._record(execution_id).events]

    def state_of(self, execution_id: UUID) -> ExecutionState | None:
        """Return the state of the last append; None before the first."""
        stored = self._record(execution_id).state
        return None if stored is None else ExecutionState.model_validate_json(stored)

    def plan_of(self, execution_id: UUID) -> Masterplan:
        """Return the plan that an execution runs."""
        return self._record(execution_id).plan

    def settings_of(self, execution_id: UUID) -> ExecutionSettings:
        """Return how an execution was started."""
        return self._record(execution_id).settings

    def heartbeat_of(self, execution_id: UUID) -> float:
        """Return when the execution's owner was last heard of (seconds since the epoch)."""
        return self._record(execution_id).heartbeat_at

    def control_address_of(self, execution_id: UUID) -> str | None:
        """Return where the execution's owner listens."""
        return self._record(execution_id).control_address

    def _record(self, execution_id: UUID) -> _Record:
        try:
            return self._records[execution_id]
        except KeyError:
            raise UnknownExecutionError(f"the journal has no execution {execution_id}") from None

    def _owned(self, execution_id: UUID, epoch: int) -> _Record:
        record = self._records.get(execution_id)
        if record is None:
            raise JournalUnavailableError(f"the journal has no execution {execution_id}")
        if record.epoch != epoch:
            raise StaleEpochError(
                f"execution {execution_id} was taken over (epoch {record.epoch}; this one holds {epoch})"
            )
        return record
