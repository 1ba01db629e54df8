"""Tenants in the journal: their limits, and what their executions have committed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select

from mge_ray.adapters.journal.audit import AuditEntry, add_audit
from mge_ray.adapters.journal.database import reading, upgrade, writing
from mge_ray.adapters.journal.tables import executions, tenants
from mge_ray.domain.access import TenantError, checked_tenant
from mge_ray.domain.cost import to_nano
from mge_ray.domain.tenants import Sums, TenantStanding
from mge_ray.execution.ports import TenantBooks

_MONEY = ("total_cost_usd", "reserved_cost_usd", "unknown_cost_usd")


class SqlTenantBooks(TenantBooks):
    """The tenants of a journal, read in a thread for each question."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def standing(self, tenant: str) -> TenantStanding:
        """Return a tenant's limit, and the sums of its executions begun since."""
        return await asyncio.to_thread(self._standing, tenant)

    async def limits(self, tenants: Sequence[str]) -> Mapping[str, tuple[float | None, float]]:
        """Return limit (US dollars) and beginning of the period of those tenants that have any."""
        return await asyncio.to_thread(tenant_limits, self._url, tenants)

    def _standing(self, tenant: str) -> TenantStanding:
        upgrade(self._url)  # the first execution of all may be about to start
        return tenant_standing(self._url, tenant)


def tenant_standing(url: str, tenant: str) -> TenantStanding:
    """Return a tenant's limit, and the sums of its executions begun since; without a row, no limit and all of them."""
    with reading(url) as connection:
        return _standing(connection, tenant)


def tenant_limits(url: str, names: Sequence[str]) -> dict[str, tuple[float | None, float]]:
    """Return limit (US dollars; None for none) and beginning of the period of those of the tenants that have a row."""
    wanted = select(tenants).where(tenants.c.tenant.in_(names))
    with reading(url) as connection:
        return {row.tenant: (row.limit_usd, row.since) for row in connection.execute(wanted)}


def list_tenants(url: str) -> list[str]:
    """Return every tenant that has a limit, had one, or has executions; by name."""
    with reading(url) as connection:
        named = connection.execute(select(executions.c.tenant).where(executions.c.tenant != "").distinct()).scalars()
        limited = connection.execute(select(tenants.c.tenant)).scalars()
        return sorted({*named, *limited})


def set_tenant_limit(
    url: str, tenant: str, limit_usd: float | None, *, by: str, reason: str, since: float | None = None
) -> TenantStanding:
    """Set a tenant's limit in US dollars, also below what is committed, or none; audited as `tenant budget`.

    Executions begun before `since` (seconds since the epoch) do not count; None leaves that as it is, or counts all.
    """
    if not checked_tenant(tenant):
        raise TenantError("executions of nobody in particular have no limit together; name a tenant")
    if limit_usd is not None:
        to_nano(limit_usd)
    with writing(url) as connection:
        before = connection.execute(select(tenants).where(tenants.c.tenant == tenant).with_for_update()).one_or_none()
        period = since if since is not None else before.since if before else 0.0
        connection.execute(delete(tenants).where(tenants.c.tenant == tenant))
        connection.execute(insert(tenants), {"tenant": tenant, "limit_usd": limit_usd, "since": period})
        add_audit(connection, _act(tenant, before, limit_usd, period, by, reason))
        return _standing(connection, tenant)


def _act(  # noqa: PLR0917  # of one act
    tenant: str, before: Row[Any] | None, limit_usd: float | None, since: float, by: str, reason: str
) -> AuditEntry:
    details = {
        "before_usd": before.limit_usd if before else None,
        "limit_usd": limit_usd,
        "since": since,
        "reason": reason,
    }
    return AuditEntry("tenant budget", by, tenant, details=details, at=time.time())


def _standing(connection: Connection, tenant: str) -> TenantStanding:
    row = connection.execute(select(tenants).where(tenants.c.tenant == tenant)).one_or_none()
    limit_usd, since = (row.limit_usd, row.since) if row else (None, 0.0)
    columns = executions.c
    counted = select(columns.execution_id, columns.state).where(columns.tenant == tenant, columns.created_at >= since)
    sums = {UUID(one.execution_id): _sums(one.state) for one in connection.execute(counted)}
    return TenantStanding(limit_usd, since, sums)


def _sums(state: str) -> Sums:
    """Read the money of a stored state, whatever else another version has written there."""
    told = json.loads(state)
    return Sums(*(to_nano(told.get(name) or 0.0) for name in _MONEY))
