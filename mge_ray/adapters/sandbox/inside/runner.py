"""The warm runner: it imported pytest once, forks a supervisor for each check and never runs candidate code itself."""

import gc
import importlib
import importlib.util
import os
import resource
import signal
import socket
import sys
import tempfile
from pathlib import Path

from . import judge, linux, namespaces, pytest_start, supervisor
from .config import FULL, NAMESPACES, NONE, PER_NAMESPACE, PER_USER, READY, CheckConfig, RunnerConfig

_MESSAGE_BYTES = 1 << 16
_OPEN_FILES = 1024
_WARM_MODULES = (
    "asyncio",
    "ctypes",
    "decimal",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "unittest",
    "uuid",
)
_WARM_TEST = """\
import pytest


def test_pass():
    assert "warm"


def test_fail():
    with pytest.raises(AssertionError):
        assert {"a": [1]} == {"a": [2]}
"""


def main() -> None:
    """Isolate, warm up, say so, serve until the host is gone."""
    config = RunnerConfig.from_json(sys.argv[1])
    control = socket.socket(fileno=config.control_fd)
    control.set_inheritable(False)
    _isolate(config)
    sys.path[:] = [entry for entry in sys.path if entry]
    if config.warm:
        _warm_up()
    gc.collect()
    gc.freeze()
    per_namespace = config.level in {FULL, NAMESPACES} and namespaces.counts_processes_per_namespace()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are reaped by the kernel
    control.send(READY + (PER_NAMESPACE if per_namespace else PER_USER))
    while _serve_one(control, config):
        pass


def _isolate(config: RunnerConfig) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, most), most))
    if config.level == NAMESPACES:
        namespaces.enter_runner_view(config)
    elif os.getuid() == 0 and config.uid is not None and config.level != NONE:
        namespaces.drop_uid(config.uid)
    os.umask(0o077)
    os.chdir("/")
    if config.level != FULL:  # bubblewrap's init does it there, and setuid would have cleared it
        linux.die_with_parent(signal.SIGKILL)


def _warm_up() -> None:
    try:
        import pytest  # noqa: PLC0415 - after the uid is dropped, so that a runtime it cannot read shows here
    except ImportError as error:
        raise RuntimeError(f"uid {os.getuid()} cannot import pytest from {sys.prefix}: {error}") from None

    before = sys.path[:], Path.cwd()
    silence = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(1)
    os.dup2(silence, 1)
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder, "test_warm_up_of_the_runner.py")
        test.write_text(_WARM_TEST)
        code = pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder, str(test)])
    sys.stdout.flush()
    os.dup2(kept, 1)
    os.close(kept)
    os.close(silence)
    sys.modules.pop("test_warm_up_of_the_runner", None)
    sys.path[:] = before[0]
    os.chdir(before[1])
    if code != 0:
        raise RuntimeError(f"pytest itself does not run here: exit code {int(code)}")
    pytest_start.prepare()
    needed = set(sys.modules)
    for name in _WARM_MODULES:
        if importlib.util.find_spec(name) is not None:  # tomllib came with Python 3.11
            importlib.import_module(name)
    judge.warmed_modules.update(set(sys.modules) - needed)


def _serve_one(control: socket.socket, config: RunnerConfig) -> bool:
    """Read exactly one message, fork its supervisor and forget it; False when the host closed its end.

    A buffered reader would hold the next request while the previous child is forked: SEQPACKET keeps them apart.
    """
    message, fds, _flags, _address = socket.recv_fds(control, _MESSAGE_BYTES, 2)
    if not message:
        return False
    request_fd, reply_fd = fds
    if os.fork() == 0:
        try:
            control.close()
            supervisor.supervise(config, CheckConfig.from_json(message.decode()), request_fd, reply_fd)
        finally:
            os._exit(0)
    os.close(request_fd)
    os.close(reply_fd)
    return True
