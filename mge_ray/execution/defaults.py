"""What the engine uses where nothing else was given: real time, no metrics, leases inside one process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.throttle import CallOutcome, Throttles, ThrottleView
from mge_ray.execution.facts import Fact, Standing
from mge_ray.execution.ports import Clock


class SystemClock:
    """Wall-clock time."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()


class NoMetrics:
    """Counts nothing."""

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Ignore an attempt."""

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Ignore an atom's end."""

    def wave_progress(self, *, wave_id: int, completed: int, total: int, elapsed_s: float, finished: bool) -> None:
        """Ignore a wave's progress."""

    def cost_added(self, *, usd: float) -> None:
        """Ignore money spent."""

    def soft_limit_reached(self) -> None:
        """Ignore a budget of which most is used."""

    def execution_finished(self, *, precision_percent: float, duration_s: float) -> None:
        """Ignore an execution's end."""

    def happened(self, fact: Fact) -> None:
        """Ignore whatever else happened."""

    def standing(self, standing: Standing) -> None:
        """Ignore how the execution stands."""


class LocalLeases:
    """Leases for one process. The execute pool has sixteen places a CPU: one check runs while the next are at hand."""

    def __init__(self, generate: int = 100, execute: int | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        checks = execute or 16 * (os.cpu_count() or 1)
        self.throttles = Throttles(checks, generate, start=generate, ttl_s=float("inf"))

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Return the ids that were granted, at once."""
        return self.throttles.try_acquire(pool, lease_ids, now=self._clock.now())

    async def observe(self, outcomes: Sequence[CallOutcome]) -> None:
        """Learn from calls that have ended how many the provider bears."""
        self.throttles.observe(outcomes, now=self._clock.now())

    async def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Give leases back."""
        self.throttles.release(pool, lease_ids)

    async def renew(self, held: Mapping[Pool, Sequence[str]]) -> None:
        """Do nothing: a lease in one's own process cannot outlive its holder."""

    async def retune(self, limit: int) -> None:
        """Set another upper bound for calls in flight, while running."""
        self.throttles.retune(limit)

    async def views(self) -> list[ThrottleView]:
        """Return how every model class is throttled now."""
        return self.throttles.views(now=self._clock.now())
