"""SqlReuseStore: accepted code in the journal's database, bounded in age and size; and what `cache` reads and clears.

Its writes go through a thread and a connection of their own, so that no journal transaction waits to be built for it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mge_ray.adapters.journal.database import failures_explained, migrate, reading, writer_engine
from mge_ray.adapters.journal.group_writer import GroupWriter, Outcome, Request
from mge_ray.adapters.journal.tables import accepted_code
from mge_ray.adapters.journal.urls import locate
from mge_ray.domain.generation import whole
from mge_ray.execution.ports import KeptCode, ReuseStore

DAY_S = 86_400.0
DEFAULT_TTL_S = 30 * DAY_S
DEFAULT_MAX_BYTES = 1 << 30
ROW_BYTES = 400
"""What a row takes beside its code, index included: two SHA-256 in hex, ids and numbers."""
MAX_CODE_BYTES = 4 << 20
"""Longer code is not kept, and not unpacked either: a generated unit has some kilobytes."""
CHUNK = 500
"""Keys a statement: below every product's limit on parameters."""

_key, _used, _size = accepted_code.c.key, accepted_code.c.last_used_at, accepted_code.c.size_bytes
_FIND = select(accepted_code).where(_key.in_(bindparam("keys", expanding=True)), _used >= bindparam("since"))
_TOUCH = update(accepted_code).where(_key.in_(bindparam("keys", expanding=True))).values(last_used_at=bindparam("at"))
_DROP = delete(accepted_code).where(_key == bindparam("the_key"), accepted_code.c.code == bindparam("the_code"))
_DROP_KEYS = delete(accepted_code).where(_key.in_(bindparam("keys", expanding=True)))
_OLDEST = select(_key, _size).order_by(_used, _key)


@dataclass(slots=True)
class _Act(Request):
    act: Callable[[Connection], int]


