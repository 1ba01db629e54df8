"""EventFeed: journalled events and states for any number of streams, read once per execution (ADR 16).

A stream holds nothing but its place in the journal, so a reconnect with Last-Event-ID goes on exactly there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from mge_ray.api.in_flight import InFlight
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.ports import Executions
from mge_ray.api.schemas import ExecutionStatusResponse
from mge_ray.domain.errors import EngineUnavailableError, MgeRayError
from mge_ray.domain.state import ExecutionState
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.pipeline.wire import WireEvent

BATCH = 500
KEPT = 2_000


class EventFeed:
    """Hands out an execution's events as server-sent events."""

    def __init__(self, executions: Executions, limits: ServiceLimits) -> None:
        self._executions = executions
        self._limits = limits
        self._channels: dict[UUID, _Channel] = {}
        self.streams = 0

    async def stream(self, execution_id: UUID, after: int) -> AsyncIterator[bytes]:
        """Yield frames for everything after sequence number `after`: `state` frames between them, `end` at the end.

        A comment is sent when nothing has happened for a while; streams end when the execution has ended.
        """
        self.streams += 1
        channel = self._channels.get(execution_id)
        if channel is None:
            channel = self._channels[execution_id] = _Channel(self._executions, execution_id, self._limits)
        channel.listeners += 1
        try:
            async for frame in channel.frames(after):
                yield frame
        finally:
            self.streams -= 1
            channel.listeners -= 1
            if not channel.listeners:
                channel.close()
                self._channels.pop(execution_id, None)


@dataclass(frozen=True)
class _Page:
    """Some events of the journal: how many, the last one's number, and all of them as frames."""

    count: int
    upto: int
    frames: bytes


class _Channel:
    """One execution, looked at while somebody listens."""

    def __init__(self, executions: Executions, execution_id: UUID, limits: ServiceLimits) -> None:
        self._executions = executions
        self._id = execution_id
        self._limits = limits
        self.listeners = 0
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._pages: InFlight[_Page] = InFlight()
        self._read_upto = 0
        self._joined = (-1, -1, b"")
        self._state: ExecutionState | None = None
        self._state_frame = b""
        self._version = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def frames(self, after: int) -> AsyncIterator[bytes]:
        """Yield frames from the journal until they meet what is read for everybody, then that."""
        begun, after = after, max(0, after)
        while (page := await self._page(after)).count:
            yield page.frames
            after = page.upto
            if page.count < BATCH:
                break
        # A client may name an event that is still to come; for everybody else reading begins at the first one then.
        begin_at = after if after > begun or await self._has(after) else 0
        if self._task is None:
            self._read_upto = begin_at
            self._task = asyncio.create_task(self._read(), name=f"feed {self._id}")
        told = -1
        while True:
            changed = self._changed
            upto, missing = await self._since(after)
            state_frame = self._state_frame if self._version != told else b""
            told = self._version
            if missing or state_frame:
                after = upto
                yield missing + state_frame
            if missing and after < self._read_upto:
                continue
            if self._state is not None and self._state.status.ended:
                yield b"event: end\ndata: {}\n\n"
                return
            try:
                await asyncio.wait_for(changed.wait(), self._limits.stream_heartbeat_s)
            except asyncio.TimeoutError:
                yield b": alive\n\n"

    async def _page(self, after: int) -> _Page:
        """Return what the journal has after a sequence number; streams that begin together read it together."""
        return await self._pages.join(after, lambda: self._read_page(after))

    async def _read_page(self, after: int) -> _Page:
        batch = await self._executions.events(self._id, after=after, limit=BATCH)
        return _Page(len(batch), batch[-1].seq if batch else after, b"".join(map(_frame, batch)))

    async def _has(self, seq: int) -> bool:
        found = await self._executions.events(self._id, after=seq - 1, limit=1) if seq else []
        return bool(found) and found[0].seq == seq

    async def _since(self, after: int) -> tuple[int, bytes]:
        """Return what a stream at `after` has not had, and up to where; from the journal where it has fallen behind.

        Streams mostly stand at the same place: what one of them gets is joined once.
        """
        if after >= self._read_upto:
            return after, b""
        if self._recent and self._recent[0][0] <= after + 1:
            if self._joined[:2] != (after, self._read_upto):
                text = b"".join(frame for seq, frame in self._recent if seq > after)
                self._joined = (after, self._read_upto, text)
            return self._joined[1:]
        page = await self._page(after)
        return page.upto, page.frames

    async def _read(self) -> None:
        """Look for what is new, for everybody who listens; what is away for the moment is looked for again."""
        while True:
            with suppress(EngineUnavailableError, JournalUnavailableError):
                await self._look()
            await asyncio.sleep(self._limits.stream_poll_s)

    async def _look(self) -> None:
        try:
            state = await self._executions.state(self._id)
        except (EngineUnavailableError, JournalUnavailableError):
            raise
        except MgeRayError:  # it was pruned: nothing more will come
            return
        before = self._read_upto
        while batch := await self._executions.events(self._id, after=self._read_upto, limit=BATCH):
            self._recent.extend((event.seq, _frame(event)) for event in batch)
            self._read_upto = batch[-1].seq
        timeless = state.model_copy(update={"total_time_seconds": 0.0})
        if timeless != self._state:
            self._state = timeless
            shown = ExecutionStatusResponse.model_validate(state.model_dump())
            self._state_frame = b"event: state\ndata: " + shown.model_dump_json().encode() + b"\n\n"
            self._version += 1
        elif self._read_upto == before:
            return
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()


def _frame(event: WireEvent) -> bytes:
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n".encode()
