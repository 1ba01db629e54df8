"""SharedLooks: one question to the coordinator for all who are about to ask the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

KEPT = 1_000
T = TypeVar("T")


class SharedLooks(Generic[T]):
    """Questions that begin at least `apart_s` seconds after one another, per key; who comes meanwhile shares the next.

    Nobody gets an answer to a question that had begun before they came: whatever they know to have happened is in it,
    whichever replica they ask. An error is everybody's who waited. One that waits no longer takes nothing from others.
    """

    def __init__(
        self,
        apart_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._apart_s, self._clock, self._sleep = apart_s, clock, sleep
        self._next: dict[Hashable, asyncio.Task[T]] = {}
        self._begun: dict[Hashable, float] = {}

    @property
    def remembered(self) -> int:
        """How many keys it remembers the last question of."""
        return len(self._begun)

    async def look(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to an `ask` that begins from now on."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._in_turn(key, ask))
            task.add_done_callback(_note_error)
        return await asyncio.shield(task)

    async def _in_turn(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        wait_s = self._begun.pop(key, -self._apart_s) + self._apart_s - self._clock()
        if wait_s > 0:
            await self._sleep(wait_s)
        del self._next[key]
        self._begun[key] = self._clock()  # the latest stand last
        if len(self._begun) > KEPT:
            self._begun.pop(next(iter(self._begun)))
        return await ask()


def _note_error(task: asyncio.Task[Any]) -> None:
    """Take note of an error, also where nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
