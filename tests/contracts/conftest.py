"""A PostgreSQL server of our own: in a temporary folder, on a free loopback port, for as long as the tests run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

START_TIMEOUT_S = 30.0
PASSWORD = "p@ss w0rd"  # noqa: S105  # never asked for: the server trusts; the tests look for it in messages


def _bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _user() -> dict[str, Any]:
    """Initdb refuses to run as root: another user has to."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL refuses to run as root, and there is no other user")


@dataclass
class PostgresServer:
    """One server; `stop` and `start` as often as a test likes."""

    folder: Path
    binaries: Path
    user: dict[str, Any]
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return self.url_through(self.port)

    def url_through(self, port: int) -> str:
        return f"postgresql://journal:{PASSWORD.replace('@', '%40').replace(' ', '%20')}@127.0.0.1:{port}/journal"

    def initialise(self) -> None:
        command = [self.binaries / "initdb", "-D", self.folder / "data", "-U", "journal", "-A", "trust"]
        command += ["--no-sync", "--locale=C", "--encoding=UTF8"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self.user)
        if done.returncode:
            pytest.skip(f"PostgreSQL cannot be set up here: {done.stderr.strip()}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        command = [self.binaries / "postgres", "-D", self.folder / "data", "-F", "-k", self.folder]
        command += ["-h", "127.0.0.1", "-p", str(self.port), "-c", "max_connections=30", "-c", "shared_buffers=16MB"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self.user)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(host="127.0.0.1", port=self.port, user="journal", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def run(self, statement: str) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="journal", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it cleanly, SIGQUIT at once, as a crash would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(START_TIMEOUT_S)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with own_server() as server:
        yield server


@contextmanager
def own_server() -> Iterator[PostgresServer]:
    """Run a server for the length of the block; skip the test where there can be none."""
    binaries = _bin()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (no initdb)")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="mge-pg-"))
    server = PostgresServer(folder, binaries, user)
    try:
        if user:
            os.chown(folder, user["user"], user["group"])
        server.initialise()
        server.start()
        server.run("CREATE DATABASE journal")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
