"""One runner process as the host sees it: started, spoken to over a SEQPACKET socket, killed."""

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from mge_ray.adapters.sandbox import runtime
from mge_ray.adapters.sandbox.inside.config import PER_NAMESPACE, READY, CheckConfig, RunnerConfig
from mge_ray.adapters.sandbox.inside.supervisor import REPLY, VERDICT_BYTES
from mge_ray.adapters.sandbox.model import SandboxLevel, SandboxUnavailableError

_START_S = 60.0
_REPLY_SLACK_S = 10.0  # what a supervisor may take beyond the wall limit, on a loaded machine, before it counts as hung
_CHUNK = 1 << 16
_HEADER_BYTES = 1 << 16
_STDERR_CHARS = 1500
_OWN_UID_PROCESSES = 4  # runner, supervisor and two to spare, where they count against RLIMIT_NPROC
_USER_SLACK = 64  # what the user may start elsewhere while a check runs


class RunnerGoneError(RuntimeError):
    """The runner was dead before it received the check."""


class WarmRunner:
    """Starting one takes about a quarter of a second; a thread of its own keeps it.

    The kernel sends the parent-death signal when the *thread* that forked ends, so no pool thread may start it.
    """

    def __init__(self, level: SandboxLevel, *, python: str, warm: bool) -> None:
        self._host_pid = os.getpid()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._scratch = "" if level is SandboxLevel.FULL else tempfile.mkdtemp(prefix=f"mge-sandbox-{self._host_pid}-")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        self._uid = runtime.fresh_uid()
        try:
            with theirs:
                self._start(level, python, theirs, warm=warm)
            ready = self._await_ready(level)
        except BaseException:
            self.close()
            raise
        self._counts_per_namespace = ready == READY + PER_NAMESPACE

    def is_usable(self) -> bool:
        """Tell whether it lives; a fork of the host must not share it either."""
        alive = self._process is not None and self._process.returncode is None
        return alive and self._host_pid == os.getpid()

    def foreign_processes(self) -> int:
        """How many processes count against the check's limit that are not the check's."""
        if self._counts_per_namespace:
            return 0
        if self._uid is not None:
            return _OWN_UID_PROCESSES
        return _tasks_of(os.getuid()) + _USER_SLACK

    def ask(self, check: CheckConfig, request_fd: int) -> bytes:
        """Send one check and return the raw reply, empty if the runner died or hung over it."""
        read_end, write_end = os.pipe()
        try:
            try:
                socket.send_fds(self._control, [check.to_json().encode()], [request_fd, write_end])
            except OSError as error:
                raise RunnerGoneError(str(error)) from error
            finally:
                os.close(write_end)
            most = REPLY.size + _HEADER_BYTES + VERDICT_BYTES + 1 + check.output_bytes
            return _read_all(read_end, most, time.monotonic() + check.wall_s + _REPLY_SLACK_S)
        finally:
            os.close(read_end)

    def close(self) -> None:
        """Kill the runner; namespaces or the parent-death signal take everything below it."""
        self._control.close()
        process = self._process
        if process is not None and self._host_pid == os.getpid():
            process.kill()
            self._keeper.join()
            if self._uid is not None:
                _kill_all_of(self._uid)
        self._errors.close()
        if self._scratch and self._host_pid == os.getpid():
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _start(self, level: SandboxLevel, python: str, theirs: socket.socket, *, warm: bool) -> None:
        found = runtime.runtime_of(python)
        if self._uid is not None and self._scratch:
            os.chown(self._scratch, self._uid, self._uid)
        config = RunnerConfig(
            level=level.value,
            control_fd=theirs.fileno(),
            code_dir=str(runtime.INSIDE),
            read_only=found.read_only,
            scratch=str(Path(self._scratch).resolve()) if self._scratch else "",
            uid=self._uid,
            warm=warm,
        )
        command = runtime.command(level, found, config)
        started = threading.Event()
        failure: list[OSError] = []

        def keep() -> None:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    env=runtime.environment(found.python),
                    cwd="/",
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                failure.append(error)
            started.set()
            if self._process is not None:
                self._process.wait()

        self._keeper = threading.Thread(target=keep, name=f"sandbox-keeper-{secrets.token_hex(2)}", daemon=True)
        self._keeper.start()
        started.wait()
        if failure:
            raise SandboxUnavailableError(f"a runner at level {level.value} cannot be started: {failure[0]}")

    def _await_ready(self, level: SandboxLevel) -> bytes:
        self._control.settimeout(_START_S)
        ready = b""
        with contextlib.suppress(OSError):
            ready = self._control.recv(_CHUNK)
        self._control.settimeout(None)
        if ready.startswith(READY):
            return ready
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-_STDERR_CHARS:]
        raise SandboxUnavailableError(f"a runner at level {level.value} did not start: {said or 'it said nothing'}")


def _read_all(fd: int, most: int, deadline: float) -> bytes:
    data = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            break
        chunk = os.read(fd, _CHUNK)
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > most:
            break
    return b""


def _kill_all_of(uid: int) -> None:
    """End what a candidate left where nothing but a uid of its own holds it: whoever has that uid is one of them."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if path.stat().st_uid == uid:
                    os.kill(int(path.name), signal.SIGKILL)


def _tasks_of(uid: int) -> int:
    tasks = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == uid:
                    tasks += len(list(Path(f"/proc/{entry.name}/task").iterdir()))
    return tasks
