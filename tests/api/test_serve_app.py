"""`serve run serve_app:app` and a Serve config file, on a Ray of their own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import pytest

from mge_ray.cli.simulate import configuration, server
from tests.api.service import API, PATIENCE_S, ended, free_port, numbered, started, until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node in a process group of its own; gives the environment in which it is found."""
    folder = tempfile.TemporaryDirectory(prefix="mge-ray-test-", ignore_cleanup_errors=True)
    port = free_port()
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "PYTHONPATH": str(ROOT),
    }
    options = {
        "port": port,
        "node-ip-address": "127.0.0.1",
        "include-dashboard": "false",
        "object-store-memory": 200_000_000,
        "temp-dir": folder.name,
        "min-worker-port": 0,
        "max-worker-port": 0,
    }
    command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2"]
    head = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        for line in head.stdout:
            if "--block" in line:
                break
        yield environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        head.stdout.close()
        folder.cleanup()


@contextlib.contextmanager
def serve_run(folder: Path, environment: dict[str, str], *arguments: str):
    """Run `serve run` until the block ends; yields what it has said so far."""
    log = folder / "serve-run.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(BIN / "serve"), "run", "--app-dir", str(ROOT), *arguments],
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


def ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-3_000:])


def test_a_serve_config_file_serves_an_app_that_is_ready_and_executes(cluster, tmp_path):
    body, port = numbered("plain", 2), free_port()
    answers = {atom_id: f"def {atom_id}() -> int:\n    return {n}\n" for n, atom_id in enumerate(body["atoms"])}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    with server(configuration([f"--answers={tmp_path / 'answers.json'}"])) as simulated:
        told = {"database": str(tmp_path / "j.db"), "base_url": simulated, "simulated": True, "auth": False}
        config = {
            "http_options": {"host": "127.0.0.1", "port": port},
            "applications": [
                {"name": "mge_ray", "route_prefix": "/", "import_path": "serve_app:app", "args": told | {"replicas": 1}}
            ],
        }
        (tmp_path / "serve.yaml").write_text(json.dumps(config))  # JSON is YAML
        with serve_run(tmp_path, cluster, str(tmp_path / "serve.yaml")) as log:
            url = f"http://127.0.0.1:{port}"
            ready(url, log)
            with httpx2.Client(base_url=url, timeout=60) as client:
                state = until(client, started(client, body), ended)
                assert (state["status"], state["atoms_succeeded"]) == ("completed", 2)
                assert len(client.get(API).json()["executions"]) == 1
