"""An engine with a name goes on by itself after all of its Ray was killed: real Ray, twice, a provider with books."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path

from mge_ray.adapters.journal import list_executions, load_events, load_execution
from mge_ray.cli.simulate import configuration, server
from mge_ray.domain.events import GenerationArrived
from tests.cluster.conftest import ANSWERS, numbered_plan

PATIENCE_S = 120
ATOMS = 4
FIRST = uuid.UUID(int=0xABCD << 100)


def life(folder: Path, url: str, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.one_life", str(folder), what, str(FIRST)],
        env=os.environ | {"SIMULATOR": url, "ANTHROPIC_API_KEY": "sk-ant-invented", "ONE_LIFE": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[int]:
    """Whatever has the mark of this test in its environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if f"ONE_LIFE={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


def kill_everything(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (pids := processes_of(folder)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def bought(url: str) -> int:
    with suppress(Exception):
        return sum(isinstance(event, GenerationArrived) for event in load_events(url, FIRST))
    return 0


def test_a_named_engine_goes_on_by_itself_on_a_new_cluster(tmp_path):
    plan = numbered_plan("paused", ATOMS, 2)
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    db = f"sqlite:///{tmp_path / 'journal.db'}"
    with server(configuration([f"--answers={tmp_path / 'answers.json'}", "--latency=fixed:0.4"])) as url:
        try:
            first_life = life(tmp_path, url, "start")
            deadline = time.monotonic() + PATIENCE_S
            while not bought(db) and time.monotonic() < deadline:
                time.sleep(0.05)
            kill_everything(tmp_path)
            first_life.wait()
            first_life.stdout.close()
            assert not load_execution(db, FIRST).status.ended
            epochs = {one.execution_id: one.epoch for one in list_executions(db)}
            second_life = life(tmp_path, url, "stay")
            said, _ = second_life.communicate(timeout=PATIENCE_S)
        finally:
            kill_everything(tmp_path)
        with urllib.request.urlopen(f"{url}/stats") as answer:  # noqa: S310  # our own server
            billed = json.load(answer)["atoms"]
    second = uuid.UUID(int=FIRST.int ^ 1)
    told = json.loads(said)
    assert "that of the service 'a name of its own' and has other settings (generate_limit)" in told.pop("a job")
    assert told == {str(FIRST): "completed", str(second): "paused", "resumed": "completed"}
    assert all(one.epoch > epochs[one.execution_id] for one in list_executions(db))
    assert sum(of["billed_answers"] for of in billed.values()) <= 2 * ATOMS + 2  # what was in flight at the two deaths
