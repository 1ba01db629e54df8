"""`mge-ray run` on a cluster that runs already: a head node and a Messages server of their own, found by address."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mge_ray
from mge_ray.adapters.journal import default_url, list_executions
from mge_ray.cli.simulate import configuration, server
from tests.doors.heads import free_port, head

PATIENCE_S = 150


@pytest.fixture
def cluster():
    """The environment in which a head node is found."""
    with head() as started:
        yield started.environment


def run(folder: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mge_ray", "run", "my-plan/plan.yaml", "--live", "--json", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def other_code(folder: Path) -> None:
    """Put a newer mge_ray where programs and workers that start in the folder find it first."""
    shutil.copytree(Path(mge_ray.__file__).parent, folder / "mge_ray")
    with (folder / "mge_ray" / "__init__.py").open("a") as module:
        module.write("\n# newer\n")


def test_runs_share_a_cluster_s_engine_one_after_the_other(starter, cluster):
    """The first run to end leaves the engine to the next, which brings the same settings; other code replaces it."""
    answers = starter / "answers.json"
    with server(configuration([f"--answers={answers}", "--latency=fixed:0.2"])) as url:
        environment = cluster | {"ANTHROPIC_BASE_URL": url}
        first, second = (run(starter.parent, environment, "--out", f"out/{name}") for name in ("first", "second"))
        other_code(starter.parent)
        third = run(starter.parent, environment, "--out", "out/third")
    for done in (first, second, third):
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert (report["status"], report["precision_percent"], report["simulated"]) == ("completed", 100.0, False)
        assert report["acceptance_passed"]
    assert {execution.status.value for execution in list_executions(default_url(starter.parent))} == {"completed"}
    assert (starter.parent / "out/second/temperatures/core.py").exists()


def test_an_address_where_no_cluster_answers_is_one_line_and_exit_2(starter):
    environment = os.environ | {"RAY_ADDRESS": f"127.0.0.1:{free_port()}", "ANTHROPIC_API_KEY": "sk-ant-invented"}
    done = run(starter.parent, environment)
    assert done.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
