"""GroupWriter: one thread that owns one connection and puts everything that waits into one transaction.

Knows connections, commits and what to do when they fail; what is written is the caller's `apply`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from mge_ray.adapters.journal.database import explained, make_folder, migrate, writer_engine
from mge_ray.adapters.journal.urls import Location
from mge_ray.domain.errors import MgeRayError
from mge_ray.execution.ports import JournalUnavailableError

# Bounds what one failing commit takes down with it, and how long the first caller of a group waits for the last.
MAX_GROUP = 256
CLOSE_TIMEOUT_S = 30.0

Outcome = int | MgeRayError
FileIdentity = tuple[int, int]


@dataclass(slots=True)
class Request:
    """Something to be written, and who waits for it."""

    future: Future[int] = field(default_factory=Future, init=False)


class GroupWriter:
    """`apply` writes a group inside a transaction and returns an outcome for each request, in order.

    An outcome that is an error refuses that request alone. `committed` is called when the group is durable.
    """

    def __init__(
        self,
        location: Location,
        apply: Callable[[Connection, Sequence[Request]], Sequence[Outcome]],
        committed: Callable[[Sequence[Request]], None],
    ) -> None:
        self._location = location
        self._apply = apply
        self._committed = committed
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._file: FileIdentity | None = None

    async def write(self, request: Request) -> int:
        """Return when the request is durable. Callable from any event loop.

        A caller that is cancelled before its group has begun has written nothing; later, it does not know.
        """
        with self._lock:
            if self._closed:
                raise JournalUnavailableError(f"the journal at {self._location.shown} is closed in this process")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mge-ray-journal", daemon=True)
                self._thread.start()
            self._queue.put(request)
        return await asyncio.wrap_future(request.future)

    def close(self) -> None:
        """Write what waits, then let go of the database. Closing twice changes nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            live = [request for request in group if request.future.set_running_or_notify_cancel()]
            try:
                self._write(live)
            except BaseException as error:  # noqa: BLE001  # a dead thread would keep every later caller waiting for ever
                _fail(live, JournalUnavailableError(f"the journal's writer failed: {type(error).__name__}: {error}"))
        self._disconnect()

    def _next_group(self) -> tuple[list[Request], bool]:
        group: list[Request] = []
        try:
            request = self._queue.get()
            while request is not None:
                group.append(request)
                if len(group) == MAX_GROUP:
                    return group, False
                request = self._queue.get_nowait()
        except queue.Empty:
            return group, False
        return group, True

    def _write(self, group: Sequence[Request]) -> None:
        """Border: whatever happens in here ends in the callers' futures."""
        if not group:
            return
        try:
            outcomes = self._transact(group)
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, MgeRayError):
                self._disconnect()
            if len(group) > 1 and _may_be_one_requests_fault(error):
                for request in group:
                    self._write([request])
                return
            for request in group:
                request.future.set_exception(self._as_domain_error(error))
            return
        for request, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, MgeRayError):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)

    def _transact(self, group: Sequence[Request]) -> Sequence[Outcome]:
        had_connection = self._connection is not None
        try:
            return self._transact_once(group)
        except DBAPIError as error:
            if not had_connection or not error.connection_invalidated:
                raise
            self._disconnect()
        # The server had dropped a connection that was held for long: a new one may well work.
        return self._transact_once(group)

    def _transact_once(self, group: Sequence[Request]) -> Sequence[Outcome]:
        connection = self._connected()
        with connection.begin():
            outcomes = self._apply(connection, group)
        self._committed(group)
        return outcomes

    def _connected(self) -> Connection:
        self._check_file()
        if self._connection is None:
            make_folder(self._location)
            if self._engine is None:
                self._engine = writer_engine(self._location)
            connection = self._engine.connect()
            try:
                migrate(connection, self._location)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._file = self._file_identity()
        return self._connection

    def _check_file(self) -> None:
        """SQLite would go on in a file that is deleted, where nobody finds it, or mix its log into another file."""
        if self._file is None:
            return
        if self._file_identity() != self._file:
            raise JournalUnavailableError(
                f"the journal {self._location.shown} was removed or replaced while in use; put the same file back"
            )

    def _file_identity(self) -> FileIdentity | None:
        if self._location.path is None:
            return None
        try:
            status = self._location.path.stat()
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except SQLAlchemyError:
            connection.invalidate()

    def _as_domain_error(self, error: Exception) -> MgeRayError:
        if isinstance(error, MgeRayError):
            return type(error)(*error.args)  # one object for each caller: tracebacks grow where they are raised
        return explained(error, self._location)


def _fail(group: Sequence[Request], error: Exception) -> None:
    for request in group:
        if not request.future.done():
            request.future.set_exception(error)


def _may_be_one_requests_fault(error: Exception) -> bool:
    """Tell a value that the database refuses from a database that refuses everything."""
    return not isinstance(error, (OperationalError, InterfaceError, OSError, MgeRayError))
