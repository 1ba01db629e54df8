"""Runs of the whole program: `mge-ray run`, killed in the middle, and `mge-ray resume`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from mge_ray.adapters.journal import default_url, list_executions, load_events
from mge_ray.cli.exits import STOPPED_EARLY
from mge_ray.cli.simulate import server
from mge_ray.domain.events import GenerationArrived
from tests.cluster.chaos.books import Books, examine, server_stats
from tests.cluster.chaos.kinds import Kind, Outcome
from tests.cluster.chaos.setting import Setting, simulator

PATIENCE_S = 120.0


def run_whole(kind: Kind, number: int, setting: Setting, rng: random.Random, *, folder: Path, seed: int) -> Outcome:
    """Run, kill what `kind.whole` names once some answers are journalled, resume, and compare."""
    began = time.monotonic()
    folder.mkdir()
    (folder / "plan.json").write_text(setting.plan.model_dump_json())
    with server(simulator(folder, seed, [setting])) as url:
        run = _mge_ray(folder, url, "run", "plan.json", "--live", "--concurrency", "12", "--budget", "5")
        try:
            _until_bought(folder, rng.randint(1, len(setting.codes) // 2))
            time.sleep(rng.uniform(0, 0.5))
            _kill(kind.whole, folder, run.pid)
            _, last_words = run.communicate(timeout=PATIENCE_S)
            _until_gone(folder)
            (stored,) = list_executions(default_url(folder))
            problems = []
            if kind.whole == "ray" and (run.returncode != STOPPED_EARLY or "mge-ray resume ID" not in last_words):
                problems.append(f"the driver left with {run.returncode}: {last_words[-300:]!r}")
            if not stored.status.ended:
                resumed = _mge_ray(folder, url, "resume", str(stored.execution_id))
                said, complained = resumed.communicate(timeout=PATIENCE_S)
                if resumed.returncode != 0:
                    problems.append(f"resume exits {resumed.returncode}: {(complained or said)[-300:]!r}")
        finally:
            _kill("everything", folder, run.pid)
        books = examine(
            default_url(folder), stored.execution_id, setting, server_stats(url), gateway_killed=True, live=None
        )
    books = Books(books.bought_again, books.lost_calls, books.overspend_usd, (*problems, *books.problems))
    return Outcome(kind, number, books, time.monotonic() - began)


def _mge_ray(folder: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mge_ray", *arguments],
        cwd=folder,
        env=os.environ | {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-ant-invented"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _until_bought(folder: Path, answers: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(Exception):
            (stored,) = list_executions(default_url(folder))
            events = load_events(default_url(folder), stored.execution_id)
            if sum(isinstance(event, GenerationArrived) for event in events) >= answers:
                return
        time.sleep(0.02)
    raise AssertionError("no answer was journalled")


def _kill(what: str, folder: Path, driver: int) -> None:
    """Kill the driver; all processes that Ray started for it; or whatever was started below the folder."""
    if what == "driver":
        os.kill(driver, signal.SIGKILL)
        return
    deadline = time.monotonic() + PATIENCE_S
    spared = {driver} if what == "ray" else set()
    while (pids := [pid for pid in _below(folder, guard=what != "ray") if pid not in spared]) and (
        time.monotonic() < deadline
    ):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _below(folder: Path, *, guard: bool) -> list[int]:
    """Whatever was started below this folder: the program, its guard, its Ray, its workers; but not the provider."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                ours = str((process / "cwd").readlink()).startswith(str(folder))
                line = (process / "cmdline").read_bytes()
                if ours and b"mge_ray.simulator" not in line and (guard or b"guard.py" not in line):
                    found.append(int(process.name))
    return found


def _until_gone(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while _below(folder, guard=True) and time.monotonic() < deadline:
        time.sleep(0.1)
