"""The process a Sandbox lives in, as root or as an ordinary user."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mge_ray.adapters.sandbox import SandboxLevel, SandboxRecord, TestOutcome
from mge_ray.adapters.sandbox.inside import landlock
from tests.adapters.sandbox.world import IS_ROOT, NOBODY, REPOSITORY

HERE = Path(__file__).resolve().parent


@dataclass
class Host:
    """A process with a Sandbox in it, under the uid and at the level the test wants."""

    user: str
    level: SandboxLevel
    secret: str
    process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        command = [sys.executable, str(HERE / "host.py"), self.level.name]
        self.process = subprocess.Popen(
            as_user(self.user, command, self.level),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=host_environment(self.secret),
            cwd="/",
        )
        if not self.process.stdout.readline():
            self.kill()
            raise AssertionError(f"no sandbox at {self.level} for {self.user}")

    def send(self, what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def ask(self, what):
        self.send(what)
        return json.loads(self.process.stdout.readline())

    def check(self, files, *tests, limits=None, import_modules=()):
        raw = self.ask({"files": files, "tests": tests, "limits": limits or {}, "import_modules": import_modules})
        outcomes = tuple(TestOutcome(**outcome) for outcome in raw.pop("outcomes"))
        return SandboxRecord(outcomes=outcomes, **raw)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


def needs(level):
    """Skip where the machine, not this package, lacks what the level is made of."""
    if level is SandboxLevel.FULL and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed here")
    if level is SandboxLevel.RESTRICTED:
        # signals and abstract sockets are fenced from version 6 on; root's candidates have a uid of their own
        version = landlock.interface_version()
        if version < (1 if IS_ROOT else 6):
            pytest.skip(f"Landlock offers version {version} here")
    elif subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False).returncode:  # noqa: S607
        pytest.skip("user namespaces with capabilities are not allowed here")


def host_environment(secret):
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANTHROPIC_API_KEY": secret,
        "HOME": "/",
    }


def as_user(user, command, level):
    """Prefix a command so that it runs as root or as an ordinary user.

    A runtime below folders that only root may enter is bound anew, in a mount namespace of the command's own, for the
    ordinary user and for the level at which root gives up its uid without any namespace.
    """
    if not IS_ROOT or (user == "root" and level is not SandboxLevel.RESTRICTED):
        return command
    script = ["set -e"]
    opened = set()
    for path in [Path(p).resolve() for p in (sys.base_prefix, sys.prefix, REPOSITORY)]:
        closed = next((p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH), None)
        if closed is None:
            continue
        assert closed not in opened, f"{closed}, which root alone may enter, holds several parts of the runtime"
        opened.add(closed)
        keep = tempfile.mkdtemp(prefix="mge-keep-")
        script += [f"mount --bind '{path}' '{keep}'", f"mount -t tmpfs -o mode=755 tmpfs '{closed}'"]
        script += [f"mkdir -p '{path}'", f"mount --move '{keep}' '{path}'", f"rmdir '{keep}'"]
    drop = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups " if user == "ordinary" else ""
    script.append(f'exec {drop}"$@"')
    return ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", *command]
