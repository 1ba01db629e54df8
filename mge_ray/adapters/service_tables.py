"""What the service asks of the journal's database beside executions: tokens, keys of starts, audit. Off the loop."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID, uuid4

from mge_ray.adapters.journal.audit import AuditEntry, put_audit
from mge_ray.adapters.journal.idempotency import claim
from mge_ray.adapters.journal.tokens import find_token
from mge_ray.domain.access import Caller


class SqlTokens:
    """Tokens and the audit in the journal's database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def caller(self, token: str) -> Caller | None:
        """Return whose token it is; None for one that is unknown, revoked or expired."""
        found = await asyncio.to_thread(find_token, self._url, token)
        if found is None:
            return None
        return Caller(found.tenant, found.role, found.name or f"token {found.token_id}", found.token_id)

    async def audit(self, caller: Caller, verb: str, execution_id: UUID | None, details: dict[str, object]) -> None:
        """Record who changed what by hand."""
        entry = AuditEntry(verb, caller.name, caller.tenant, execution_id, details)
        await asyncio.to_thread(put_audit, self._url, entry)


class SqlStarts:
    """What a start under an Idempotency-Key became, in the journal's database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def claim(self, tenant: str, key: str, body_hash: str) -> tuple[UUID, bool]:
        """Return the id that this key stands for, from now on or since before, and whether the body is the same."""
        return await asyncio.to_thread(claim, self._url, tenant, key, body_hash, uuid4(), time.time())
