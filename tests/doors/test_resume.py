"""`mge-ray resume` after everything that ran an execution was killed: real Ray, real SDK, a provider with books."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from mge_ray.adapters.journal import default_url, list_executions, load_events
from mge_ray.cli.simulate import configuration, server
from mge_ray.domain.events import GenerationArrived
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.workspace import assemble

PATIENCE_S = 120


def mge_ray(folder: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mge_ray", *arguments],
        cwd=folder,
        env=os.environ | {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-ant-invented"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[int]:
    """Whatever was started below this folder: the program, its guard, its Ray, its workers; but not the provider."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):
                ours = str((process / "cwd").readlink()).startswith(str(folder))
                if ours and b"mge_ray.simulator" not in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
    return found


def kill_everything(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (pids := processes_of(folder)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def answers_in_the_journal(folder: Path) -> list[str]:
    (stored,) = list_executions(default_url(folder))
    events = load_events(default_url(folder), stored.execution_id)
    return [event.atom_id for event in events if isinstance(event, GenerationArrived)]


def until_one_is_bought(folder: Path) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(Exception):
            if bought := answers_in_the_journal(folder):
                return bought
        time.sleep(0.02)
    raise AssertionError("no answer was journalled")


def meanings(files: dict[str, str]) -> dict[str, str]:
    """What the Python files say, however they are written."""
    return {path: ast.dump(ast.parse(text)) for path, text in files.items() if path.endswith(".py")}


def test_a_run_that_was_killed_whole_is_resumed_to_the_same_project_and_buys_no_answer_twice(starter):
    folder = starter.parent
    answers = json.loads((starter / "answers.json").read_text())
    with server(configuration([f"--answers={starter / 'answers.json'}", "--latency=fixed:1"])) as url:
        run = mge_ray(
            folder,
            url,
            "run",
            "my-plan/plan.yaml",
            "--live",
            "--concurrency",
            "1",
            "--out",
            "project",
            "--report",
            "r.json",
        )
        until_one_is_bought(folder)
        kill_everything(folder)
        run.communicate()
        bought = answers_in_the_journal(folder)
        (stored,) = list_executions(default_url(folder))
        assert (stored.status.value, len(bought) < len(answers)) == ("running", True)
        resumed = mge_ray(folder, url, "resume", str(stored.execution_id)[:8])
        said, complained = resumed.communicate(timeout=PATIENCE_S)
        assert resumed.returncode == 0, said + complained
        with urllib.request.urlopen(f"{url}/stats") as found:  # noqa: S310  # our own server
            stats = json.load(found)
    plan = load_plan(starter / "plan.yaml")
    written = {path.relative_to(folder / "project").as_posix(): path for path in (folder / "project").rglob("*.py")}
    project = {path: file.read_text() for path, file in written.items()}
    assert meanings(project) == meanings(assemble(plan, answers))
    report = json.loads((folder / "r.json").read_text())
    assert (report["status"], report["atoms_succeeded"], report["acceptance_passed"]) == ("completed", 3, True)
    billed = {atom_id: of["billed_answers"] for atom_id, of in stats["atoms"].items()}
    assert {billed[atom_id] for atom_id in bought} == {1}
    assert sorted(answers_in_the_journal(folder)) == sorted(answers)
    assert sum(billed.values()) <= report["calls"]["answers"] + report["calls"]["unknown_spend"]
    assert report["calls"]["unknown_spend"] <= 1
    assert "waiting" in said
