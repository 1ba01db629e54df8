"""Tenancy: the accounts of the tenants whose executions are held here, kept up with the journal.

Sums of executions held elsewhere are read when a tenant's execution is started, taken up or resumed; a changed limit is
also noticed by `look`, which whoever holds a service calls now and then.
"""

from __future__ import annotations

from mge_ray.domain.tenants import TenantAccount
from mge_ray.execution.ports import TenantBooks


class Tenancy:
    """Accounts by tenant. Without books, and for nobody's executions, there are none."""

    def __init__(self, books: TenantBooks | None = None) -> None:
        self._books = books
        self._accounts: dict[str, TenantAccount] = {}

    async def account(self, tenant: str) -> TenantAccount | None:
        """Return the tenant's account as the journal has it now; raises JournalUnavailableError."""
        if self._books is None or not tenant:
            return None
        account = self._accounts.setdefault(tenant, TenantAccount(tenant))
        account.update(await self._books.standing(tenant))
        return account

    async def look(self) -> None:
        """Notice changed limits; raises JournalUnavailableError."""
        if self._books is None or not self._accounts:
            return
        limits = await self._books.limits(tuple(self._accounts))
        for tenant, account in self._accounts.items():
            limit_usd, since = limits.get(tenant, (None, 0.0))
            if since != account.since:
                account.update(await self._books.standing(tenant))
            elif limit_usd != account.limit_usd:
                account.change_limit(limit_usd, since)
