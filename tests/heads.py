"""Ray nodes for tests: each in a process group of its own, with its own ports, on loopback, with a token."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mge_ray.cluster.guard import MARK

RAY = str(Path(sys.executable).with_name("ray"))
OBJECT_STORE_BYTES = 200_000_000
STARTS = 3
PATIENCE_S = 300.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def below(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children = defaultdict(list)
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            children[int((process / "stat").read_text().rpartition(")")[2].split()[1])].append(int(process.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def titled(pids: list[int], title: str) -> list[int]:
    """Return which of the processes have a title, or a program's name, that begins like this."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            program = Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
            if program.startswith(title) or program.rpartition("/")[2].startswith(title):
                found.append(pid)
    return found


@dataclass
class Cluster:
    """A running head; `environment` is what finds it, `dashboard` takes jobs where it was asked for."""

    folder: Path
    address: str
    dashboard: str
    environment: dict[str, str]
    nodes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a node and return once it is up; Ray gives up after 30 s, which a busy machine may need."""
        said: list[str] = []
        for _ in range(STARTS):
            node = self._started(*options)
            for line in node.stdout:
                said.append(line)
                if "--block" in line:
                    self.nodes.append(node)
                    return node
            kill_node(node)
        raise AssertionError("".join(said))

    def _started(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(RAY, "start", "--block", "--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0"),
                *(f"--object-store-memory={OBJECT_STORE_BYTES}", *options),
            ],
            env={name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def add_node(self, cpus: int) -> subprocess.Popen[str]:
        """Start a worker node; it also has the resource `other`, which the head has not."""
        return self.start(f"--address={self.address}", f"--num-cpus={cpus}", '--resources={"other": 1}')

    def coordinators(self) -> list[int]:
        """Return the processes that drive executions on this cluster: one, once there is an engine."""
        return titled([pid for node in self.nodes for pid in below(node.pid)], "ray::ExecutionCoordinator")

    def mge_ray(
        self, folder: Path, *arguments: object, code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `mge-ray ...` in the folder, joining this cluster; it must exit with `code`."""
        done = subprocess.run(
            [sys.executable, "-m", "mge_ray", *map(str, arguments)],
            cwd=folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def ray(self, *arguments: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run `ray ...` against this cluster."""
        return subprocess.run(
            [RAY, *arguments],
            env=self.environment | {"RAY_ADDRESS": self.dashboard},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def kill_node(node: subprocess.Popen[str]) -> None:
    """End a node with all its processes at once; asked politely, it takes its time, and there is nothing to save."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()
    node.stdout.close()


@contextlib.contextmanager
def head(*, cpus: int = 2, dashboard: bool = False, **environment: str) -> Iterator[Cluster]:
    """Start a head node; it and all nodes that joined it are gone after the block."""
    with tempfile.TemporaryDirectory(prefix="mge-ray-test-", ignore_cleanup_errors=True) as name:
        port, dashboard_port = free_port(), free_port()
        cluster = Cluster(
            Path(name),
            f"127.0.0.1:{port}",
            f"http://127.0.0.1:{dashboard_port}",
            {name: value for name, value in os.environ.items() if name != MARK}  # that of a Ray in this very process
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_DEDUP_LOGS": "0",
                "ANTHROPIC_API_KEY": "sk-ant-invented",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # a job's `python` is that of its node
            }
            | environment
            | {"RAY_ADDRESS": f"127.0.0.1:{port}"},
        )
        try:
            cluster.start(
                "--head",
                f"--port={port}",
                f"--num-cpus={cpus}",
                f"--temp-dir={name}/ray",
                f"--include-dashboard={str(dashboard).lower()}",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={dashboard_port}",
                f"--dashboard-agent-listen-port={free_port()}",
            )
            yield cluster
        finally:
            for node in cluster.nodes:
                kill_node(node)


def job_id_of(said: str) -> str:
    """Return the id in what `ray job submit` prints."""
    found = re.search(r"raysubmit_\w+", said)
    assert found, said
    return found.group()
