"""The time below which no run with these calls comes, found by list scheduling. Owns arithmetic alone.

A chain is one atom's calls in order: a call holds a lease for its latency, its check then holds a core, and the next
call follows. Waves run one after the other. What starts first is what has waited longest.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Chain = Sequence[tuple[float, float]]


@dataclass(slots=True)
class _Pool:
    """Places of one kind, and who waits for one."""

    free: float
    waiting: deque[tuple[float, int, int]] = field(default_factory=deque)


def makespan(chains: Iterable[Chain], *, leases: int, cores: int | None = None) -> float:
    """Return the seconds one wave takes: each chain a sequence of (latency, check) in seconds.

    Without `cores` checks take no time at all.
    """
    listed = [list(chain) for chain in chains]
    calls, checks = _Pool(leases), _Pool(cores or 0)
    calls.waiting.extend((chain[0][0], index, 0) for index, chain in enumerate(listed) if chain)
    running: list[tuple[float, int, int, bool]] = []
    now = 0.0
    while True:
        for pool, is_call in ((calls, True), (checks, False)):
            while pool.free and pool.waiting:
                seconds, index, step = pool.waiting.popleft()
                pool.free -= 1
                heapq.heappush(running, (now + seconds, index, step, is_call))
        if not running:
            return now
        now, index, step, was_call = heapq.heappop(running)
        (calls if was_call else checks).free += 1
        if was_call and cores is not None:
            checks.waiting.append((listed[index][step][1], index, step))
        elif step + 1 < len(listed[index]):
            calls.waiting.append((listed[index][step + 1][0], index, step + 1))


def waves_makespan(waves: Iterable[Iterable[Chain]], *, leases: int, cores: int | None = None) -> float:
    """Return the seconds of waves that run one after the other."""
    return sum(makespan(chains, leases=leases, cores=cores) for chains in waves)
