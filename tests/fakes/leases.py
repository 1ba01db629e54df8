"""Leases that can be counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.throttle import CallOutcome, ThrottleView


@dataclass
class CountedLeases:
    """The leases port: at most `limit` per pool; keeps the most that were out, and every renewal."""

    limit: int = 1_000
    out: dict[Pool, set[str]] = field(default_factory=lambda: {pool: set() for pool in Pool})
    most_out: dict[Pool, int] = field(default_factory=lambda: dict.fromkeys(Pool, 0))
    observed: list[CallOutcome] = field(default_factory=list)
    renewals: list[dict[Pool, list[str]]] = field(default_factory=list)

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Grant what fits."""
        granted = [lease_id for lease_id in lease_ids if lease_id not in self.out[pool]]
        granted = granted[: self.limit - len(self.out[pool])]
        self.out[pool].update(granted)
        self.most_out[pool] = max(self.most_out[pool], len(self.out[pool]))
        return granted

    async def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Take leases back; one that is not out is a mistake."""
        for lease_id in lease_ids:
            self.out[pool].remove(lease_id)

    async def observe(self, outcomes: Sequence[CallOutcome]) -> None:
        """Keep what was told."""
        self.observed += outcomes

    async def renew(self, held: Mapping[Pool, Sequence[str]]) -> None:
        """Keep what was renewed."""
        self.renewals.append({pool: list(lease_ids) for pool, lease_ids in held.items()})

    async def retune(self, limit: int) -> None:
        """Take another limit over."""
        self.limit = limit

    async def views(self) -> list[ThrottleView]:
        """Throttle nothing by model."""
        return []

    @property
    def all_returned(self) -> bool:
        """True when no lease is out."""
        return not any(self.out.values())
