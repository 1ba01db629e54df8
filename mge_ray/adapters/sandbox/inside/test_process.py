"""The process the candidate runs in: it gives up everything it can, then writes the workspace and runs the judge."""

import fcntl
import io
import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from . import judge, landlock, linux, namespaces, seccomp
from .config import FULL, NAMESPACES, NONE, CheckConfig, RunnerConfig

_REQUEST_FD = 3
_VERDICT_FD = 4
_FIRST_FREE_FD = 6
_SETUP_FAILED = 3


def run(
    config: RunnerConfig,
    check: CheckConfig,
    room: Path | None,
    *,
    request_fd: int,
    verdict_fd: int,
    output_fd: int,
) -> NoReturn:
    """Never returns: the process ends here, whatever the candidate raises or leaves running."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        linux.die_with_parent(signal.SIGKILL)
        os.setsid()
        request_fd, verdict_fd = _arrange_descriptors(request_fd, verdict_fd, output_fd)
        workspace = Path(namespaces.WORKSPACE if room is None else room / "workspace")
        temporary = Path(namespaces.TEMPORARY if room is None else room / "tmp")
        _restrict(config, check, workspace, temporary)
        with os.fdopen(request_fd, "rb") as file:
            request = json.load(file)
        os.environ.update(HOME=str(temporary), TMPDIR=str(temporary))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)  # in the order it was written, and not lost in a kill
        tempfile.tempdir = None  # remembered from the warm-up
        os.chdir(workspace)
    except BaseException as error:  # noqa: BLE001 - the border of the process
        _send(verdict_fd, {"nonce": check.nonce, "broken": f"{type(error).__name__}: {error}"})
        os._exit(_SETUP_FAILED)
    try:
        record = judge.judge(request, workspace)
    except BaseException as error:  # noqa: BLE001 - the same
        record = {"outcomes": [], "note": f"the run ended with {type(error).__name__}: {error}"[:500]}
    _flush()
    _send(verdict_fd, {"nonce": check.nonce, **record})
    os._exit(0)


def _arrange_descriptors(request_fd: int, verdict_fd: int, output_fd: int) -> tuple[int, int]:
    """Leave open: an empty stdin, stdout and stderr into one pipe, the request, the verdict. Nothing else."""
    empty = os.open(os.devnull, os.O_RDONLY)
    empty, output_fd, request_fd, verdict_fd = (
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD) for fd in (empty, output_fd, request_fd, verdict_fd)
    )
    os.dup2(empty, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.dup2(request_fd, _REQUEST_FD, inheritable=False)
    os.dup2(verdict_fd, _VERDICT_FD, inheritable=False)
    os.closerange(_VERDICT_FD + 1, os.sysconf("SC_OPEN_MAX"))
    return _REQUEST_FD, _VERDICT_FD


def _restrict(config: RunnerConfig, check: CheckConfig, workspace: Path, temporary: Path) -> None:
    isolated = config.level in {FULL, NAMESPACES}
    for limit, value in (
        (resource.RLIMIT_AS, check.memory_bytes),
        (resource.RLIMIT_FSIZE, check.file_size_bytes),
        (resource.RLIMIT_NOFILE, check.open_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 1 << 16),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _limit(limit, value)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or hard > check.cpu_s:
        # PID 1 ignores the soft limit's SIGXCPU; the hard one kills
        resource.setrlimit(resource.RLIMIT_CPU, (check.cpu_s, check.cpu_s + 1))
    _limit(resource.RLIMIT_NPROC, check.processes)
    if config.level == NONE:
        return
    linux.drop_capabilities()
    linux.forbid_new_privileges()
    writable = [str(workspace), str(temporary), *namespaces.DEVICES]
    if isolated:
        writable.append(namespaces.SHARED_MEMORY)
    if not isolated or landlock.interface_version():
        readable = (*config.read_only, config.code_dir)
        landlock.restrict(read_only=readable, read_write=writable)
    seccomp.restrict(own_namespaces=isolated, own_uid=config.uid is not None)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112 - the candidate may have replaced it with anything
            continue


def _send(fd: int, record: dict[str, object]) -> None:
    data = json.dumps(record).encode()
    while data:
        data = data[os.write(fd, data) :]
