"""Sessions: a Ray of one's own, or a cluster that runs; and the engine's actors on it.

A local session never joins a Ray that happens to run, and leaves no process and no file behind: not when it ends, not
when it is interrupted, not when it is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mge_ray.cluster.serve_environment import serve_environment
from mge_ray.domain.errors import MgeRayError

NAMESPACE = "mge_ray"
COORDINATOR = "execution_coordinator"
CONTROLLER = "concurrency_controller"
GATEWAY = "llm_gateway"
OBJECT_STORE_BYTES = 200_000_000
WORKERS_KEPT_MS = 60_000
"""How long a worker may be idle. By Ray's own second, the workers warmed up died before the first answer came and cold
ones took their place: of those over the number of CPUs the oldest go first, and each actor's start brings one."""
GUARD = Path(__file__).with_name("guard.py")
GUARD_PATIENCE_S = 15.0
REACH_S = 5.0


class SessionError(MgeRayError):
    """Ray could not be started or joined."""


@contextlib.contextmanager
def local_session(
    *, num_cpus: int | None = None, on_lost: Callable[[], None] | None = None, serves_at: str | None = None
) -> Iterator[str]:
    """Start a Ray of our own for the length of the block; yields the mark that its processes carry.

    `serves_at` is the address at which it will serve, if it will.

    `on_lost` is called, in a thread, when its head process dies before that: Ray itself would wait for a minute and
    then end this process without a word that helps.
    """
    mark = secrets.token_hex(8)
    folder = tempfile.mkdtemp(prefix="mge-ray-")
    saved = dict(os.environ)
    from mge_ray.cluster.guard import MARK  # noqa: PLC0415  # a program first, a module second

    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_DEDUP_LOGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_idle_worker_killing_time_threshold_ms": str(WORKERS_KEPT_MS),
    }
    if serves_at is not None:
        os.environ |= serve_environment(folder, serves_at)
    os.environ.pop("RAY_ADDRESS", None)
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), mark, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[MARK] = mark
    _reread_authentication()
    try:
        _init(address="local", num_cpus=num_cpus, object_store_memory=OBJECT_STORE_BYTES, _temp_dir=folder)
        with _watched_head(on_lost) if on_lost else contextlib.nullcontext():
            yield mark
    finally:
        _shutdown()
        _dismiss(guard)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def _watched_head(on_lost: Callable[[], None]) -> Iterator[None]:
    """Call `on_lost` if a head process of this process's Ray dies within the block.

    Both are watched: Ray's own library ends this process, with a code of its own, when it misses either first.
    """
    heads = [os.pidfd_open(pid) for pid in _head_pids()]
    done, leave = os.pipe()

    def watch() -> None:
        ready, _, _ = select.select([*heads, done], [], [])
        if done not in ready:
            on_lost()

    watcher = threading.Thread(target=watch, name="mge-ray-head", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.close(leave)
        watcher.join()
        for descriptor in (*heads, done):
            os.close(descriptor)


def _head_pids() -> list[int]:
    """Return the ids of this process's children that a Ray head consists of: its control store and its raylet."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            program = (process / "cmdline").read_bytes().split(b"\0", 1)[0]
            if parent == os.getpid() and program.endswith((b"/gcs_server", b"/raylet")):
                found.append(int(process.name))
    if len(found) < len(("gcs_server", "raylet")):
        raise SessionError("the local Ray has no head process: it died as it started")
    return found


@contextlib.contextmanager
def joined_session(address: str) -> Iterator[str]:
    """Join the cluster at `address` for the length of the block; its actors stay."""
    try:
        check_reachable(address)
        _init(address=address)
    except (OSError, ValueError, RuntimeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise SessionError(f"no Ray cluster answers at {address}: {lines[0]}") from None
    try:
        yield address
    finally:
        _shutdown()


def address_for_nodes() -> str | None:
    """Return this host's address for the cluster's other hosts; None where there are none."""
    import ray  # noqa: PLC0415  # as in _init

    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    here = ray.get_runtime_context().get_node_id()
    mine: str = next(node["NodeManagerAddress"] for node in nodes if node["NodeID"] == here)
    return mine if any(node["NodeManagerAddress"] != mine for node in nodes) else None


def check_reachable(address: str) -> None:
    """Try the address within seconds, where Ray would try for minutes. Raises OSError or ValueError."""
    if address == "auto" or "://" in address:
        return
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise ValueError("an address is HOST:PORT, auto, or ray://HOST:PORT")
    socket.create_connection((host, int(port)), timeout=REACH_S).close()


def _init(**options: Any) -> None:  # noqa: ANN401  # ray.init's own options
    import ray  # noqa: PLC0415  # its environment must be set first

    if options["address"] == "local":
        options["include_dashboard"] = False
    ray.init(namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=False, **options)


def _reread_authentication() -> None:
    """Make Ray see the mode and token set above where it has read others before; its own tests do the same."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # noqa: PLC0415

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _shutdown() -> None:
    import ray  # noqa: PLC0415  # as above

    with contextlib.suppress(Exception):
        ray.shutdown()


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None  # noqa: S101  # a pipe was asked for
    with contextlib.suppress(OSError):
        guard.stdin.write(b"now")
        guard.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        guard.wait(GUARD_PATIENCE_S)
