"""`ray job submit`: through Ray's own command line, and what outlives the job."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from mge_ray.adapters.journal import default_url, list_executions, load_events, load_execution
from mge_ray.cli.simulate import configuration, server
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.events import GenerationArrived
from mge_ray.domain.state import ExecutionStatus
from tests.cluster.chaos.books import server_stats
from tests.heads import PATIENCE_S, job_id_of

RUN = ("python", "-m", "mge_ray", "run", "my-plan/plan.yaml")


@pytest.fixture
def home(cluster):
    """The home folder of the cluster's user: what outlives a job."""
    return Path(cluster.environment["HOME"])


@pytest.fixture
def provider(starter):
    with server(configuration([f"--answers={starter / 'answers.json'}", "--latency=fixed:2"])) as url:
        yield url


def submit(cluster, folder, provider, *options, wait):
    """Submit a run of the plan in the folder, as its user does."""
    environment = json.dumps({"env_vars": {"ANTHROPIC_BASE_URL": provider}})
    waiting = () if wait else ("--no-wait",)
    return cluster.ray(
        *("job", "submit", *waiting, "--working-dir", str(folder), "--runtime-env-json", environment),
        *("--", *RUN, *options),
    )


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def stored(home):
    try:
        return list_executions(default_url(home))
    except MgeRayError:  # there is no journal yet
        return []


def bought(home, execution_id):
    events = load_events(default_url(home), execution_id)
    return Counter(event.atom_id for event in events if isinstance(event, GenerationArrived))


def test_a_job_shows_progress_and_leaves_its_output_and_one_that_is_stopped_is_paused_and_goes_on(
    cluster, starter, home, provider
):
    """Two jobs on one cluster: the engine that the first one left is replaced by one with the second one's settings."""
    done = submit(cluster, starter.parent, provider, "--simulate", wait=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log = cluster.ray("job", "logs", job_id_of(done.stdout)).stdout
    assert "3/3 atoms" in log
    assert "wave 1 done" in log
    assert "\x1b" not in log.partition("joining")[2]
    assert "status     completed" in log
    (project,) = (home / "out").iterdir()
    assert (project / "temperatures/core.py").exists()

    submitted = submit(cluster, starter.parent, provider, "--live", "--concurrency=1", "--no-reuse", wait=False)
    stopped = job_id_of(submitted.stdout)
    execution_id = until(lambda: next((one.execution_id for one in stored(home) if not one.status.ended), None))
    until(lambda: load_execution(default_url(home), execution_id).state.atoms_in_flight)
    assert cluster.ray("job", "stop", stopped).returncode == 0
    assert "was stopped" in cluster.ray("job", "status", stopped).stdout
    last_words = cluster.ray("job", "logs", stopped).stdout.strip().splitlines()[-1]  # none, had it been killed
    assert f"go on with `mge-ray resume {str(execution_id)[:8]}`" in last_words

    def drained():
        state = next(one.state for one in stored(home) if one.execution_id == execution_id)
        return state if not state.atoms_in_flight else None

    state = until(drained)
    assert (state.status, state.reason) == (ExecutionStatus.PAUSED, "its job was stopped")
    cluster.mge_ray(home, "resume", execution_id, ANTHROPIC_BASE_URL=provider)
    sold = {atom: of["billed_answers"] for atom, of in server_stats(provider)["atoms"].items()}
    assert sold == dict(bought(home, execution_id))
    assert sum(sold.values()) == 3
