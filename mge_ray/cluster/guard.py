"""The guard of a local run: a small process that outlives its driver by a moment, to leave no process behind.

Ray's own processes notice a killed driver late, some never. Every process of the run carries a mark in its
environment or, where Ray has written a title over that, holds files of the run's folder open for writing. When the
guard's standard input ends, the driver is gone, and after a grace the guard ends what is left of the run. It imports
nothing of this package and touches no process of anybody else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "MGE_RAY_RUN"
GRACE_S = 4.0
POLL_S = 0.1
LAST_WORDS_S = 2.0


def marked(mark: str, folder: str, spared: set[int]) -> list[int]:
    """Return the processes of this machine that belong to the run, without `spared`."""
    wanted, inside = f"{MARK}={mark}".encode(), folder.rstrip("/") + "/"
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) not in spared:
            with contextlib.suppress(OSError):
                if wanted in (process / "environ").read_bytes().split(b"\0") or _holds(process, inside):
                    found.append(int(process.name))
    return found


def _holds(process: Path, inside: str) -> bool:
    for link in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith(inside) and _writable(process / "fdinfo" / link.name):
                return True
    return False


def _writable(fdinfo: Path) -> bool:
    """Return whether a file is open for writing: somebody who only reads a log is not part of the run."""
    flags = next(line for line in fdinfo.read_text().splitlines() if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & (os.O_WRONLY | os.O_RDWR))


def end_all(mark: str, folder: str, spared: set[int]) -> None:
    """End what carries the mark: politely, then at once; processes that appear meanwhile too."""
    for number, patience_s in ((signal.SIGTERM, LAST_WORDS_S), (signal.SIGKILL, LAST_WORDS_S)):
        deadline = time.monotonic() + patience_s
        while (pids := marked(mark, folder, spared)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            time.sleep(POLL_S)


def main(mark: str, folder: str) -> None:
    """Wait for the end of standard input, then clean up. `now` on it means that the driver has shut down by itself."""
    spared = {os.getpid(), os.getppid()}
    last = b""
    while data := os.read(0, 64):
        last = data
    deadline = time.monotonic() + (0.0 if last.strip() == b"now" else GRACE_S)
    while time.monotonic() < deadline and marked(mark, folder, spared):
        time.sleep(POLL_S)
    end_all(mark, folder, spared)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(sys.argv[1], sys.argv[2])
