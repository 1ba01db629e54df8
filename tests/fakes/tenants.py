"""What a journal knows of tenants, in memory: limits that a test sets, sums of a MemoryJournal's executions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from mge_ray.domain.tenants import Sums, TenantStanding


@dataclass
class MemoryBooks:
    """Books that a test writes by hand."""

    limit: dict[str, tuple[float | None, float]] = field(default_factory=dict)
    executions: dict[UUID, Sums] = field(default_factory=dict)
    asked: int = 0

    async def standing(self, tenant: str) -> TenantStanding:
        """Return the limit and what is said of executions."""
        self.asked += 1
        limit_usd, since = self.limit.get(tenant, (None, 0.0))
        return TenantStanding(limit_usd, since, dict(self.executions))

    async def limits(self, tenants: Sequence[str]) -> Mapping[str, tuple[float | None, float]]:
        """Return the limits of those that have any."""
        return {tenant: self.limit[tenant] for tenant in tenants if tenant in self.limit}
