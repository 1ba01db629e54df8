"""A stand-in for the host: whatever an attack reads, reaches or breaks is found here."""

import contextlib
import os
import platform
import secrets
import signal
import socket
import subprocess
import sysconfig
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
NOBODY = 65534
IS_ROOT = os.getuid() == 0


class World:
    """Files, ports, sockets and a process that stand for the host's; `damage` is what an attack did to them."""

    def __init__(self):
        self.secret = f"sk-canary-{secrets.token_hex(8)}"
        self.mark = f"mge{secrets.token_hex(4)}"
        self._stack = contextlib.ExitStack()
        self.root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mge-world-")))
        self.root.chmod(0o755)
        for name in ("outside", "home", "home/.ssh", "site", "judge", "mountpoint", "top"):
            (self.root / name).mkdir()
            (self.root / name).chmod(0o777)
        (self.root / "outside/canary").write_text("canary")
        (self.root / "outside/canary").chmod(0o666)
        (self.root / "home/.ssh/id_ed25519").write_text("private")
        (self.root / "judge/judge.py").touch()
        self._tcp = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._udp = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._udp.bind(("127.0.0.1", 0))
        self._abstract = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self._abstract.bind(f"\0{self.secret}")
        self._named = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self._named.bind(str(self.root / "outside/socket"))
        (self.root / "outside/socket").chmod(0o777)
        for listener in (self._abstract, self._named):
            listener.listen()
        for sock in (self._tcp, self._udp, self._abstract, self._named):
            sock.settimeout(0)
        self._victim = self._new_victim()

    def _new_victim(self):
        environment = {**os.environ, "ANTHROPIC_API_KEY": self.secret}
        return subprocess.Popen(["/bin/sleep", "600"], env=environment, user=NOBODY if IS_ROOT else None)

    def values(self, *, control):
        x86 = platform.machine() == "x86_64"
        outside = self.root / "outside"
        return {
            "SECRET": self.secret,
            "MARK": self.mark,
            "HOME": self.root / "home",
            "OUTSIDE": outside,
            "MOUNTPOINT": self.root / "mountpoint",
            "SHADOW": "/etc/shadow" if IS_ROOT else outside / "canary",
            "SITE": self.root / "site" if control else sysconfig.get_paths()["purelib"],
            "JUDGE": self.root / "judge" if control else REPOSITORY / "mge_ray/adapters/sandbox/inside",
            "TOP": self.root / "top" if control else "/",
            "TCP": self._tcp.getsockname()[1],
            "UDP": self._udp.getsockname()[1],
            "ABSTRACT": self.secret,
            "VICTIM": self._victim.pid,
            "ADD_KEY": 248 if x86 else 217,
            "BPF": 321 if x86 else 280,
            "CLONE": 56 if x86 else 220,
        }

    def damage(self):
        """Return what happened since the last call and put it right."""
        found = []
        for name, sock in (("tcp", self._tcp), ("abstract socket", self._abstract), ("named socket", self._named)):
            with contextlib.suppress(BlockingIOError):
                sock.accept()[0].close()
                found.append(f"{name} reached")
        with contextlib.suppress(BlockingIOError):
            self._udp.recv(64)
            found.append("datagram received")
        outside = self.root / "outside"
        if (outside / "canary").read_text() != "canary":
            (outside / "canary").write_text("canary")
            found.append("file overwritten")
        state = (outside / "canary").stat()
        if (state.st_mode & 0o777, state.st_mtime == 1) != (0o666, False):
            (outside / "canary").chmod(0o666)
            os.utime(outside / "canary")
            found.append("metadata changed")
        for extra in (outside / "new", self.root / "home/.bashrc"):
            if extra.exists():
                extra.unlink()
                found.append(f"{extra.name} written")
        if self._victim.poll() is not None:
            self._victim = self._new_victim()
            found.append("process killed")
        if self._victim.poll() is None and os.getpriority(os.PRIO_PROCESS, self._victim.pid) == 19:
            self._victim.kill()
            self._victim.wait()
            self._victim = self._new_victim()
            found.append("process slowed down")
        for pid in self._marked():
            found.append("process left behind")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for left in Path("/dev/shm").glob(f"{self.mark}-*"):  # noqa: S108
            left.unlink()
            found.append("shared memory filled")
        return tuple(found)

    def _marked(self):
        for path in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if path.read_text().strip() == self.mark:
                    yield int(path.parent.name)

    def close(self):
        self._victim.kill()
        self._victim.wait()
        self._stack.close()
