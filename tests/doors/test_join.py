"""`mge-ray run` on a cluster that runs already: found by its address, with a Messages server of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mge_ray
from mge_ray.adapters.journal import default_url, list_executions
from mge_ray.cli.simulate import configuration, server
from tests.heads import free_port


def other_code(folder: Path) -> None:
    """Put a newer mge_ray where programs and workers that start in the folder find it first."""
    shutil.copytree(Path(mge_ray.__file__).parent, folder / "mge_ray")
    with (folder / "mge_ray" / "__init__.py").open("a") as module:
        module.write("\n# newer\n")


def test_the_engine_that_a_run_leaves_is_replaced_by_one_of_other_code(starter, cluster):
    """That the same code and settings find it again is shown by `test_limits.py`."""
    engines = []
    with server(configuration([f"--answers={starter / 'answers.json'}", "--latency=fixed:0.2"])) as url:
        for name in ("first", "second"):
            command = ("run", "my-plan/plan.yaml", "--live", "--json", "--no-reuse", "--out", f"out/{name}")
            report = json.loads(cluster.mge_ray(starter.parent, *command, ANTHROPIC_BASE_URL=url).stdout)
            assert (report["status"], report["precision_percent"], report["simulated"]) == ("completed", 100.0, False)
            assert report["acceptance_passed"]
            engines += cluster.coordinators()
            if name == "first":
                other_code(starter.parent)
    assert len(set(engines)) == len(engines) == 2
    assert [execution.status.value for execution in list_executions(default_url(starter.parent))] == ["completed"] * 2
    assert (starter.parent / "out/second/temperatures/core.py").exists()


def test_an_address_where_no_cluster_answers_is_one_line_and_exit_2(starter):
    done = subprocess.run(
        [sys.executable, "-m", "mge_ray", "run", "my-plan/plan.yaml", "--live"],
        cwd=starter.parent,
        env=os.environ | {"RAY_ADDRESS": f"127.0.0.1:{free_port()}", "ANTHROPIC_API_KEY": "sk-ant-invented"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
