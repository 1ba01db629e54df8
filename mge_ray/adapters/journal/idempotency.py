"""Idempotency keys: what a start under a key became. The row is written first, so a repeated start finds its id."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from mge_ray.adapters.journal.database import writing
from mge_ray.adapters.journal.tables import idempotency_keys
from mge_ray.domain.errors import MgeRayError

MAX_KEY_CHARS = 255


class IdempotencyKeyError(MgeRayError, ValueError):
    """A key that cannot be kept."""


def claim(  # noqa: PLR0917  # as a request has them
    url: str, tenant: str, key: str, body_hash: str, execution_id: UUID, now: float
) -> tuple[UUID, bool]:
    """Claim a key for an execution; return the execution that has it, and whether it was claimed for the same body.

    Of those who claim a key at once, in whatever processes, one gets its own id back, and the others get that id, too.
    """
    if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isprintable() or not key.isascii():
        raise IdempotencyKeyError(f"an idempotency key is 1 to {MAX_KEY_CHARS} printable ASCII characters")
    row = {
        "tenant": tenant,
        "key": key,
        "body_hash": body_hash,
        "execution_id": str(execution_id),
        "created_at": now,
    }
    kept = idempotency_keys.c
    holder = select(kept.execution_id, kept.body_hash).where(kept.tenant == tenant, kept.key == key)
    with writing(url) as connection:
        product: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        found = None
        while found is None:  # a key may be pruned between the two statements
            connection.execute(product.insert(idempotency_keys).on_conflict_do_nothing(), row)
            found = connection.execute(holder.with_for_update()).one_or_none()
    return UUID(found.execution_id), found.body_hash == body_hash
