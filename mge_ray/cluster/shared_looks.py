"""SharedLooks: one question to the coordinator for all who ask the same within a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

KEPT = 1_000
T = TypeVar("T")


class SharedLooks(Generic[T]):
    """Answers to questions that began at most `fresh_s` seconds before: one that takes longer is not joined any more.

    An error is everybody's who waited, and is not kept. One that waits no longer takes nothing from the others.
    """

    def __init__(self, fresh_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s, self._clock = fresh_s, clock
        self._kept: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def look(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to `ask`, or the one somebody got for `key` just now."""
        at, task = self._kept.get(key, (0.0, None))
        if task is None or self._clock() - at >= self._fresh_s or (task.done() and task.exception() is not None):
            self._kept.pop(key, None)  # the latest stand last
            task = asyncio.ensure_future(ask())
            task.add_done_callback(_note_error)
            self._kept[key] = self._clock(), task
            if len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept)))
        return await asyncio.shield(task)


def _note_error(task: asyncio.Task[Any]) -> None:
    """Take note of an error, also where nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
