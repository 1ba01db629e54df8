"""The warm runner: it imported pytest once, forks a supervisor for each check and never runs candidate code itself."""

import contextlib
import gc
import importlib
import importlib.util
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import judge, linux, namespaces, supervisor
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
_PLAIN_TEST = """\
import pytest


def test_pass():
    assert "warm"


def test_fail():
    with pytest.raises(AssertionError):
        assert {"a": [1]} == {"a": [2]}
"""
_FULL_TEST = """\
import unittest
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Point:
    x: int


@pytest.fixture
def point():
    yield Point(1)


class TestPoint:
    @pytest.mark.parametrize(("x", "same"), [(1, True), (2, False)])
    def test_equal(self, point, x, same):
        assert (point == Point(x)) is same

    def test_tools(self, monkeypatch, capsys, caplog):
        with pytest.raises(ValueError, match="^invalid literal"):
            int("x")

    def test_shown(self, point):
        assert point == Point(2)


class TestUnit(unittest.TestCase):
    def test_unit(self):
        self.assertEqual(1, 1)
"""
_FULL_FILES = {"pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n", "tests/test_full.py": _FULL_TEST}


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
        from . import warm_pytest  # noqa: PLC0415 - after the uid is dropped, so that a runtime it cannot read shows here
    except ImportError as error:
        raise RuntimeError(f"uid {os.getuid()} cannot import pytest from {sys.prefix}: {error}") from None

    before = sys.path[:], sys.argv[:], Path.cwd()
    observer = warm_pytest.Observer()
    with _silence():
        _rehearse({"test_plain.py": _PLAIN_TEST}, "test_plain.py", ["passed"] * 2)
        needed = set(sys.modules)
        expected = ["passed"] * 3 + ["failed", "passed"]
        _rehearse(_FULL_FILES, "tests/test_full.py", expected, observer)
    for name in ("test_plain", "test_full"):
        sys.modules.pop(name, None)
    sys.path[:], sys.argv[:] = before[:2]
    os.chdir(before[2])
    for name in _WARM_MODULES:
        if importlib.util.find_spec(name) is not None:  # tomllib came with Python 3.11
            importlib.import_module(name)
    judge.warmed_modules.update(set(sys.modules) - needed)
    warm_pytest.prepare(observer)


def _rehearse(files: dict[str, str], test: str, expected: list[str], *plugins: object) -> None:
    """Judge a workspace of our own, so that what pytest loads late and remembers is there before the fork."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        record = judge.judge({"files": files, "tests": [test], "import_modules": []}, Path(folder), plugins)
        os.chdir("/")
    outcomes = [outcome["outcome"] for outcome in record["outcomes"]]
    if outcomes != expected:
        raise RuntimeError(f"pytest itself does not run here: {record}")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    silence, kept = os.open(os.devnull, os.O_WRONLY), os.dup(1)
    os.dup2(silence, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(silence)


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
