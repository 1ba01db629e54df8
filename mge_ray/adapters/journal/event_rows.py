"""Pages of an execution's events, for those who follow it."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import bindparam, select

from mge_ray.adapters.journal.database import reading
from mge_ray.adapters.journal.tables import events
from mge_ray.domain.events import Event, decode

_PAGE = (
    select(events.c.seq, events.c.version, events.c.payload)
    .where(events.c.execution_id == bindparam("the_execution"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("the_limit"))
)


def event_page(url: str, execution_id: UUID, after: int, limit: int) -> list[tuple[int, Event]]:
    """Return up to `limit` events with a greater sequence number than `after`, with those numbers, in order."""
    parameters = {"the_execution": str(execution_id), "after": after, "the_limit": limit}
    with reading(url) as connection:
        rows = connection.execute(_PAGE, parameters).all()
    return [(row.seq, decode(row.payload, version=row.version)) for row in rows]
