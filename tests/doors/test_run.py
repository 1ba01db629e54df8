"""`mge-ray run` as a program of its own: real Ray, real SDK, simulated server, real sandbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mge_ray.adapters.journal import default_url, list_executions
from mge_ray.pipeline.output_folder import write_project
from mge_ray.pipeline.plan_file import load_plan

PATIENCE_S = 120


def run(folder: Path, *arguments: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mge_ray", "run", "my-plan/plan.yaml", "--simulate", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=PATIENCE_S)[0]


def read_until(process: subprocess.Popen[str], words: str) -> None:
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said")


def processes_of(folder: str) -> list[str]:
    """Processes that were started below this folder, whatever they call themselves now."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if str((process / "cwd").readlink()).startswith(folder):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
            except OSError:
                continue
    return found


def gone(folder: Path) -> list[str]:
    """Wait until nothing of the run is left; return what is after all."""
    deadline = time.monotonic() + 20
    while (left := processes_of(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def test_a_run_writes_a_project_whose_tests_pass_and_a_report(starter):
    folder = starter.parent
    reports = ("--report", "reports/run.json", "--report", "reports/run.html")
    process = run(folder, "--fault", "wrong=0.4", "--fault", "429=0.2", "--seed", "3", *reports)
    said = finish(process)
    assert process.returncode == 0, said
    report = json.loads((folder / "reports" / "run.json").read_text())
    assert (report["status"], report["precision_percent"], report["simulated"]) == ("completed", 100.0, True)
    assert [row["figure"] for row in report["forecast"]["rows"]][:1] == ["Calls"]
    assert all(row["actual"] is not None for row in report["forecast"]["rows"])
    assert report["tokens"]["output"] > 0
    assert report["execution_id"] in (folder / "reports" / "run.html").read_text()
    assert report["attempts"] == sum(len(atom["attempts"]) for atom in report["atoms"])
    needed = {
        "execution_id",
        "atoms_total",
        "atoms_succeeded",
        "atoms_failed",
        "atoms_blocked",
        "attempts",
        "retry_rate",
    }
    assert needed | {"precision_percent", "total_cost_usd", "total_time_seconds", "waves", "atoms"} <= set(report)
    assert "out/temperatures" in said
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder / "out" / "temperatures", capture_output=True, check=False
    )
    assert done.returncode == 0
    assert gone(folder) == []
    assert not list(Path("/tmp").glob(f"mge-ray-*/{process.pid}"))  # noqa: S108  # where Ray's folder would be


def test_atoms_that_fail_end_in_exit_1_and_a_partial_project(starter):
    answers = json.loads((starter / "answers.json").read_text())
    answers["to_celsius"] = "def to_celsius(value: float, unit: str) -> float:\n    return 0.0\n"
    (starter / "answers.json").write_text(json.dumps(answers))
    process = run(starter.parent, "--json")
    out = finish(process)
    report = json.loads(out[out.index("{") :])
    assert process.returncode == 1
    status = {atom["atom_id"]: atom["status"] for atom in report["atoms"]}
    assert status == {"parse": "succeeded", "to_celsius": "failed", "describe": "blocked"}
    assert len(next(atom for atom in report["atoms"] if atom["atom_id"] == "to_celsius")["attempts"]) == 4
    assert "raise NotImplementedError" in (starter.parent / "out/temperatures/temperatures/core.py").read_text()


def pytest_in(project: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_a_budget_that_is_too_small_leaves_a_partial_project_that_says_so(starter, cli):
    finished = starter.parent / "out" / "temperatures"
    write_project({"kept.py": "# bought before"}, finished)
    reports = ("--report", "run.json", "--report", "run.html")
    small = ("--budget", "0.0052", "--max-tokens", "512", "--price", "claude-sonnet-5-5=0/10")  # a call is $0.00512
    process = run(starter.parent, *small, *reports)
    said = finish(process)
    assert [path.name for path in finished.iterdir() if path.suffix == ".py"] == ["kept.py"]
    assert process.returncode == 3, said
    assert "budget: the next call can cost up to" in said
    assert "partial: 2 of 3 atoms are missing" in said

    project = starter.parent / "out" / "temperatures.partial"
    listed = (project / "PARTIAL.md").read_text()
    assert "1 of 3 atoms are here" in listed
    assert "| describe | temperatures/core.py, `describe` | not begun |" in listed
    assert "- parse: temperatures/core.py, `parse`" in listed
    assert 'raise NotImplementedError("describe is not written")' in (project / "temperatures" / "core.py").read_text()
    plan = load_plan(starter / "plan.yaml")
    assert pytest_in(project, *plan.by_id["parse"].tests).returncode == 0
    assert "NotImplementedError: describe is not written" in pytest_in(project, *plan.by_id["describe"].tests).stdout

    report = json.loads((starter.parent / "run.json").read_text())
    assert (report["partial"], report["status"]) == (True, "paused")
    assert '"partial":true' in (starter.parent / "run.html").read_text().replace(" ", "")
    assert "partial, 2 missing" in cli("status", report["execution_id"]).out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_state_and_leaves_no_process(starter, number):
    folder = starter.parent
    process = run(folder, "--latency", "fixed:3")
    read_until(process, "in flight")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal tells the whole group
    else:
        os.kill(process.pid, number)
    said = finish(process)
    assert process.returncode == 3, said
    assert gone(folder) == []
    (stored,) = list_executions(default_url(folder))
    assert (stored.status.value, stored.reason) == ("paused", "interrupted")


def test_a_killed_driver_stops_the_buying_and_leaves_no_process(starter):
    folder = starter.parent
    process = run(folder, "--latency", "fixed:3")
    read_until(process, "in flight")
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(folder) == []
    (stored,) = list_executions(default_url(folder))
    assert stored.status.value == "paused"
    assert "driver" in stored.reason
