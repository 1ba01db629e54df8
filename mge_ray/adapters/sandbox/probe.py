"""Chooses the level by attack: each is really started and must both hold canaries in and let honest code pass."""

import contextlib
import functools
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mge_ray.adapters.sandbox.model import CheckRequest, SandboxLevel, SandboxLimits, SandboxUnavailableError
from mge_ray.adapters.sandbox.sandbox import Sandbox

_LIMITS = SandboxLimits(wall_s=20.0, cpu_s=15)
_CANARY_S = "600"
_TESTS = """\
import glob, os, pathlib, signal, socket, subprocess, sys, tempfile, threading
import pytest


def test_honest_code_runs():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    assert subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True).stdout == b"42\\n"


def test_no_connection_to_the_host():
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", {port}), timeout=2)


def test_no_abstract_socket_of_the_host():
    with pytest.raises(OSError):
        socket.socket(socket.AF_UNIX).connect({abstract!r})


def test_no_file_of_the_host_is_read():
    with pytest.raises(OSError):
        pathlib.Path({canary!r}).read_text()


def test_nothing_is_written_outside():
    with pytest.raises(OSError):
        pathlib.Path({canary!r}).write_text("overwritten")
    with pytest.raises(OSError):
        pathlib.Path({canary!r} + ".new").write_text("written")


def test_no_mode_of_a_file_of_the_host_is_changed():
    with pytest.raises(OSError):
        os.chmod({canary!r}, 0o600)
    with pytest.raises(OSError):
        os.utime({canary!r}, (0, 0))


def test_no_environment_of_a_process_is_read():
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            found.append(pathlib.Path(path).read_bytes())
        except OSError:
            continue
    assert not any({secret!r}.encode() in environment for environment in found)
    assert {secret!r} not in str(os.environ)


def test_no_process_of_the_host_is_hit():
    try:
        os.kill({pid}, signal.SIGKILL)
    except OSError:
        pass
"""


@functools.cache
def probe_level(python: str = sys.executable) -> SandboxLevel:
    """Return the strongest level that withstands a canary attack here, NONE if none does; asked once per process."""
    for level in (SandboxLevel.FULL, SandboxLevel.NAMESPACES, SandboxLevel.RESTRICTED):
        with contextlib.suppress(SandboxUnavailableError), Sandbox(level, python=python) as sandbox:
            if withstands_canaries(sandbox):
                return level
    return SandboxLevel.NONE


def withstands_canaries(sandbox: Sandbox) -> bool:
    """Attack a file, a port, a socket, an environment and a process that stand for the host's."""
    with _canaries() as canaries:
        text = _TESTS.format(
            port=canaries.port,
            abstract=canaries.abstract,
            canary=str(canaries.file),
            secret=canaries.secret,
            pid=canaries.process.pid,
        )
        record = sandbox.check(CheckRequest({"test_canaries.py": text}, ("test_canaries.py",), _LIMITS))
        return record.status == "ok" and canaries.are_untouched()


@dataclass(frozen=True)
class _Canaries:
    port: int
    abstract: str
    file: Path
    secret: str
    process: subprocess.Popen[bytes]

    def are_untouched(self) -> bool:
        unchanged = self.file.read_text() == self.secret and len(list(self.file.parent.iterdir())) == 1
        return unchanged and self.process.poll() is None


@contextlib.contextmanager
def _canaries() -> Iterator[_Canaries]:
    secret = f"canary-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mge-canary-")))
        folder.chmod(0o777)  # weak permissions on purpose: the sandbox must hold, not the file mode
        file = folder / "canary"
        file.write_text(secret)
        file.chmod(0o666)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract = f"\0{secret}"
        unix.bind(abstract)
        unix.listen()
        sleep = [sys.executable, "-S", "-c", f"import time; time.sleep({_CANARY_S})"]
        process = subprocess.Popen(sleep, env={**os.environ, "MGE_CANARY": secret}, stdin=subprocess.DEVNULL)
        try:
            yield _Canaries(tcp.getsockname()[1], abstract, file, secret, process)
        finally:
            process.kill()
            process.wait()
