"""`mge-ray resume`: go on with an execution whose process is gone, or that was paused, to its end."""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer

from mge_ray.adapters.journal import HEARTBEAT_TIMEOUT_S, StoredExecution, load_execution, load_plan_of
from mge_ray.adapters.sandbox import SandboxLevel
from mge_ray.cli import remote, simulate
from mge_ray.cli.console import console
from mge_ray.cli.on_ray import RunError
from mge_ray.cli.options import DbOption, JsonOption, PriceOption, check_folder, database, upgrade_if_there
from mge_ray.cli.ray_job import kept
from mge_ray.cli.remote import ServerOption
from mge_ray.cli.report import check_reports
from mge_ray.cli.run import Request, check_money, execute, slug
from mge_ray.cli.run_flags import HELP_FAULT
from mge_ray.cli.run_options import RunOptions, stored_options
from mge_ray.domain.atom import PLAN_LANGUAGE
from mge_ray.domain.errors import StateConflictError
from mge_ray.domain.events import ExecutionSettings, ResumeRequested
from mge_ray.execution.requests import check_state
from mge_ray.pipeline.output_folder import check_target
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.wiring.build import SECRETS
from mge_ray.wiring.settings import EngineConfig

POLL_S = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("resume")
    def resume(
        execution_id: str = typer.Argument(..., metavar="ID", help="Execution id, or its first characters."),
        out: Annotated[Path | None, typer.Option(help="Folder of the generated project. [the run's own]")] = None,
        report: Annotated[
            list[Path] | None, typer.Option(help="Write a report, .html or .json; may be repeated. [the run's own]")
        ] = None,
        simulated: Annotated[
            bool, typer.Option("--simulate", help="Only if the run was simulated; its server is started again.")
        ] = False,
        answers: Annotated[Path | None, typer.Option(help="Answers of the simulated server. [the run's own]")] = None,
        wrong_answers: Annotated[Path | None, typer.Option(help="Wrong answers known to fail. [the run's own]")] = None,
        fault: Annotated[list[str] | None, typer.Option(metavar="NAME=RATE", help=HELP_FAULT)] = None,
        latency: Annotated[str | None, typer.Option(help="Simulated latency. [the run's own]")] = None,
        seed: Annotated[int | None, typer.Option(help="Seed of the simulated faults. [the run's own]")] = None,
        live: Annotated[bool, typer.Option("--live", help="Only if the run called the real provider.")] = False,
        price: PriceOption = None,
        sandbox: Annotated[
            str | None, typer.Option(help="Isolation: bubblewrap, namespaces, restricted or none. [the run's own]")
        ] = None,
        address: Annotated[
            str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to join. [a local one is started]")
        ] = None,
        db: DbOption = None,
        server: ServerOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Go on with a paused or interrupted execution, also after everything that ran it is gone.

        Output, reports, sandbox, prices and simulated server are those of the run, unless told otherwise.
        """
        if server:
            remote.steer(server, execution_id, lambda client, one: client.resume(one))
            return
        url = database(db)
        stored = _resumable(url, execution_id)
        options = stored_options(stored)
        settings = stored.settings.model_copy(update={"budget_usd": stored.state.budget_usd})  # it may have been raised
        if (simulated and not settings.simulated) or (live and settings.simulated):
            kind = "simulated" if settings.simulated else "live"
            raise RunError(f"execution {stored.execution_id} is a {kind} one; resume it as that")
        simulator = _server(options, settings, answers, wrong_answers, fault or [], latency, seed)
        target = kept(out or options.out or Path("out") / slug(stored.name))
        check_target(target.resolve())
        check_folder("--out", target)
        reports = tuple(map(kept, report)) if report else options.reports
        check_reports("--report", list(reports))
        request = Request(
            plan=load_plan_of(url, stored.execution_id),
            out=target,
            reports=reports,
            config=_config(url, settings, options, price, sandbox, local=address in {None, "local"}),
            settings=settings,
            simulator=simulator,
            address=None if address == "local" else address,
            sandbox=sandbox or options.sandbox,
            as_json=as_json,
        )
        _wait_out(url, stored, quiet=as_json)
        sys.exit(execute(request, stored.execution_id))


def _resumable(url: str, execution_id: str) -> StoredExecution:
    """Return the execution, or say in one line why it cannot be resumed."""
    upgrade_if_there(url)
    stored = load_execution(url, execution_id)
    if stored.status.ended:
        check_state(stored.execution_id, stored.status, ResumeRequested)
    if load_plan_of(url, stored.execution_id).atoms[0].language == PLAN_LANGUAGE:
        raise RunError(
            f"execution {stored.execution_id} is a stage of planning; give the specification to `mge-ray run` or "
            "`plan` again: what was accepted is in the journal and is not bought again"
        )
    return stored


def _server(
    options: RunOptions,
    settings: ExecutionSettings,
    answers: Path | None,
    wrong: Path | None,
    faults: list[str],
    latency: str | None,
    seed: int | None,
) -> SimulatorConfig | None:
    """Return the simulated server as it was, with what is told otherwise now; None for a live execution."""
    told = any(one is not None for one in (answers, wrong, latency, seed)) or bool(faults)
    if not settings.simulated:
        if told:
            raise RunError("this execution is a live one; it takes no flags of the simulated server")
        return None
    if options.simulator is None and answers is None:
        raise RunError("the execution was simulated, and what its server was told is not known; name it: --answers")
    flags = simulate.flags(answers, wrong, faults, latency, seed)
    return simulate.configuration([*(options.simulator or ()), *flags])


def _config(
    url: str,
    settings: ExecutionSettings,
    options: RunOptions,
    price: list[str] | None,
    sandbox: str | None,
    *,
    local: bool,
) -> EngineConfig:
    if sandbox is not None and sandbox not in {level.value for level in SandboxLevel}:
        raise RunError(f"--sandbox {sandbox!r} is none of {', '.join(level.value for level in SandboxLevel)}")
    if not settings.simulated and not any(os.environ.get(name) for name in SECRETS):
        raise RunError("the execution is a live one and needs a key: set ANTHROPIC_API_KEY in the environment")
    config = EngineConfig(
        engine_id=uuid.uuid4().hex,
        db_url=url,
        simulated=settings.simulated,
        base_url=None if settings.simulated else os.environ.get("ANTHROPIC_BASE_URL"),
        prices=(*options.prices, *(price or ())),
        require_price=True,
        sampling=options.sampling,
        generate_limit=settings.max_concurrency,
        sandbox_level=sandbox or options.sandbox,
        driver_pid=os.getpid() if local else None,
    )
    check_money(config, settings.policy.model, settings.policy.escalation_model)
    return config


def _wait_out(url: str, stored: StoredExecution, *, quiet: bool) -> None:
    """Return when the former owner has been silent for long enough; raise StateConflictError if it lives."""
    told = quiet
    while stored.driven(now := time.time()):
        if not told:
            told = True
            left = HEARTBEAT_TIMEOUT_S - (now - stored.heartbeat_at)
            console().print(
                f"waiting {left:.0f} s for a sign of life of {stored.owner}, which ran it ...", markup=False
            )
        time.sleep(POLL_S)
        again = load_execution(url, stored.execution_id)
        if again.has_work and again.heartbeat_at > stored.heartbeat_at:
            raise StateConflictError(
                f"execution {stored.execution_id} is {again.status.value} under {again.owner}, which is alive; "
                "pause or cancel it there, or let it go on"
            )
        stored = again
    if stored.status.ended:
        check_state(stored.execution_id, stored.status, ResumeRequested)