class SqlReuseStore(ReuseStore):
    """Accepted code in a SQL database. Every method may be called from any event loop; `close` from anywhere.

    What was not used for `ttl_s` seconds is gone; beyond `max_bytes` the code used least recently goes, which is looked
    after once a sixty-fourth of that has been written.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._since_pruned = max_bytes
        self._writer = GroupWriter(locate(url), _apply, lambda _group: None)

    async def find(self, keys: Sequence[str]) -> dict[str, KeptCode]:
        """Return what is kept under these keys, and note that it was used."""
        found: dict[str, KeptCode] = {}

        def act(connection: Connection) -> int:
            found.clear()  # a transaction may be tried twice
            now = self._clock()
            for some in _chunks(sorted(keys)):
                rows = connection.execute(_FIND, {"keys": some, "since": now - self._ttl_s})
                hits = {row.key: kept for row in rows if (kept := _kept(row)) is not None}
                if hits:
                    connection.execute(_TOUCH, {"keys": sorted(hits), "at": now})
                found.update(hits)
            return len(found)

        await self._writer.write(_Act(act))
        return found

    async def keep(self, codes: Sequence[KeptCode]) -> None:
        """Keep code; what was there under the same key gives way."""
        rows = [row for kept in sorted(codes, key=lambda one: one.key) if (row := self._row(kept)) is not None]
        size = sum(row["size_bytes"] for row in rows)

        def act(connection: Connection) -> int:
            if rows:
                _upsert(connection, rows)
            if self._since_pruned + size >= self._max_bytes // 64:
                self.prune(connection)
            return len(rows)

        await self._writer.write(_Act(act))
        pruned = self._since_pruned + size >= self._max_bytes // 64
        self._since_pruned = 0 if pruned else self._since_pruned + size

    async def drop(self, codes: Sequence[tuple[str, str]]) -> None:
        """Forget entries, given as (key, code): one that holds other code by now stays."""
        gone = [{"the_key": key, "the_code": _packed(code)} for key, code in sorted(codes)]

        def act(connection: Connection) -> int:
            return sum(connection.execute(_DROP, one).rowcount for one in gone)

        if gone:
            await self._writer.write(_Act(act))

    def prune(self, connection: Connection) -> None:
        """Remove what is too old, then what was used least recently until the rest fits."""
        connection.execute(delete(accepted_code).where(_used < self._clock() - self._ttl_s))
        excess = (connection.execute(select(func.sum(_size))).scalar() or 0) - self._max_bytes
        gone: list[str] = []
        if excess > 0:
            for key, size in connection.execute(_OLDEST):
                if excess <= 0:
                    break
                gone.append(key)
                excess -= size
        for some in _chunks(gone):
            connection.execute(_DROP_KEYS, {"keys": some})

    def close(self) -> None:
        """Write what waits, then let go of the database. Closing twice changes nothing."""
        self._writer.close()

    def _row(self, kept: KeptCode) -> dict[str, Any] | None:
        raw = whole(kept.code).encode()
        if len(raw) > MAX_CODE_BYTES:
            return None
        now, packed = self._clock(), _packed(kept.code)
        return {
            "key": kept.key,
            "atom_id": kept.atom_id,
            "plan_name": _storable(kept.plan_name),
            "source": kept.source,
            "code": packed,
            "cost_usd": kept.cost_usd,
            "written_by": _storable(kept.by),
            "created_at": now,
            "last_used_at": now,
            "size_bytes": len(packed) + len(kept.atom_id) + len(kept.plan_name) + ROW_BYTES,
        }


# ---- what people ask ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeptOfPlan:
    """What is kept of one plan. Times are seconds since the epoch, money US dollars that using it saves."""

    plan_name: str
    entries: int
    size_bytes: int
    worth_usd: float
    oldest_use_at: float
    latest_use_at: float


def kept_by_plan(url: str) -> list[KeptOfPlan]:
    """Return what is kept, plan by plan, the one used last first."""
    plan = accepted_code.c.plan_name
    latest = func.max(_used)
    sums = (func.count(), func.sum(_size), func.sum(accepted_code.c.cost_usd), func.min(_used), latest)
    grouped: Select[Any] = select(plan, *sums).group_by(plan).order_by(latest.desc(), plan)
    with reading(url) as connection:
        return [KeptOfPlan(*row) for row in connection.execute(grouped)]


def clear_kept(url: str, *, unused_since: float | None = None, plan_name: str | None = None) -> int:
    """Forget all code, or that of one plan, or what was last used before `unused_since`; return how many entries."""
    wanted: list[ColumnElement[bool]] = []
    if unused_since is not None:
        wanted.append(_used < unused_since)
    if plan_name is not None:
        wanted.append(accepted_code.c.plan_name == _storable(plan_name))
    with reading(url):  # where there is no journal, say so instead of making one
        pass
    location = locate(url)
    with failures_explained(location), writer_engine(location).connect() as connection:
        migrate(connection, location)
        with connection.begin():
            return connection.execute(delete(accepted_code).where(and_(True, *wanted))).rowcount  # noqa: FBT003  # SQL's


def _apply(connection: Connection, group: Sequence[Request]) -> Sequence[Outcome]:
    return [one.act(connection) for one in group if isinstance(one, _Act)]


def _upsert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    product: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = product.insert(accepted_code)
    changed = {name: statement.excluded[name] for name in accepted_code.c.keys() if name != "key"}  # noqa: SIM118
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=changed), list(rows))


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def _packed(code: str) -> bytes:
    return zlib.compress(whole(code).encode(), level=6)


def _kept(row: Any) -> KeptCode | None:  # noqa: ANN401  # a row of the table
    unpacker = zlib.decompressobj()
    try:
        code = unpacker.decompress(row.code, MAX_CODE_BYTES).decode()
    except (zlib.error, ValueError):  # damaged: bought again
        return None
    if not unpacker.eof:
        return None
    return KeptCode(row.key, row.atom_id, code, row.source, row.plan_name, row.cost_usd, row.written_by)


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
