"""`mge-ray run` as a program of its own: real Ray, real SDK, simulated server, real sandbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mge_ray.adapters.journal import default_url, list_executions
from tests.collector import Collector, attributes, collecting, paths

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


def expect_the_traces_of(report: dict[str, Any], collector: Collector) -> None:
    """Look for a span of each thing that the report counts, below what it belongs to, and what calls say of themselves.

    A call that failed without an answer has a span of its own too; the collector got it all before the program ended.
    """
    spans, seen = collector.spans, paths(collector.spans)
    assert {span.trace_id for span in spans} == {UUID(report["execution_id"]).bytes}
    assert (collector.services, seen["execution",]) == ({"mge-ray"}, 1)
    attempts: Counter[tuple[str, ...]] = Counter()
    for atom in report["atoms"]:
        above = ("execution", f"wave {atom['wave_id']}", f"atom {atom['atom_id']}")
        assert (seen[above[:2]], seen[above]) == (1, 1)
        attempts += Counter({(*above, f"attempt {number + 1}"): 1 for number in range(len(atom["attempts"]))})
    assert Counter({path: count for path, count in seen.items() if path[-1].startswith("attempt")}) == attempts
    assert {path: seen[(*path, "check")] for path in attempts} == dict(attempts)
    calls = [attributes(span) for span in spans if span.name.startswith("chat ")]
    answered = [call for call in calls if "error.type" not in call]
    assert len(answered) == report["calls"]["answers"]
    assert len(calls) - len(answered) == report["calls"]["not_billed"] > 0
    assert {(call["gen_ai.operation.name"], call["gen_ai.provider.name"]) for call in calls} == {("chat", "anthropic")}
    assert sum(call["gen_ai.usage.output_tokens"] for call in answered) == report["tokens"]["output"]
    assert all(call["gen_ai.response.model"] == call["gen_ai.request.model"] for call in answered)


def test_a_run_writes_a_project_whose_tests_pass_a_report_and_traces_and_leaves_no_process(starter):
    folder = starter.parent
    reports = ("--report", "reports/run.json", "--report", "reports/run.html")
    with collecting() as collector:
        faults = ("--fault", "wrong=0.4", "--fault", "429=0.2", "--seed", "3")
        process = run(folder, *faults, *reports, env=os.environ | collector.environment)
        said = finish(process)
    assert process.returncode == 0, said
    report = json.loads((folder / "reports" / "run.json").read_text())
    expect_the_traces_of(report, collector)
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


def test_atoms_that_fail_end_in_exit_1_and_a_partial_project(starter, cluster):
    answers = json.loads((starter / "answers.json").read_text())
    answers["to_celsius"] = "def to_celsius(value: float, unit: str) -> float:\n    return 0.0\n"
    (starter / "answers.json").write_text(json.dumps(answers))
    ran = cluster.mge_ray(starter.parent, "run", "my-plan/plan.yaml", "--simulate", "--json", code=1)
    report = json.loads(ran.stdout)
    status = {atom["atom_id"]: atom["status"] for atom in report["atoms"]}
    assert status == {"parse": "succeeded", "to_celsius": "failed", "describe": "blocked"}
    assert len(next(atom for atom in report["atoms"] if atom["atom_id"] == "to_celsius")["attempts"]) == 4
    assert "raise NotImplementedError" in (starter.parent / "out/temperatures/temperatures/core.py").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_state_and_leaves_no_process(starter, number):
    folder = starter.parent
    process = run(folder, "--latency", "fixed:2")
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
