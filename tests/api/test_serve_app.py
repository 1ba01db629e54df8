"""`serve run serve_app:app`, bare and with a Serve config file, on a Ray of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from mge_ray.cli.simulate import configuration, server
from tests.api.service import API, PATIENCE_S, ended, numbered, started, until
from tests.heads import free_port, head

ROOT = Path(__file__).parents[2]
SERVE = str(Path(sys.executable).with_name("serve"))
BODY = numbered("plain", 2)


@pytest.fixture(scope="module")
def cluster():
    """The environment in which a head node is found."""
    with head(PYTHONPATH=str(ROOT)) as running:
        yield running.environment


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What both forms tell the application."""
    folder = tmp_path_factory.mktemp("serve_app")
    answers = {atom_id: f"def {atom_id}() -> int:\n    return {n}\n" for n, atom_id in enumerate(BODY["atoms"])}
    (folder / "answers.json").write_text(json.dumps(answers))
    with server(configuration([f"--answers={folder / 'answers.json'}"])) as simulated:
        yield {
            "database": str(folder / "j.db"),
            "base_url": simulated,
            "simulated": True,
            "auth": False,
            "replicas": 1,
        }


@contextlib.contextmanager
def serve_run(folder: Path, environment: dict[str, str], *arguments: str):
    """Run `serve run` until the block ends; yields where it writes what it says."""
    log = folder / "serve-run.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [SERVE, "run", "--app-dir", str(ROOT), *arguments],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def executes_when_ready(url: str, log: Path, executions: int) -> None:
    """Wait until the service is ready, execute on it, and look whether its list has so many executions then."""
    deadline = time.monotonic() + PATIENCE_S
    with httpx2.Client(base_url=url, timeout=60) as client:
        while not is_ready(client):
            assert time.monotonic() < deadline, log.read_text()[-3_000:]
            time.sleep(0.1)
        state = until(client, started(client, BODY), ended)
        assert (state["status"], state["atoms_succeeded"]) == ("completed", 2)
        assert len(client.get(API).json()["executions"]) == executions


def is_ready(client: httpx2.Client) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def test_an_app_with_arguments_and_then_a_config_file_serve_one_journal_and_execute(cluster, told, tmp_path):
    """The bare form has no word for a port, so Serve is there before it; the engine that it leaves serves the file."""
    port = free_port()
    there = [SERVE, "start", "--http-host=127.0.0.1", f"--http-port={port}"]
    subprocess.run(there, env=cluster, check=True, capture_output=True)
    arguments = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in told.items()]
    with serve_run(tmp_path, cluster, "serve_app:app", *arguments) as log:
        executes_when_ready(f"http://127.0.0.1:{port}", log, executions=1)

    port = free_port()
    application = {"name": "mge_ray", "route_prefix": "/", "import_path": "serve_app:app", "args": told}
    config = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    (tmp_path / "serve.yaml").write_text(json.dumps(config))  # JSON is YAML
    with serve_run(tmp_path, cluster, str(tmp_path / "serve.yaml")) as log:
        executes_when_ready(f"http://127.0.0.1:{port}", log, executions=2)
