"""Runs that stop at a limit, their own or their tenant's, and go on under another: on a cluster whose engine lives."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mge_ray.adapters.journal import default_url, list_executions, upgrade
from mge_ray.cli.simulate import configuration, server
from mge_ray.pipeline.output_folder import write_project
from mge_ray.pipeline.plan_file import load_plan
from tests.cluster.chaos.books import server_stats
from tests.heads import Cluster

MODEL = "claude-sonnet-5-5"
ONE_CALL = ("--max-tokens", 512, "--price", f"{MODEL}=0/10")
"""A call is at most $0.00512: one fits into the limit below, and no second one beside what the first has cost."""
LIMIT_USD, RAISED_USD = 0.0052, 0.02


@dataclass(frozen=True)
class Limited:
    """The plan's folder, the cluster, and the provider whose books are the truth."""

    cluster: Cluster
    folder: Path
    provider: str

    def told(self, *arguments: object, code: int = 0) -> str:
        """Return what `mge-ray ...` says on the cluster."""
        return self.cluster.mge_ray(self.folder, *arguments, code=code, ANTHROPIC_BASE_URL=self.provider).stdout

    def billed(self) -> tuple[float, int]:
        """Return the provider's dollars and answers."""
        stats = server_stats(self.provider)
        return stats["cost_usd"], stats["billed_answers"]

    def stopped(self) -> str:
        """Return the first characters of the one execution's id."""
        (stored,) = list_executions(default_url(self.folder))
        assert stored.status.value == "paused"
        return str(stored.execution_id)[:8]


@pytest.fixture
def limited(cluster, starter):
    folder = starter.parent
    (folder / "prices.json").write_text(json.dumps({MODEL: [0, 10, 0, 0]}))
    answers = [f"--answers={starter / 'answers.json'}", f"--prices={folder / 'prices.json'}"]
    with server(configuration([*answers, "--latency=fixed:0.2", "--rate-529=0.3", "--seed=2"])) as url:
        yield Limited(cluster, folder, url)


def pytest_in(project: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def expect_a_partial_project(project: Path, plan_file: Path, report: dict[str, Any]) -> None:
    """One atom is there and passes its tests; what is missing says so in the code, in a list and to its tests."""
    listed = (project / "PARTIAL.md").read_text()
    assert "1 of 3 atoms are here" in listed
    assert "| describe | temperatures/core.py, `describe` | not begun |" in listed
    (made,) = [atom["atom_id"] for atom in report["atoms"] if atom["status"] == "succeeded"]
    assert f"- {made}: temperatures/core.py, `{made}`" in listed
    assert 'raise NotImplementedError("describe is not written")' in (project / "temperatures" / "core.py").read_text()
    plan = load_plan(plan_file)
    assert pytest_in(project, *plan.by_id[made].tests).returncode == 0
    assert "NotImplementedError: describe is not written" in pytest_in(project, *plan.by_id["describe"].tests).stdout


def test_a_run_leaves_a_partial_project_at_its_budget_and_the_whole_under_another_and_no_more_is_billed(limited, cli):
    folder, finished = limited.folder, limited.folder / "out" / "temperatures"
    write_project({"kept.py": "# bought before"}, finished)
    reports = ("--report", "r.json", "--report", "r.html")
    said = limited.told("run", "my-plan/plan.yaml", "--live", "--budget", LIMIT_USD, *ONE_CALL, *reports, code=3)
    short = limited.stopped()
    assert "budget: the next call can cost up to" in said
    assert f"mge-ray budget {short} --limit USD --reason TEXT" in said
    assert "(partial: 2 of 3 atoms are missing)" in said
    first_usd, first_answers = limited.billed()
    assert (0 < first_usd <= LIMIT_USD, first_answers) == (True, 1)
    report = json.loads((folder / "r.json").read_text())
    assert (report["partial"], report["status"]) == (True, "paused")
    assert report["total_cost_usd"] == pytest.approx(first_usd)
    assert '"partial":true' in (folder / "r.html").read_text().replace(" ", "")
    assert "partial, 2 missing" in cli("status", short).out
    assert [path.name for path in finished.iterdir() if path.suffix == ".py"] == ["kept.py"]
    expect_a_partial_project(folder / "out" / "temperatures.partial", folder / "my-plan" / "plan.yaml", report)

    raised = cli("budget", short, "--limit", RAISED_USD, "--reason", "the customer agreed")
    assert "limit      $0.0200" in raised.out
    assert limited.billed() == (first_usd, 1)
    limited.told("resume", short)
    whole_usd, whole_answers = limited.billed()
    report = json.loads((folder / "r.json").read_text())
    assert (report["status"], report["atoms_succeeded"], report["acceptance_passed"]) == ("completed", 3, True)
    assert (first_usd < whole_usd <= RAISED_USD, whole_answers) == (True, 3)
    assert report["total_cost_usd"] == pytest.approx(whole_usd)
    assert "NotImplementedError" not in (finished / "temperatures" / "core.py").read_text()


def test_a_tenant_s_run_stops_at_the_tenant_s_limit_and_goes_on_under_another_on_the_same_engine(limited, cli):
    upgrade(default_url(limited.folder))
    assert cli("tenant", "budget", "acme", "--limit", LIMIT_USD, "--reason", "a trial").code == 0
    said = limited.told("run", "my-plan/plan.yaml", "--live", "--tenant", "acme", *ONE_CALL, code=3)
    short, engine = limited.stopped(), limited.cluster.coordinators()
    assert "budget of the tenant: the next call can cost up to" in said
    assert "mge-ray tenant budget acme --limit USD --reason TEXT" in said
    first_usd, first_answers = limited.billed()
    assert (0 < first_usd <= LIMIT_USD, first_answers) == (True, 1)

    raised = cli("tenant", "budget", "acme", "--limit", RAISED_USD, "--reason", "the customer agreed")
    assert "limit      $0.0200" in raised.out
    assert limited.billed() == (first_usd, 1)
    assert "status     completed" in limited.told("resume", short)
    whole_usd, whole_answers = limited.billed()
    assert (first_usd < whole_usd <= RAISED_USD, whole_answers) == (True, 3)
    assert cli("tenant", "show", "acme", "--json").json["spent_usd"] == pytest.approx(whole_usd)
    assert (len(engine), limited.cluster.coordinators()) == (1, engine)
