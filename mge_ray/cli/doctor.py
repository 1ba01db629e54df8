"""`mge-ray doctor`: what of this machine works, and what to do about the rest."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version

import typer

from mge_ray.adapters.journal import shown_url, upgrade
from mge_ray.adapters.sandbox import SandboxLevel, probe_level
from mge_ray.cli.console import console
from mge_ray.cli.exits import ALL_SUCCEEDED, SOME_FAILED
from mge_ray.cli.options import DbOption, JsonOption, database
from mge_ray.domain.errors import MgeRayError
from mge_ray.wiring.build import SECRETS, llm_client, price_table
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig

LIVE_PROMPT = "Answer with the single word: ready"
LIVE_MAX_TOKENS = 512
LIVE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried; `ok` None means that it is missing but not needed for everything."""

    what: str
    ok: bool | None
    detail: str


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("doctor")
    def doctor(
        live: bool = typer.Option(False, "--live", help="Make one bounded real call; prints what it cost."),
        model: str = typer.Option(DEFAULT_MODEL, help="Model of the real call."),
        db: DbOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Check Python, sandbox, database, Ray and key; with --live, make one real call."""
        findings = [_python(), _sandbox(), _database(database(db)), _ray(), _key()]
        if live:
            findings.append(_call(model))
        if as_json:
            typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            _print(findings)
        sys.exit(SOME_FAILED if any(finding.ok is False for finding in findings) else ALL_SUCCEEDED)


def _print(findings: list[Finding]) -> None:
    out = console()
    for finding in findings:
        mark = {True: "ok", None: "--", False: "NO"}[finding.ok]
        out.print(f"{mark}  {finding.what:9} {finding.detail}", markup=False)


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 10), f"{platform.python_version()} at {sys.executable}")


def _sandbox() -> Finding:
    level = probe_level()
    if level.is_full:
        return Finding("sandbox", ok=True, detail=f"{level.value}: full isolation")
    if level is SandboxLevel.NONE:
        return Finding("sandbox", ok=False, detail="nothing isolates here; install bubblewrap, or say --sandbox none")
    return Finding("sandbox", ok=None, detail=f"{level.value}: less than full isolation; install bubblewrap for --live")


def _database(url: str) -> Finding:
    try:
        upgrade(url)
    except MgeRayError as error:
        return Finding("database", ok=False, detail=str(error))
    return Finding("database", ok=True, detail=f"{shown_url(url)} can be written")


def _ray() -> Finding:
    from mge_ray.cluster.session import SessionError, joined_session  # noqa: PLC0415  # imports nothing of Ray itself

    address = os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        done = subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
            return Finding("ray", ok=False, detail=f"cannot be imported: {last[0]}")
        return Finding("ray", ok=True, detail=f"{version('ray')}; runs start a local one")
    try:
        with joined_session(address):
            return Finding("ray", ok=True, detail=f"{version('ray')}; joined {address}")
    except SessionError as error:
        return Finding("ray", ok=False, detail=str(error))


def _key() -> Finding:
    for name in SECRETS:
        if os.environ.get(name):
            return Finding("key", ok=True, detail=f"{name} is set")
    return Finding("key", ok=None, detail="none; --simulate needs none, --live needs ANTHROPIC_API_KEY")


def _call(model: str) -> Finding:
    from mge_ray.adapters.message_request import MessageRequest, max_cost_usd_of  # noqa: PLC0415  # --live only
    from mge_ray.execution.ports import CallFailedError  # noqa: PLC0415

    config = EngineConfig(
        engine_id="doctor", db_url="", base_url=os.environ.get("ANTHROPIC_BASE_URL"), require_price=True
    )
    request = MessageRequest("doctor", model, (), LIVE_PROMPT, LIVE_MAX_TOKENS, timeout_s=LIVE_TIMEOUT_S)

    async def call() -> str:
        client = llm_client(config)
        try:
            answer = await client.complete(request)
        finally:
            await client.aclose()
        limits = ", ".join(f"{name.removeprefix('anthropic-ratelimit-')} {v}" for name, v in answer.rate_limits.items())
        return (
            f"{model} answered in {answer.latency_s:.1f} s for ${answer.cost_usd:.6f} "
            f"(stop reason {answer.stop_reason.value}, {answer.usage.output_tokens} tokens out); "
            f"verified: key, endpoint, model, price; limits: {limits or 'none reported'}"
        )

    try:
        most = max_cost_usd_of(request, price_table(config))
        return Finding("live call", ok=True, detail=f"{asyncio.run(call())}; it could have cost ${most:.6f} at most")
    except CallFailedError as error:
        return Finding("live call", ok=False, detail=str(error))
    except MgeRayError as error:
        return Finding("live call", ok=False, detail=str(error))
