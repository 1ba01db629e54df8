"""Journals with a history: one that tells who came first, one that is away for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from mge_ray.domain.events import Event
from mge_ray.domain.state import ExecutionState
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.ports import JournalUnavailableError


@dataclass
class Diary:
    """One list for everybody who wants the order of things to be known."""

    lines: list[str] = field(default_factory=list)


class DiaryJournal(MemoryJournal):
    """A memory journal that writes each event it keeps into a diary as `kept <kind> <atom>`."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.diary = diary

    async def append(self, execution_id: UUID, epoch: int, events: Sequence[Event], state: ExecutionState) -> None:
        """Keep, then tell."""
        await super().append(execution_id, epoch, events, state)
        self.diary.lines += [f"kept {event.kind} {getattr(event, 'atom_id', '')}".strip() for event in events]


class FlakyJournal(MemoryJournal):
    """A memory journal that is away for the next `appends_away` appends and `heartbeats_away` heartbeats."""

    def __init__(self, *, appends_away: int = 0, heartbeats_away: int = 0) -> None:
        super().__init__()
        self.appends_away = appends_away
        self.heartbeats_away = heartbeats_away

    async def append(self, execution_id: UUID, epoch: int, events: Sequence[Event], state: ExecutionState) -> None:
        """Keep, or be away once more."""
        if self.appends_away:
            self.appends_away -= 1
            raise JournalUnavailableError("the journal's disk is full")
        await super().append(execution_id, epoch, events, state)

    async def heartbeat(self, execution_id: UUID, epoch: int) -> None:
        """Beat, or be away once more."""
        if self.heartbeats_away:
            self.heartbeats_away -= 1
            raise JournalUnavailableError("the journal's disk is gone")
        await super().heartbeat(execution_id, epoch)
