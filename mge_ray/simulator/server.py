"""Running the simulator: as a process of its own, or in a thread beside a test.

Owns the listening socket and the life of the server. Port 0 takes a free port; the announcement says which.
"""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mge_ray.simulator.app import Simulator, create_app
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.exchange import TRANSPORT

BACKLOG = 4096
START_TIMEOUT_S = 20.0


class _Protocol(HttpToolsProtocol):
    """Hands its transport to the application, which has to break connections."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, TRANSPORT: transport}


class _Server(uvicorn.Server):
    """Says when it listens, and where."""

    def __init__(self, app: Simulator, ready: Callable[[str], object]) -> None:
        config = app.config
        super().__init__(
            uvicorn.Config(
                app,
                host=config.host,
                port=config.port,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.force_exit:
            await super().shutdown(sockets=sockets)
            return
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end_soon(self) -> None:
        """Stop without waiting for answers in flight; for any thread."""
        self.force_exit = True
        self.should_exit = True


def serve(config: SimulatorConfig, *, announce: Callable[[str], object] | None = None) -> None:
    """Serve until a signal, or until standard input ends where the configuration says so.

    `announce` gets one line, `simulated Messages API on http://HOST:PORT`, when requests are welcome; by default it
    goes to standard output. Raises SimulatorConfigError for unreadable files, SystemExit if the port is taken.
    """
    say = announce or _print_line
    server = _Server(create_app(config), lambda url: say(f"simulated Messages API on {url}"))
    if config.exit_with_stdin:
        threading.Thread(target=_end_with_stdin, args=(server,), name="stdin", daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


@contextlib.contextmanager
def running(config: SimulatorConfig) -> Iterator[tuple[str, Simulator]]:
    """Serve from a thread of this process; gives the base URL and the application with its `stats`.

    It shares the interpreter with its caller: good for tests, wrong for measurements.
    """
    app = create_app(config)
    found: list[str] = []
    ready = threading.Event()

    def started(url: str) -> None:
        found.append(url)
        ready.set()

    server = _Server(app, started)
    thread = threading.Thread(target=_run_in_thread, args=(server, ready), name="simulator", daemon=True)
    thread.start()
    ready.wait(START_TIMEOUT_S)
    try:
        if not found:
            raise RuntimeError(f"the simulator did not start on {config.host}:{config.port} within {START_TIMEOUT_S} s")
        yield found[0], app
    finally:
        server.end_soon()
        thread.join(START_TIMEOUT_S)


def _run_in_thread(server: _Server, ready: threading.Event) -> None:
    try:
        with contextlib.suppress(SystemExit):
            server.run()
    finally:
        ready.set()


def _end_with_stdin(server: _Server) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 65536):
            pass
    server.end_soon()


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
