"""A run on several nodes, one of which is killed in the middle, with its gateway and its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from mge_ray.adapters.journal import default_url, list_executions, load_events
from mge_ray.cli.simulate import configuration, server
from mge_ray.domain.events import GenerationArrived, GenerationFailed, LeaseGranted
from mge_ray.domain.generation import FailureKind
from tests.cluster.chaos.books import server_stats
from tests.doors.heads import head, job_id_of

PATIENCE_S = 300
BOOKKEEPING = Path(__file__).parents[2] / "examples/bookkeeping"
QUICK_TO_NOTICE = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}


def below(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    children = defaultdict(list)
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            children[int((process / "stat").read_text().rpartition(")")[2].split()[1])].append(int(process.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def gateways(pids: list[int]) -> list[int]:
    """Return which of the processes are gateways, by the title that Ray gives them."""
    found = []
    for pid in pids:
        with suppress(OSError):
            if b"ray::LLMGateway" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def events_of(folder: Path) -> list:
    url = default_url(folder)
    if not (folder / ".mge/journal.db").exists():
        return []
    found = list_executions(url)
    return load_events(url, found[0].execution_id) if found else []


def arrived(events: list) -> Counter[str]:
    return Counter(event.atom_id for event in events if isinstance(event, GenerationArrived))


def until_bought(folder: Path, answers: int, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while arrived(events_of(folder)).total() < answers:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_that_is_killed_costs_at_most_what_was_in_flight_at_its_gateway(tmp_path):
    """Gateways are spread, so the node has one; its calls are unknown spend and made again, its checks run again."""
    answers = BOOKKEEPING / "answers.json"
    simulated = configuration([f"--answers={answers}", "--latency=lognormal:1.5:0.5", "--seed=7"])
    with server(simulated) as url, head(cpus=1, **QUICK_TO_NOTICE, ANTHROPIC_BASE_URL=url) as cluster:
        others = [cluster.add_node(1), cluster.add_node(1)]
        command = ("run", str(BOOKKEEPING / "plan.yaml"), "--live", "--json", "--concurrency=150", "--no-reuse")
        run = subprocess.Popen(
            [sys.executable, "-m", "mge_ray", *command],
            cwd=tmp_path,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until_bought(tmp_path, 3, run)
        doomed = next(node for node in others if gateways(below(node.pid)))
        for pid in below(doomed.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        said, complained = run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 0, said + complained
        stats = server_stats(url)

    report, events = json.loads(said), events_of(tmp_path)
    assert (report["status"], report["atoms_succeeded"], report["acceptance_passed"]) == ("completed", 75, True)
    at = {event.lease_id: event.gateway for event in events if isinstance(event, LeaseGranted) and event.gateway}
    lost = [
        event
        for event in events
        if isinstance(event, GenerationFailed) and event.failure.kind is FailureKind.GATEWAY_LOST
    ]
    assert len({at[event.call_id] for event in lost}) == 1
    assert report["calls"]["unknown_spend"] == len(lost)
    sold = Counter({atom_id: of["billed_answers"] for atom_id, of in stats["atoms"].items()})
    bought_again = sold - arrived(events)
    assert bought_again <= Counter(event.atom_id for event in lost)


def test_a_run_on_another_node_than_the_journal_s_file_is_refused(starter, tmp_path):
    """A path names another file there. The second job's driver runs on the other node, the first one's on the head."""
    home = tmp_path / "home"
    home.mkdir()
    job = ("job", "submit", "--working-dir", str(starter.parent))
    run = ("python", "-m", "mge_ray", "run", "my-plan/plan.yaml", "--live")
    answers = starter / "answers.json"
    with (
        server(configuration([f"--answers={answers}"])) as url,
        head(cpus=2, dashboard=True, HOME=str(home), ANTHROPIC_BASE_URL=url) as cluster,
    ):
        cluster.start(f"--address={cluster.address}", "--num-cpus=1", '--resources={"other": 1}')
        first = cluster.ray(*job, "--", *run, timeout=PATIENCE_S)
        assert first.returncode == 0, first.stdout + first.stderr
        second = cluster.ray(*job, '--entrypoint-resources={"other": 1}', "--", *run, timeout=PATIENCE_S)
        log = cluster.ray("job", "logs", job_id_of(second.stdout)).stdout
    assert second.returncode == 1
    assert "of another node" in log
    assert "Traceback" not in log
