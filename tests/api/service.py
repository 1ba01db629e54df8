"""A service in a process of its own, with all that a test asks of it: clients by role, plans, streams, books."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from mge_ray.adapters.journal import upgrade
from mge_ray.adapters.journal.tokens import create_token
from mge_ray.domain.access import Role
from tests.heads import below, free_port, titled

API = "/api/v2/execution"
PATIENCE_S = 90.0
WRONG = "wrong"


def answers() -> dict[str, str]:
    """Return what the simulated model knows: numbered functions, wrong ones where the name says so, the example."""
    known = {
        "double": "def double(amount: int) -> int:\n    return 2 * amount\n",
        "total": "def total(amounts: list[int]) -> int:\n    return sum(double(one) for one in amounts)\n",
    }
    for name in ("plain", "slow", "killed", "paged", "left", WRONG):
        for number in range(40):
            value = 404 if name == WRONG else number
            known[f"{name}{number}"] = f"def {name}{number}() -> int:\n    return {value}\n"
    return known


def numbered(name: str, count: int, waves: int = 1, **settings: Any) -> dict[str, Any]:
    """Return a start's body: functions that return their number, each resting on one of the wave before."""
    ids = [f"{name}{number}" for number in range(count)]
    per_wave = count // waves
    atoms = {
        atom_id: {
            "file": "lib/numbers.py",
            "symbol": atom_id,
            "signature": f"def {atom_id}() -> int",
            "depends_on": [ids[number - per_wave]] if number >= per_wave else [],
            "tests": [f"tests/test_numbers.py::test_{atom_id}"],
        }
        for number, atom_id in enumerate(ids)
    }
    stubs = "\n\n".join(f"def {atom_id}() -> int:\n    raise NotImplementedError\n" for atom_id in ids)
    tests = "\n\n".join(
        f"def test_{atom_id}():\n    assert numbers.{atom_id}() == {number}\n" for number, atom_id in enumerate(ids)
    )
    return {
        "name": name,
        "atoms": atoms,
        "files": {
            "lib/__init__.py": "",
            "lib/numbers.py": stubs,
            "tests/test_numbers.py": f"from lib import numbers\n\n\n{tests}",
        },
        "settings": {"reuse": False, "max_concurrency": 10, **settings},
    }


def execution_plan(body: dict[str, Any], waves: int) -> list[dict[str, Any]]:
    """Return the waves of a numbered plan as a client may write them."""
    ids = list(body["atoms"])
    each = len(ids) // waves
    return [{"wave_id": n + 1, "atom_ids": ids[n * each : (n + 1) * each]} for n in range(waves)]


@dataclass
class Service:
    """Where it is, and tokens by (tenant, role)."""

    url: str
    pid: int
    db: str
    books_url: str
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    _clients: list[httpx2.Client] = field(default_factory=list)

    def token(self, tenant: str = "north", role: str = "admin", **options: Any) -> str:
        """Return a token; without options, the same for the same tenant and role."""
        if options:
            return create_token(self.db, tenant=tenant, role=Role(role), by="a test", **options)[0]
        if (tenant, role) not in self._tokens:
            self._tokens[tenant, role] = create_token(self.db, tenant=tenant, role=Role(role), by="a test")[0]
        return self._tokens[tenant, role]

    def client(self, tenant: str = "north", role: str = "admin", *, token: str | None = None) -> httpx2.Client:
        """Return a client of a tenant."""
        client = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token or self.token(tenant, role)}"}, timeout=60
        )
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def books(self) -> dict[str, Any]:
        """Return the simulated provider's own books."""
        answer = httpx2.get(self.books_url)
        return answer.json()

    def bought(self, name: str) -> dict[str, int]:
        """Return the billed answers of each atom of a numbered plan."""
        return {one: of["billed_answers"] for one, of in self.books()["atoms"].items() if one.startswith(name)}

    def coordinator(self) -> int:
        """Return the process that drives this service's executions."""
        (mine,) = self.processes("ray::ExecutionCoordinator")
        return mine

    def processes(self, title: str) -> list[int]:
        """Return this service's processes with a title or program that begins so, and no other Ray's."""
        return titled(below(self.pid), title)


def listening(pid: int) -> set[str]:
    """Return the IPv4 and IPv6 addresses, in the kernel's hexadecimal, at which a process listens."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(str(link.readlink()))
    rows = [row.split() for kind in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}


def started(client: httpx2.Client, body: dict[str, Any], **headers: str) -> str:
    """Start an execution; return its id."""
    answer = client.post(f"{API}/start", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["execution_id"]


def until(client: httpx2.Client, execution_id: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the first status that fits; while the engine restarts, ask again."""
    deadline = time.monotonic() + PATIENCE_S
    seen: Any = None
    while time.monotonic() < deadline:
        answer = client.get(f"{API}/{execution_id}")
        if answer.status_code == 200:
            seen = answer.json()
            if condition(seen):
                return seen
        else:
            assert answer.status_code == 503, answer.text
        time.sleep(0.05)
    raise AssertionError(f"it never came: {seen}")


def ended(state: dict[str, Any]) -> bool:
    return state["status"] in {"completed", "failed", "cancelled"}


@dataclass(frozen=True)
class Frame:
    """One server-sent event; `number` is its id, if it has one."""

    number: int | None
    kind: str
    data: dict[str, Any]


def stream(client: httpx2.Client, execution_id: str, last: int | None = None, **query: int) -> Iterator[Frame]:
    """Yield the frames of a stream of events until it ends."""
    headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": str(last)})
    path = f"{API}/{execution_id}/events"
    with client.stream("GET", path, headers=headers, params=query) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        number, kind = None, "message"
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                number = int(value)
            elif name == "event":
                kind = value
            elif name == "data":
                yield Frame(number, kind, json.loads(value))
                number, kind = None, "message"


@dataclass(frozen=True)
class Program:
    """`mge-ray serve` as it runs."""

    url: str
    pid: int
    books_url: str


@contextlib.contextmanager
def serve_program(folder: Path, *options: str) -> Iterator[Program]:
    """Run `mge-ray serve` with the simulated server in the folder, in a process group of its own."""
    port, log = free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "mge_ray", "serve", "--simulate", f"--port={port}", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, start_new_session=True)
    try:
        yield Program(f"http://127.0.0.1:{port}", process.pid, _books(process, log))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def serving(folder: Path, *options: str, latency: str = "fixed:0.4") -> Iterator[Service]:
    """Run a service that knows `answers`, with tokens made for whoever asks for one here."""
    (folder / "answers.json").write_text(json.dumps(answers()))
    db = f"sqlite:///{folder / 'journal.db'}"
    upgrade(db)
    service = Service("", 0, db, "")
    service.token()  # so that none has to be made for a first caller
    known = (f"--db={folder / 'journal.db'}", f"--answers={folder / 'answers.json'}", f"--latency={latency}")
    with serve_program(folder, *known, *options) as program:
        service.url, service.pid, service.books_url = program.url, program.pid, program.books_url
        try:
            yield service
        finally:
            service.close()


def _books(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text()
        if "sandbox  " in text:  # the last of what it says
            return text.partition("its books are at ")[2].split()[0]
        time.sleep(0.1)
    raise AssertionError(f"the service did not begin: {log.read_text()[-2_000:]}")
