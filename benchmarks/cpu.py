"""CPU seconds of this process and its descendants by role, read from /proc: what a bound is made of."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM = 1, 11, 12  # fields of /proc/PID/stat after the name


def cpu_seconds() -> dict[str, float]:
    """Return user and system seconds so far by role: a Ray process's title, or the program's name."""
    stats = {
        int(path.name): fields for path in Path("/proc").iterdir() if path.name.isdigit() for fields in _stat(path)
    }
    seconds: Counter[str] = Counter()
    for pid, fields in stats.items():
        if _descends(pid, stats):
            seconds[_role(pid)] += (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS
    return dict(seconds)


def spent_since(before: dict[str, float]) -> list[tuple[str, float]]:
    """Return the seconds each role has spent since, the most first; processes that ended are not seen."""
    spent = [(role, seconds - before.get(role, 0.0)) for role, seconds in cpu_seconds().items()]
    return sorted((one for one in spent if one[1] > 0.0), key=lambda one: -one[1])


def _stat(process: Path) -> list[list[str]]:
    try:
        return [(process / "stat").read_text().rpartition(")")[2].split()]
    except OSError:
        return []


def _descends(pid: int, stats: dict[int, list[str]]) -> bool:
    while pid in stats and pid != os.getpid():
        pid = int(stats[pid][_PARENT])
    return pid == os.getpid()


def _role(pid: int) -> str:
    if pid == os.getpid():
        return "driver"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        return "ended"
    named = next((word for word in words if "simulat" in word or word.startswith("ray::")), "")
    return named.partition("(")[0].partition(".")[0] or Path(words[0]).name if words else "ended"
