"""Who changed what by hand: rows that are only ever added. Whoever changes something else adds its row with it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert, select

from mge_ray.adapters.journal.database import reading, writing
from mge_ray.adapters.journal.tables import audit
from mge_ray.domain.generation import whole

MAX_WHO_CHARS = 200


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act: when (seconds since the epoch), whose execution or account it touched, who did it, and what.

    `verb` has at most 40 characters. `details` hold what JSON can, and never a secret.
    """

    verb: str
    who: str
    tenant: str = ""
    execution_id: UUID | None = None
    details: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)
    audit_id: UUID = field(default_factory=uuid4)


def put_audit(url: str, entry: AuditEntry) -> None:
    """Add one act."""
    with writing(url) as connection:
        add_audit(connection, entry)


def add_audit(connection: Connection, entry: AuditEntry) -> None:
    """Add one act in the transaction that carries it out: either both happen or neither."""
    row = {
        "audit_id": str(entry.audit_id),
        "at": entry.at,
        "tenant": entry.tenant,
        "who": whole(entry.who)[:MAX_WHO_CHARS].replace("\0", ""),
        "verb": entry.verb,
        "execution_id": None if entry.execution_id is None else str(entry.execution_id),
        "details": json.dumps(entry.details),
    }
    connection.execute(insert(audit), row)


def read_audit(
    url: str, *, tenant: str | None = None, execution_id: UUID | None = None, limit: int = 100
) -> list[AuditEntry]:
    """Return acts, the latest first: all, or those that touched one tenant or one execution."""
    wanted = select(audit).order_by(audit.c.at.desc(), audit.c.audit_id).limit(limit)
    if tenant is not None:
        wanted = wanted.where(audit.c.tenant == tenant)
    if execution_id is not None:
        wanted = wanted.where(audit.c.execution_id == str(execution_id))
    with reading(url) as connection:
        return [
            AuditEntry(
                verb=row.verb,
                who=row.who,
                tenant=row.tenant,
                execution_id=None if row.execution_id is None else UUID(row.execution_id),
                details=json.loads(row.details),
                at=row.at,
                audit_id=UUID(row.audit_id),
            )
            for row in connection.execute(wanted)
        ]
