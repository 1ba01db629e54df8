"""The processes below the supervisor, found through a /proc that the candidate cannot read."""

import contextlib
import os
import signal
import time

_PASSES = 200
_PAUSE_S = 0.005


def find(proc_fd: int) -> set[int]:
    """Return every living process below this one, however it was orphaned: the supervisor is their sub-reaper.

    This /proc may belong to a PID namespace further out, in which this process has another number.
    """
    root = int(os.readlink("self", dir_fd=proc_fd))
    parents: dict[int, int] = {}
    for name in os.listdir(proc_fd):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _read(proc_fd, f"{name}/stat").rpartition(b")")[2].split()
            if fields[0] != b"Z":
                parents[int(name)] = int(fields[1])
    below: set[int] = set()
    for pid in parents:
        chain = []
        current = pid
        while current in parents and current != root and current not in below:
            chain.append(current)
            current = parents[current]
        if current == root or current in below:
            below.update(chain)
    below.discard(root)
    return below


def memory_bytes(proc_fd: int) -> int:
    """Return what the processes below this one hold together, pages shared among them counted once."""
    total = 0
    for pid in find(proc_fd):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in _read(proc_fd, f"{pid}/smaps_rollup").splitlines():
                if line.startswith(b"Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def kill_all(proc_fd: int) -> None:
    """End everything below this process.

    Stopped before killed: a killed process frees a slot that a fork bomb fills at once, a stopped one keeps it.
    """
    stopped: set[int] = set()
    for _ in range(_PASSES):
        fresh = find(proc_fd) - stopped
        if not fresh:
            break
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= fresh
    for _ in range(_PASSES):
        for pid in find(proc_fd):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not _reap():
            return
        time.sleep(_PAUSE_S)


def _reap() -> bool:
    """Take the dead; True while a living child is left."""
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _read(proc_fd: int, path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY, dir_fd=proc_fd)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
