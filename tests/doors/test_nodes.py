"""A run on several nodes, one of which is killed in the middle, with its gateway and its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mge_ray.adapters.journal import default_url, list_executions, load_events
from mge_ray.cli.simulate import configuration, server
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.events import GenerationArrived, GenerationFailed, LeaseGranted
from mge_ray.domain.generation import FailureKind
from tests.cluster.chaos.books import server_stats
from tests.cluster.conftest import numbered_plan
from tests.heads import Cluster, below, head, titled

PATIENCE_S = 300
ATOMS = 36
QUICK_TO_NOTICE = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "10"}


def events_of(folder: Path) -> list:
    try:
        found = list_executions(default_url(folder))
    except MgeRayError:  # there is no journal yet
        return []
    return load_events(default_url(folder), found[0].execution_id) if found else []


def arrived(events: list) -> Counter[str]:
    return Counter(event.atom_id for event in events if isinstance(event, GenerationArrived))


def until_bought(folder: Path, answers: int, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while arrived(events_of(folder)).total() < answers:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lost_with(events: list) -> list[tuple[str, str]]:
    """Return the atom of each call that was lost, and the gateway that it was lost with."""
    asked, lost = {}, []
    for event in events:
        if isinstance(event, LeaseGranted) and event.gateway:
            asked[event.atom_id] = event.gateway
        elif isinstance(event, GenerationFailed) and event.failure.kind is FailureKind.GATEWAY_LOST:
            lost.append((event.atom_id, asked[event.atom_id]))
    return lost


@dataclass(frozen=True)
class Ran:
    """A run that ended, on a cluster that still runs without the node that was killed."""

    cluster: Cluster
    folder: Path
    code: int
    said: str
    complained: str
    stats: dict[str, Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run on a head and two nodes, of which one that had a gateway was killed with everything on it."""
    folder = tmp_path_factory.mktemp("nodes")
    plan = numbered_plan("many", ATOMS, 2)
    answers = {atom.id: f"def {atom.id}() -> int:\n    return {number}\n" for number, atom in enumerate(plan.atoms)}
    (folder / "plan.json").write_text(plan.model_dump_json())
    (folder / "answers.json").write_text(json.dumps(answers))
    simulated = configuration([f"--answers={folder / 'answers.json'}", "--latency=lognormal:1:0.5", "--seed=7"])
    with server(simulated) as url, head(cpus=1, **QUICK_TO_NOTICE, ANTHROPIC_BASE_URL=url) as cluster:
        others = [cluster.add_node(1), cluster.add_node(1)]  # at once, one fails, and is started again
        command = ("run", "plan.json", "--live", "--json", "--concurrency=150", "--no-reuse")
        run = subprocess.Popen(
            [sys.executable, "-m", "mge_ray", *command],
            cwd=folder,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until_bought(folder, 3, run)
        doomed = next(node for node in others if titled(below(node.pid), "ray::LLMGateway"))
        for pid in below(doomed.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        said, complained = run.communicate(timeout=PATIENCE_S)
        yield Ran(cluster, folder, run.returncode, said, complained, server_stats(url))


def test_a_node_that_is_killed_costs_at_most_what_was_in_flight_at_its_gateway(ran):
    """Gateways are spread, so the node had one; its calls are unknown spend and made again, its checks run again."""
    assert ran.code == 0, ran.said + ran.complained
    report, events = json.loads(ran.said), events_of(ran.folder)
    assert (report["status"], report["atoms_succeeded"], report["acceptance_passed"]) == ("completed", ATOMS, True)
    lost = lost_with(events)
    assert lost
    assert len(set(lost)) == len(lost)  # each gateway loses a call once; a busy machine may take a second one by itself
    assert report["calls"]["unknown_spend"] == len(lost)
    sold = Counter({atom_id: of["billed_answers"] for atom_id, of in ran.stats["atoms"].items()})
    bought_again = sold - arrived(events)
    assert bought_again <= Counter(atom_id for atom_id, _ in lost)


def test_a_program_on_another_node_than_the_journal_s_file_is_refused(ran):
    """The same path names another file there."""
    script = (
        "import ray\n"
        "from mge_ray.cluster.engine import open_engine\n"
        "from mge_ray.cluster.session import joined_session\n"
        f"with joined_session({ran.cluster.address!r}):\n"
        "    running = ray.get(ray.get_actor('execution_coordinator').config.remote())\n"
        "    open_engine(running)\n"
        "    print('taken')\n"
        "    ray.get(ray.remote(open_engine).options(resources={'other': 1}).remote(running))\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script],
        env=ran.cluster.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert asked.stdout == "taken\n", asked.stderr
    assert f"in the file {ran.folder}/.mge/journal.db of another node" in asked.stderr
