"""Containment over more than one check: forging, leftovers, death of host or runner, and the choice of the level."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from mge_ray.adapters.sandbox import CheckRequest, Sandbox, SandboxLevel, SandboxUnavailableError
from mge_ray.adapters.sandbox.inside import landlock
from mge_ray.adapters.sandbox.probe import withstands_canaries
from tests.adapters.sandbox.hosts import Host

LEVELS = [SandboxLevel.FULL, SandboxLevel.NAMESPACES, SandboxLevel.RESTRICTED]
FAILING = {"test_f.py": "def test_f():\n    assert 1 == 2\n"}

FORGES_ITSELF = """\
import gc, json, os, sys


def test_forged():
    nonce = None
    frame = sys._getframe()
    while frame is not None:
        check = frame.f_locals.get("check")
        nonce = getattr(check, "nonce", nonce)
        frame = frame.f_back
    outcome = {"node_id": "test_forged.py::test_forged", "outcome": "passed", "message": ""}
    record = json.dumps({"nonce": nonce, "outcomes": [outcome], "note": ""}).encode()
    for fd in range(3, 64):
        try:
            os.write(fd, record)
        except OSError:
            pass
    os._exit(0)
"""

LEAVES_TRACES = """\
import os, pathlib, socket

PLACES = [".", "/tmp", os.environ["TMPDIR"], os.environ["HOME"], "/dev/shm", "/var/tmp", "/", "/dev", "/workspace"]


def test_leave():
    for place in PLACES:
        try:
            pathlib.Path(place, "trace").write_text("left behind")
        except OSError:
            pass
    assert False
"""

LOOKS_FOR_TRACES = """\
import os, pathlib, socket

PLACES = [".", "/tmp", os.environ["TMPDIR"], os.environ["HOME"], "/dev/shm", "/var/tmp", "/", "/dev", "/workspace"]


def test_look():
    places = [*PLACES, *(str(p) for place in PLACES for p in [pathlib.Path(place).parent])]
    for place in places:
        assert not pathlib.Path(place, "trace").exists()
    for folder, _folders, names in os.walk(pathlib.Path.cwd().parents[1] if pathlib.Path.cwd().parents[1:] else "/tmp"):
        assert "trace" not in names
"""

SLEEPS = """\
import ctypes, os, signal, time

libc = ctypes.CDLL(None)


def test_sleep():
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            libc.prctl(1, 0, 0, 0, 0)
            break
    libc.prctl(15, b"@@MARK@@", 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)
"""


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.value)
def test_candidate_can_forge_its_own_verdict_and_no_other(level, user, hosts):
    host = hosts(user, level)
    assert host.check({"test_forged.py": FORGES_ITSELF}, "test_forged.py").status == "ok"  # see docs/threat-model.md
    assert host.check(FAILING, "test_f.py::test_f").status == "failed"


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.value)
def test_check_finds_nothing_of_the_one_before(level, user, hosts):
    host = hosts(user, level)
    host.check({"test_leave.py": LEAVES_TRACES}, "test_leave.py")
    record = host.check({"test_look.py": LOOKS_FOR_TRACES}, "test_look.py")
    assert record.status == "ok", record


LAYERS = """\
import ctypes, os, resource

libc = ctypes.CDLL(None, use_errno=True)


def test_no_new_privileges():
    assert libc.prctl(39, 0, 0, 0, 0) == 1


def test_seccomp_filter():
    assert libc.prctl(21, 0, 0, 0, 0) == 2


def test_no_capability():
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    assert not any(data)
    assert not any(libc.prctl(23, number, 0, 0, 0) == 1 for number in range(64)) or not @@NAMESPACES@@


def test_landlock():
    try:
        os.listdir("/")  # readable to everyone by its mode
    except PermissionError:
        return
    assert not @@LANDLOCK@@


def test_namespaces():
    if @@NAMESPACES@@:
        assert (os.getpid(), os.getppid()) == (1, 0)
        assert not os.path.exists("/proc/1")


def test_limits():
    assert resource.getrlimit(resource.RLIMIT_AS) == (1 << 30, 1 << 30)
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (128, 128)
    assert resource.getrlimit(resource.RLIMIT_NPROC)[1] != resource.RLIM_INFINITY


def test_nobody():
    assert os.getuid() == os.geteuid() != 0
    assert os.getgroups() in ([], [os.getgid()], [65534])


def test_no_descriptor_but_the_verdict():
    found = []
    for fd in range(5, 1024):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    assert found == []
"""


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.value)
def test_every_layer_is_on(level, user, hosts):
    text = LAYERS.replace("@@NAMESPACES@@", str(level is not SandboxLevel.RESTRICTED))
    text = text.replace("@@LANDLOCK@@", str(landlock.interface_version() > 0))
    record = hosts(user, level).check({"test_layers.py": text}, "test_layers.py")
    assert record.status == "ok", [outcome for outcome in record.outcomes if outcome.outcome != "passed"]


def marked(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == mark:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def wait_until(condition, timeout_s=15.0):
    until = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.value)
def test_everything_below_dies_with_the_host(level, user, hosts, world):
    hosts(user, level)  # skips where the level cannot be had
    host = Host(user, level, world.secret)
    mark = f"{world.mark[:8]}{level.value[:3]}"
    host.send({"files": {"test_s.py": SLEEPS.replace("@@MARK@@", mark)}, "tests": ["test_s.py"]})
    assert wait_until(lambda: len(marked(mark)) >= 4)
    host.kill()
    assert wait_until(lambda: not marked(mark))
    for left in Path(tempfile.gettempdir()).glob(f"mge-sandbox-{host.process.pid}-*"):
        shutil.rmtree(left)  # an empty folder is all that stays


def test_sandbox_goes_on_after_its_runner_was_killed():
    with Sandbox() as sandbox:
        before = set(children())
        sandbox.start()
        (runner,) = set(children()) - before
        os.kill(runner, signal.SIGKILL)
        assert sandbox.check(CheckRequest(FAILING, ("test_f.py",))).status == "failed"


def children():
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            yield int(path.parent.name)


def test_strongest_level_is_found_by_attack(user, hosts):
    assert hosts(user).ask("probe") == {"level": "FULL"}


def test_level_without_isolation_does_not_withstand_the_canaries():
    with Sandbox(SandboxLevel.NONE) as sandbox:
        assert not withstands_canaries(sandbox)


def test_only_bubblewrap_is_full():
    assert [level for level in SandboxLevel if level.is_full] == [SandboxLevel.FULL]


def test_machine_without_any_isolation_is_refused(monkeypatch):
    monkeypatch.setattr("mge_ray.adapters.sandbox.probe.probe_level", lambda python: SandboxLevel.NONE)
    with pytest.raises(SandboxUnavailableError, match=r"SandboxLevel\.NONE by name"):
        Sandbox()
