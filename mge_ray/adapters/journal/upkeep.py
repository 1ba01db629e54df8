"""Upkeep of a journal that lives for long: a backup that is whole, putting it back, and taking out what has ended.

SQLite is copied page by page through its own backup interface, while others write. A PostgreSQL server has its own
tools, which are better than any of ours: the error names them.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Exists, delete, exists, select

from mge_ray.adapters.journal.database import (
    NoDatabaseError,
    failures_explained,
    migrate,
    schema_revision,
    upgrade,
    writer_engine,
)
from mge_ray.adapters.journal.readers import HEARTBEAT_TIMEOUT_S
from mge_ray.adapters.journal.tables import (
    SET_ASIDE,
    VERSION_TABLE,
    events,
    executions,
    idempotency_keys,
    requests,
    tenants,
)
from mge_ray.adapters.journal.urls import Location, locate
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.state import ExecutionStatus

PAGES_AT_ONCE = 1_000
_ENDED = [status.value for status in ExecutionStatus if status.ended]
_OF_AN_EXECUTION = (events, requests, executions)


class UpkeepError(MgeRayError):
    """A backup, restore or removal that cannot be done as asked; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken out: how many executions, how many rows that belonged to them, and how many idempotency keys."""

    executions: int
    rows: int
    keys: int = 0


def back_up(url: str, target: Path) -> int:
    """Copy the journal to a new file, whole and consistent, also while it is written; return the file's bytes."""
    location = locate(url)
    path = _file(location, f"pg_dump --format=custom --file={shlex.quote(str(target))} {_server(location)}")
    if target.exists():
        raise UpkeepError(f"{target} exists already; a backup replaces nothing")
    with failures_explained(location):
        if not path.exists():
            raise NoDatabaseError(f"no executions yet (no database at {location.shown})")
        with _copied(path, target) as part:
            part.rename(target)
    return target.stat().st_size


def restore(backup: Path, url: str) -> Path | None:
    """Put a backup in the journal's place; return where the former journal was moved, if there was one.

    Refused while somebody drives an execution of the former journal: that would be lost with it.
    """
    location = locate(url)
    command = f"pg_restore --clean --if-exists --no-owner --dbname={_server(location)} {shlex.quote(str(backup))}"
    path = _file(location, command)
    _check_backup(backup)
    former = None
    with failures_explained(location):
        if path.exists() and path.samefile(backup):
            raise UpkeepError(f"{backup} is the journal itself")
        with _copied(backup, path) as part:
            if path.exists():
                _expect_nobody_drives(url)
                moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
                former = path.with_name(f"{path.name}.before-restore-{moment}")
                _empty_log(path)
                path.rename(former)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            part.rename(path)
    upgrade(url)
    return former


def prune(url: str, *, older_than_days: float, keep_failed: bool = False, now: float | None = None) -> Pruned:
    """Take out executions that ended and were last written longer ago than that, with all that belongs to them.

    What runs, is paused or was interrupted stays, however old; so does what counts against a tenant's limit, and, with
    `keep_failed`, what failed. Idempotency keys as old as that go, too.
    """
    location = locate(url)
    before = (time.time() if now is None else now) - older_than_days * 86_400
    statuses = [one for one in _ENDED if not (keep_failed and one == ExecutionStatus.FAILED.value)]
    doomed = select(executions.c.execution_id).where(
        executions.c.status.in_(statuses),
        executions.c.heartbeat_at < before,
        ~_counted(),
    )
    stale_keys = delete(idempotency_keys).where(idempotency_keys.c.created_at < before)
    with failures_explained(location):
        if location.path is not None and not location.path.exists():
            raise NoDatabaseError(f"no executions yet (no database at {location.shown})")
        with writer_engine(location).connect() as connection:
            migrate(connection, location)
            with connection.begin():
                ids = [row.execution_id for row in connection.execute(doomed.with_for_update())]
                rows = sum(_delete(connection, one) for one in ids)
                pruned = Pruned(len(ids), rows, connection.execute(stale_keys).rowcount)
            if pruned.executions and location.path is not None:
                _give_back_space(connection)
    return pruned


def _counted() -> Exists:
    """Return the condition of an execution whose money a tenant's limit counts."""
    return exists().where(
        tenants.c.tenant == executions.c.tenant,
        tenants.c.limit_usd.is_not(None),
        tenants.c.since <= executions.c.created_at,
    )


def _delete(connection: Connection, execution_id: str) -> int:
    rows = 0
    for table in _OF_AN_EXECUTION:
        rows += connection.execute(delete(table).where(table.c.execution_id == execution_id)).rowcount
    return rows


def _give_back_space(connection: Connection) -> None:
    """SQLite keeps the pages of deleted rows for itself; VACUUM runs outside any transaction."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101  # a file was located
    raw.execute("VACUUM")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _copied(origin: Path, target: Path) -> Iterator[Path]:
    """Copy a database to a file beside the target for the length of the block: what fails leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        from_uri = f"{origin.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(from_uri, uri=True)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy, pages=PAGES_AT_ONCE, sleep=0.01)
        yield part
    except sqlite3.Error as error:
        raise UpkeepError(f"{origin} could not be copied to {target}: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def _check_backup(backup: Path) -> None:
    if not backup.is_file():
        raise UpkeepError(f"there is no backup at {backup}")
    try:
        with closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            sound = connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
            ours = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,)).fetchone()
    except sqlite3.Error as error:
        raise UpkeepError(f"{backup} is no backup of a journal: {error}") from None
    if not sound or not ours:
        raise UpkeepError(f"{backup} is {'no journal' if sound else 'damaged'}; nothing was changed")


def _expect_nobody_drives(url: str) -> None:
    """Raise if an owner of anything unfinished has said lately that it lives. An older schema has the columns, too."""
    columns = executions.c
    driven = select(columns.execution_id).where(
        columns.status.not_in(_ENDED),
        columns.heartbeat_at > time.time() - HEARTBEAT_TIMEOUT_S,
        ~columns.reason.startswith(SET_ASIDE),
    )
    with writer_engine(locate(url)).connect() as connection:
        if schema_revision(connection) is None:
            return
        found = connection.execute(driven).scalars().all()
    if found:
        raise UpkeepError(
            f"somebody works on execution {found[0]} of the journal that would be replaced; pause it, wait "
            f"{HEARTBEAT_TIMEOUT_S:.0f} s, and restore again"
        )


def _empty_log(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _file(location: Location, command: str) -> Path:
    if location.path is None:
        raise UpkeepError(f"the journal is on a PostgreSQL server, which has its own tools; say: {command}")
    return location.path


def _server(location: Location) -> str:
    """Return the server's address as its tools take it, without the password: they ask, or read PGPASSWORD."""
    url = location.url
    shown = URL.create("postgresql", url.username, host=url.host, port=url.port, database=url.database)
    return shlex.quote(shown.render_as_string())
