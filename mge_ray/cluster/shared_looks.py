"""SharedLooks: one question to the coordinator for all who ask the same within a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

KEPT = 1_000
T = TypeVar("T")


class SharedLooks(Generic[T]):
    """Answers that are at most `fresh_s` seconds old. Whoever asks while a question is under way waits for it, too.

    An error is everybody's who waited, and is not kept. One that waits no longer takes nothing from the others.
    """

    def __init__(self, fresh_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s, self._clock = fresh_s, clock
        self._kept: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def look(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to `ask`, or the one somebody got for `key` just now."""
        at, task = self._kept.get(key, (0.0, None))
        if task is None or (task.done() and (self._clock() - at >= self._fresh_s or task.exception() is not None)):
            self._kept.pop(key, None)  # the latest stand last
            task = asyncio.ensure_future(_asked(ask))
            self._kept[key] = self._clock(), task
            if len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept)))
        return await asyncio.shield(task)

    def forget(self, key: Hashable) -> None:
        """Ask anew from now on."""
        self._kept.pop(key, None)


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
