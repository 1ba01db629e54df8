"""Opening a journal database: engines for writing and for reading, schema upgrades, and failures as one clear line.

Everything about the two database products that is not a plain statement is in this file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mge_ray.adapters.journal.tables import REVISIONS, VERSION_TABLE
from mge_ray.adapters.journal.urls import Location, locate
from mge_ray.domain.errors import MgeRayError
from mge_ray.execution.ports import JournalUnavailableError

LOCK_WAIT_S = 10.0
FROZEN_WRITER_S = 4.0
WAL_LIMIT_BYTES = 64 << 20
MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6D67655F726179  # "mge_ray" in ASCII
_alembic_is_global = threading.Lock()  # its `op` and `context` are proxies shared by the whole process

# A server that is cut off is noticed within about 15 seconds; libpq would wait for hours.
_LIBPQ_DEFAULTS: dict[str, Any] = {
    "application_name": "mge-ray",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
# A writer that is frozen in its transaction must not keep the execution from being taken over; what was acknowledged
# must survive a crash of the server, whatever its default is.
_POSTGRESQL_SESSION = f"""
    SELECT set_config('lock_timeout', '{LOCK_WAIT_S:.0f}s', false),
           set_config('idle_in_transaction_session_timeout', '{FROZEN_WRITER_S:.0f}s', false),
           set_config('synchronous_commit',
                      CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                           ELSE current_setting('synchronous_commit') END, false)
"""
_REVISION = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  # a constant


class NoDatabaseError(MgeRayError):
    """There is no journal at this place yet."""


class SchemaError(JournalUnavailableError):
    """A database whose schema this version cannot use as it is."""


def writer_engine(location: Location) -> Engine:
    """Return an engine whose commits are durable; its transactions hold SQLite's write lock from their first line."""
    if location.path is None:
        connect_args = {key: value for key, value in _LIBPQ_DEFAULTS.items() if key not in location.url.query}
        engine = create_engine(location.url, poolclass=NullPool, connect_args=connect_args)
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    engine = create_engine(location.url, poolclass=NullPool, connect_args={"timeout": LOCK_WAIT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_postgresql(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(_POSTGRESQL_SESSION)
    cursor.close()
    connection.commit()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin_immediate` begins transactions, not the driver
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait its busy timeout for this switch when two processes make a new file at once."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while not _is_wal(connection, last_try=time.monotonic() > deadline):
        time.sleep(0.01)


def _is_wal(connection: sqlite3.Connection, *, last_try: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.OperationalError as error:
        if last_try or "locked" not in str(error):
            raise
        return False
    return True


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def make_folder(location: Location) -> None:
    """Make the folder of a database file."""
    if location.path is not None:
        location.path.parent.mkdir(parents=True, exist_ok=True)


def upgrade(url: str) -> None:
    """Bring the database to this version's schema, creating it where there is none. Safe in two processes at once."""
    location = locate(url)
    with failures_explained(location):
        make_folder(location)
        engine = writer_engine(location)
        with engine.connect() as connection:
            migrate(connection, location)


def migrate(connection: Connection, location: Location) -> None:
    """Bring an open database to this version's schema in one transaction; a current one is only looked at."""
    with connection.begin():
        if _is_current(connection, location):
            return
        if location.path is None:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if not _is_current(connection, location):
            _run_alembic(connection)


def _is_current(connection: Connection, location: Location) -> bool:
    revision = schema_revision(connection)
    if revision is not None and revision not in REVISIONS:
        raise SchemaError(
            f"the journal at {location.shown} has schema {revision[:40]!r}, newer than this mge-ray's "
            f"{REVISIONS[-1]!r}; upgrade mge-ray or give it another database"
        )
    return revision == REVISIONS[-1]


def schema_revision(connection: Connection) -> str | None:
    """Return the revision of the schema, or None for a database without a journal."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(_REVISION).scalar()
    return revision


def _run_alembic(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # 0.2 s that only a database not yet current costs
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _alembic_is_global:
        command.upgrade(config, "head")


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """Open a journal for one transaction, committed at the end of the block; makes or upgrades the database."""
    location = locate(url)
    with failures_explained(location):
        make_folder(location)
        with writer_engine(location).connect() as connection:
            migrate(connection, location)
            with connection.begin():
                yield connection


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """Open a journal for reading only, for a moment. Raises NoDatabaseError where there is none."""
    location = locate(url)
    with failures_explained(location):
        if location.path is not None and not _exists(location.path):
            raise NoDatabaseError(f"no executions yet (no database at {location.shown})")
        engine = _reader_engine(location)
        with engine.connect() as connection:
            revision = schema_revision(connection)
            if revision is None:
                raise NoDatabaseError(f"no executions yet (no journal in the database at {location.shown})")
            if not _is_current(connection, location):
                raise SchemaError(
                    f"the journal at {location.shown} has the older schema {revision!r}; "
                    "`mge-ray run` or `resume` with this database upgrades it"
                )
            yield connection


def _exists(path: Path) -> bool:
    """Unlike `Path.exists`, tell what is not there from what this user may not see, on every version of Python."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _reader_engine(location: Location) -> Engine:
    path = location.path
    if path is None:
        return writer_engine(location).execution_options(postgresql_readonly=True)
    options = "mode=ro"
    if not os.access(path.parent, os.W_OK) and not _exists(path.with_name(path.name + "-wal")):
        options += "&immutable=1"  # SQLite reads a WAL database by making files beside it, which it cannot do here
    return _sqlite_reader(f"file:{quote(str(path))}?{options}")


@lru_cache(maxsize=64)
def _sqlite_reader(uri: str) -> Engine:
    """Return the engine for a file; it keeps compiled statements and no connection."""
    return create_engine(
        "sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_S)
    )


@contextmanager
def failures_explained(location: Location) -> Iterator[None]:
    """Turn the driver's and the operating system's errors into one line of what, where and what to do."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise explained(error, location) from error


def explained(error: Exception, location: Location) -> JournalUnavailableError:
    """Return the error as people may see it: no statement, no parameters, no password."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, OSError):
        said = cause.strerror or type(cause).__name__
    else:
        said = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    password = location.url.password
    if password:
        said = said.replace(str(password), "***")
    if location.path is None:
        advice = "check that the server runs and takes this user and database; nothing was written"
    else:
        is_folder = os.path.isdir(location.path)  # noqa: PTH112  # Path.is_dir raises where the folder is closed to us
        advice = _file_advice("unable to open" if is_folder else said.lower())
    return JournalUnavailableError(f"the journal at {location.shown} is not available: {said}; {advice}")


# What SQLite says -> what helps; the first that fits.
_FILE_ADVICE = (
    ("full", "free some disk space; nothing was written"),
    ("no space", "free some disk space; nothing was written"),
    ("locked", f"another program has held the file for {LOCK_WAIT_S:.0f} s; end it and try again"),
    ("readonly", "make the file and its folder writable for this user"),
    ("read-only", "make the file and its folder writable for this user"),
    ("denied", "make the file and its folder readable and writable for this user"),
    ("not a database", "this file is something else or damaged; move it away, or restore it from a backup"),
    ("malformed", "the file is damaged; move it away, or restore it from a backup"),
    ("unable to open", "check that the path names a file in a folder this user can write to"),
    ("i/o", "the disk does not work as it should, or a file-size limit is reached; nothing was written"),
)


def _file_advice(said: str) -> str:
    return next((advice for hint, advice in _FILE_ADVICE if hint in said), "nothing was written")
