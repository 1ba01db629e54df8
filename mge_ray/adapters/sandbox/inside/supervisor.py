"""One check from outside the candidate: start it isolated, collect verdict and output, end it at its deadline."""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import struct
import time
from pathlib import Path
from typing import NamedTuple

from . import descendants, linux, namespaces, test_process
from .config import FULL, NAMESPACES, CheckConfig, RunnerConfig

REPLY = struct.Struct("!III")  # lengths of header, verdict and output, which follow in this order
VERDICT_BYTES = 1 << 21  # the judge keeps within it, see kept_outcomes.py
_CHUNK = 1 << 16
_POLL_MS = 100
_LAST_WORDS_S = 0.2
_PROCESSES_SHARE = 2


class _Handles(NamedTuple):
    request_fd: int
    reply_fd: int
    proc_fd: int
    room: Path | None  # a folder on the host's disk where no mount namespace gave a tmpfs


class _Stream(NamedTuple):
    fd: int
    buffer: bytearray
    limit: int
    keeps_tail: bool

    def read(self) -> bool:
        """Read once; False at the end of the stream. What passes the limit is dropped, one byte tells that it was."""
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return False
        self.buffer.extend(data)
        surplus = len(self.buffer) - self.limit
        if surplus > 0 and self.keeps_tail:
            del self.buffer[:surplus]
        elif surplus > 0:
            del self.buffer[self.limit + 1 :]
        return bool(data)


class _Ended(NamedTuple):
    status: int
    timed_out: bool
    overrun: str
    cpu_s: float


def supervise(config: RunnerConfig, check: CheckConfig, request_fd: int, reply_fd: int) -> None:
    """Run one check and write one reply; a failure of the isolation itself is a reply too."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    verdict, output = bytearray(), bytearray()
    header: dict[str, object]
    room: Path | None = None
    try:
        if config.level in {FULL, NAMESPACES}:
            proc_fd = namespaces.enter_check_view(config, check)
        else:
            room = Path(config.scratch, f"check-{os.getpid()}")
            for folder in ("workspace", "tmp"):
                (room / folder).mkdir(parents=True)
            linux.become_subreaper()
            proc_fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        _follow_the_runner(proc_fd, room)
        ended = _run(config, check, _Handles(request_fd, reply_fd, proc_fd, room), verdict, output)
        header = ended._asdict()
    except OSError as error:
        header = {"broken": str(error)}
    finally:
        if room is not None:
            _remove(room)
    head = json.dumps(header).encode()
    data = REPLY.pack(len(head), len(verdict), len(output)) + head + verdict + output
    with os.fdopen(reply_fd, "wb") as reply:
        reply.write(data)


def _follow_the_runner(proc_fd: int, room: Path | None) -> None:
    """When the runner dies, namespaces die with this process; without them it must clear up before it goes."""
    if room is None:
        linux.die_with_parent(signal.SIGKILL)
        return

    def clear_up(_signal: int, _frame: object) -> None:
        descendants.kill_all(proc_fd)
        _remove(room)
        os._exit(1)

    signal.signal(signal.SIGTERM, clear_up)
    linux.die_with_parent(signal.SIGTERM)


def _run(config: RunnerConfig, check: CheckConfig, handles: _Handles, verdict: bytearray, output: bytearray) -> _Ended:
    verdict_r, verdict_w = os.pipe()
    output_r, output_w = os.pipe()
    deadline = time.monotonic() + check.wall_s
    child = os.fork()
    if child == 0:
        try:
            test_process.run(
                config, check, handles.room, request_fd=handles.request_fd, verdict_fd=verdict_w, output_fd=output_w
            )
        finally:
            os._exit(1)
    for fd in (handles.request_fd, verdict_w, output_w):
        os.close(fd)
    pidfd = os.pidfd_open(child)
    streams = (
        _Stream(verdict_r, verdict, VERDICT_BYTES, keeps_tail=False),
        _Stream(output_r, output, check.output_bytes, keeps_tail=True),
    )
    timed_out, overrun = _watch(check, handles, pidfd, streams, deadline)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _pid, status, usage = os.wait4(child, 0)
    if handles.room is not None:  # no PID namespace took the rest down
        descendants.kill_all(handles.proc_fd)
    until = time.monotonic() + _LAST_WORDS_S
    for stream in streams:
        os.set_blocking(stream.fd, False)
        while time.monotonic() < until and stream.read():
            pass
    return _Ended(status, timed_out, overrun, usage.ru_utime + usage.ru_stime)


def _watch(
    check: CheckConfig, handles: _Handles, pidfd: int, streams: tuple[_Stream, ...], deadline: float
) -> tuple[bool, str]:
    """Return (deadline passed, which shared limit was passed) when the test process ended or must end."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    for stream in streams:
        poll.register(stream.fd, select.POLLIN)
    looked = time.monotonic()
    while (now := time.monotonic()) < deadline:
        ready = {fd for fd, _event in poll.poll(min(_POLL_MS, (deadline - now) * 1000 + 1))}
        for stream in streams:
            if stream.fd in ready and not stream.read():
                poll.unregister(stream.fd)
        if pidfd in ready:
            return False, ""
        if now - looked > _POLL_MS / 1000:
            looked = now
            overrun = _overrun(check, handles)
            if overrun:
                return False, overrun
    return True, ""


def _overrun(check: CheckConfig, handles: _Handles) -> str:
    """Look at what no rlimit covers: memory of all processes together and, without a tmpfs, the space they fill."""
    if descendants.memory_bytes(handles.proc_fd) > _PROCESSES_SHARE * check.memory_bytes:
        return f"its processes together held more than {_PROCESSES_SHARE} times {check.memory_bytes} bytes"
    if handles.room is not None and _space(handles.room) > check.tmpfs_bytes:
        return f"its files took more than {check.tmpfs_bytes} bytes"
    return ""


def _space(room: Path) -> int:
    """Each file and folder counts at least a page, so that empty ones run out as well."""
    page, total = resource.getpagesize(), 0
    for folder, _folders, files in os.walk(room):
        total += page
        for name in files:
            with contextlib.suppress(OSError):
                total += max(page, Path(folder, name).lstat().st_blocks * 512)
    return total


def _remove(room: Path) -> None:
    """Delete what the candidate left, folders it closed against us included."""

    def unlock(_function: object, path: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            if Path(path).is_dir() and not Path(path).is_symlink():
                Path(path).chmod(0o700)
                shutil.rmtree(path, ignore_errors=True)
            else:
                Path(path).unlink()

    shutil.rmtree(room, onerror=unlock)
