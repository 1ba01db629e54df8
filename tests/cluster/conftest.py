"""One Ray and one simulated server for all tests of the cluster."""

from __future__ import annotations

import json
import os
import time
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mge_ray.cli.simulate import configuration, server
from mge_ray.cluster.client import EngineClient
from mge_ray.cluster.guard import MARK
from mge_ray.cluster.session import local_session
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig

PATIENCE_S = 90.0


@dataclass
class Engine:
    """A coordinator with its simulated provider and its journal."""

    client: EngineClient
    config: EngineConfig
    url: str
    mark: str

    def settings(self, **overrides: Any) -> ExecutionSettings:
        policy = attempt_policy(self.config, DEFAULT_MODEL, None).model_copy(update={"backoff_base_s": 0.05})
        return ExecutionSettings(simulated=True, **{"policy": policy, "max_concurrency": 10, **overrides})

    def start(self, plan: Masterplan, **overrides: Any) -> uuid.UUID:
        return self.call("start", plan, self.settings(**overrides))

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.client, method)(*arguments)

    def until(self, execution_id: uuid.UUID, condition: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            state = self.call("state", execution_id)
            if condition(state):
                return state
            time.sleep(0.05)
        raise AssertionError(f"it never came: {state}")

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/stats") as answer:  # noqa: S310  # our own server
            return json.load(answer)


@pytest.fixture(scope="session")
def ray_mark():
    with local_session(num_cpus=2) as mark:
        yield mark


@pytest.fixture(scope="session")
def engine(ray_mark, tmp_path_factory):
    from mge_ray.cluster.engine import open_engine  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("engine")
    (folder / "answers.json").write_text(json.dumps(ANSWERS))
    with server(configuration([f"--answers={folder / 'answers.json'}", "--latency=fixed:0.4"])) as url:
        config = EngineConfig(
            engine_id=uuid.uuid4().hex,
            db_url=f"sqlite:///{folder / 'journal.db'}",
            simulated=True,
            base_url=url,
            generate_limit=10,
            driver_pid=os.getpid(),
        )
        yield Engine(open_engine(config), config, url, ray_mark)


def numbered_plan(name: str, count: int, waves: int, *, test_body: str = "") -> Masterplan:
    """Functions f<name>0, f<name>1, ... that return their number; each rests on one of the wave before."""
    ids = [f"{name}{number}" for number in range(count)]
    per_wave = count // waves
    atoms = [
        {
            "id": atom_id,
            "file": "lib/numbers.py",
            "symbol": atom_id,
            "signature": f"def {atom_id}() -> int",
            "depends_on": [ids[number - per_wave]] if number >= per_wave else [],
            "tests": [f"tests/test_numbers.py::test_{atom_id}"],
        }
        for number, atom_id in enumerate(ids)
    ]
    stubs = "\n\n".join(f"def {atom_id}() -> int:\n    raise NotImplementedError\n" for atom_id in ids)
    tests = "\n\n".join(
        f"def test_{atom_id}():\n    {test_body or 'pass'}\n    assert numbers.{atom_id}() == {number}\n"
        for number, atom_id in enumerate(ids)
    )
    files = {
        "lib/__init__.py": "",
        "lib/numbers.py": stubs,
        "tests/test_numbers.py": f"import time\n\nfrom lib import numbers\n\n\n{tests}",
    }
    return Masterplan.model_validate({"name": name, "atoms": atoms, "files": files, "acceptance_tests": ["tests"]})


NAMES = {
    "whole": 6,
    "killed": 24,
    "lost": 6,
    "worker": 2,
    "paused": 12,
    "cancelled": 6,
    "timeout": 1,
    "plain": 4,
    "mended": 1,
    "again": 4,
    "twice": 2,
}
ANSWERS = {
    f"{name}{number}": f"def {name}{number}() -> int:\n    return {number}\n"
    for name, count in NAMES.items()
    for number in range(count)
}
ANSWERS["mended0"] = "def mended0() -> int:\n    return 404\n"


def processes_titled(title: str) -> list[int]:
    """Processes of this process's own Ray whose title starts like this: another Ray of this machine is not ours."""
    mark, titled = f"{MARK}={os.environ[MARK]}".encode(), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                marked = mark in (process / "environ").read_bytes().split(b"\0")
                if marked and (process / "cmdline").read_bytes().startswith(title.encode()):
                    titled.append(int(process.name))
            except OSError:
                continue
    return titled
