"""ReadyQueues: what could start now, what must wait, and what has been in flight for too long.

Time arrives as an argument. Moving a delayed atom to the ready ones is not a change of state: asking never matters.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import islice

from mge_ray.domain.concurrency import Pool

FAILURES_BEFORE_A_SHARED_HOLD = 3


@dataclass(slots=True)
class ReadyQueues:
    """First come, first served, per pool; `hold_until` closes the generate pool for all callers together."""

    hold_until: float = 0.0
    hold_level: int = 0
    _ready: dict[Pool, dict[str, None]] = field(default_factory=lambda: {pool: {} for pool in Pool})
    _delayed: list[tuple[float, str]] = field(default_factory=list)
    _deadlines: list[tuple[float, str, float]] = field(default_factory=list)

    def add(self, pool: Pool, atom_id: str, *, not_before: float = 0.0) -> None:
        """Queue an atom, from `not_before` on."""
        if not_before:
            heapq.heappush(self._delayed, (not_before, atom_id))
        else:
            self._ready[pool][atom_id] = None

    def has(self, pool: Pool, atom_id: str, *, now: float) -> bool:
        """Return whether the atom is ready."""
        self._wake(now)
        return atom_id in self._ready[pool]

    def take(self, pool: Pool, atom_id: str) -> None:
        """Remove a ready atom, because it starts."""
        del self._ready[pool][atom_id]

    def first(self, pool: Pool, *, now: float, limit: int) -> list[str]:
        """Return up to `limit` ready atoms in order; none while the pool is held."""
        if pool is Pool.GENERATE and now < self.hold_until:
            return []
        self._wake(now)
        return list(islice(self._ready[pool], limit))

    def hold(
        self, *, now: float, retry_after_s: float | None, failures_in_a_row: int, base_s: float, cap_s: float
    ) -> None:
        """Close the generate pool: for as long as the provider says, else longer each time it fails after reopening."""
        if retry_after_s is not None:
            self.hold_until = max(self.hold_until, now + min(retry_after_s, cap_s))
        elif failures_in_a_row >= FAILURES_BEFORE_A_SHARED_HOLD and now >= self.hold_until:
            self.hold_level += 1
            self.hold_until = now + min(base_s * float(1 << min(self.hold_level - 1, 20)), cap_s)

    def answered(self) -> None:
        """Forget how often the pool was held: the provider answers."""
        self.hold_level = 0

    def watch(self, atom_id: str, *, began_at: float, deadline: float) -> None:
        """Remember when a flight has lasted too long."""
        heapq.heappush(self._deadlines, (deadline, atom_id, began_at))

    def overdue(self, *, now: float) -> list[tuple[str, float]]:
        """Take out and return the flights whose deadline is over, as (atom id, when it began)."""
        late = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, atom_id, began_at = heapq.heappop(self._deadlines)
            late.append((atom_id, began_at))
        return list(dict.fromkeys(late))

    def next_wake(self) -> float | None:
        """Return the earliest time at which something changes by itself, or None."""
        times = [queue[0][0] for queue in (self._delayed, self._deadlines) if queue]
        if self._ready[Pool.GENERATE] and self.hold_until:
            times.append(self.hold_until)
        return min(times, default=None)

    def waiting(self, pool: Pool) -> int:
        """Return how many wait in a pool, ready or delayed."""
        return len(self._ready[pool]) + (len(self._delayed) if pool is Pool.GENERATE else 0)

    def clear(self) -> None:
        """Drop everything queued."""
        self._delayed.clear()
        for queue in self._ready.values():
            queue.clear()

    def content(self) -> dict[str, list[str]]:
        """Return what is queued, ready or delayed, per pool."""
        delayed = [atom_id for _, atom_id in self._delayed]
        return {
            Pool.GENERATE.value: sorted([*self._ready[Pool.GENERATE], *delayed]),
            Pool.EXECUTE.value: sorted(self._ready[Pool.EXECUTE]),
        }

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._ready[Pool.GENERATE][heapq.heappop(self._delayed)[1]] = None
