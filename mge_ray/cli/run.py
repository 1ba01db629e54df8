"""`mge-ray run`: a plan of atoms becomes a tested project."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console

from mge_ray.adapters.prices import parse_price
from mge_ray.adapters.sandbox import SandboxLevel
from mge_ray.cli import simulate
from mge_ray.cli.console import console
from mge_ray.cli.exits import STOPPED_EARLY, exit_code
from mge_ray.cli.forecasting import against_actual, told_shortly, with_forecast
from mge_ray.cli.money import limit_text, told_money
from mge_ray.cli.on_ray import Interrupts, JobStoppedError, RunError, open_on_ray
from mge_ray.cli.options import DbOption, FreshOption, JsonOption, PriceOption, check_folder, database
from mge_ray.cli.project_output import target_of, write_output
from mge_ray.cli.ray_job import kept
from mge_ray.cli.report import check_reports, write_reports
from mge_ray.cli.run_flags import (
    AddressOption,
    BudgetOption,
    ConcurrencyOption,
    EscalationOption,
    FaultOption,
    LatencyOption,
    LiveOption,
    ModelOption,
    SandboxOption,
    SeedOption,
    SimulatedOption,
    TemperatureOption,
)
from mge_ray.cli.run_options import options_of
from mge_ray.cli.screen import RunScreen, print_summary, savings_lines
from mge_ray.domain.access import checked_tenant
from mge_ray.domain.atom import PLAN_LANGUAGE
from mge_ray.domain.cost import DEFAULT_BUDGET_USD
from mge_ray.domain.errors import StateConflictError
from mge_ray.domain.events import MOST_CONCURRENCY, ExecutionSettings
from mge_ray.domain.lease import DEFAULT_PRIORITY, HIGHEST_PRIORITY, LOWEST_PRIORITY
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.affording import OF_THE_TENANT
from mge_ray.pipeline.output_folder import check_target
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.spec.spec_file import is_spec, load_spec
from mge_ray.pipeline.spec.steps import requirements_stage
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.wiring.build import SECRETS, attempt_policy, price_table, reuse_settings
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL, EngineConfig

if TYPE_CHECKING:
    from mge_ray.cluster.client import EngineClient

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, checked."""

    plan: Masterplan
    out: Path
    reports: tuple[Path, ...]
    config: EngineConfig
    settings: ExecutionSettings
    simulator: SimulatorConfig | None
    address: str | None
    sandbox: str | None
    as_json: bool


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("run")
    def run(
        plan: Annotated[
            Path, typer.Argument(metavar="PLAN", help="Plan file (YAML or JSON), or a specification (.md, .txt).")
        ],
        out: Annotated[Path | None, typer.Option(help="Folder of the generated project. [out/<plan name>]")] = None,
        report: Annotated[
            list[Path] | None, typer.Option(help="Write a report: .html is a page, .json is data; may be repeated.")
        ] = None,
        simulated: SimulatedOption = False,
        answers: Annotated[
            Path | None, typer.Option(help="Answers of the simulated server. [answers.json beside the plan]")
        ] = None,
        wrong_answers: Annotated[
            Path | None, typer.Option(help="Wrong answers known to fail. [wrong_answers.json beside the plan]")
        ] = None,
        fault: FaultOption = None,
        latency: LatencyOption = "fixed:0",
        seed: SeedOption = 0,
        live: LiveOption = False,
        model: ModelOption = DEFAULT_MODEL,
        escalation_model: EscalationOption = DEFAULT_ESCALATION_MODEL,
        budget: BudgetOption = DEFAULT_BUDGET_USD,
        atom_budget: Annotated[
            float | None, typer.Option(min=0, help="What a single atom may cost in US dollars; beyond it, it fails.")
        ] = None,
        price: PriceOption = None,
        concurrency: ConcurrencyOption = 100,
        start_concurrency: Annotated[
            int | None, typer.Option(min=1, max=MOST_CONCURRENCY, help="Calls in flight before any was answered. [100]")
        ] = None,
        priority: Annotated[
            int, typer.Option(min=LOWEST_PRIORITY, max=HIGHEST_PRIORITY, help="A step doubles its share of an engine.")
        ] = DEFAULT_PRIORITY,
        tenant: Annotated[str, typer.Option(help="Whose execution it is; its limit holds, too. [nobody's]")] = "",
        max_tokens: Annotated[int, typer.Option(min=64, help="Longest first answer, in tokens.")] = 4_096,
        atom_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds in flight before an atom fails.")] = 300.0,
        call_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds before one call is given up.")] = 120.0,
        temperature: TemperatureOption = None,
        sandbox: SandboxOption = None,
        address: AddressOption = None,
        db: DbOption = None,
        yes: Annotated[
            bool, typer.Option("--yes", help="Execute what was planned from a specification unasked.")
        ] = False,
        fresh: FreshOption = False,
        reuse: Annotated[
            bool,
            typer.Option(help="Take over code that passed the same checks in an earlier run; --no-reuse buys all."),
        ] = True,
        check_tests: Annotated[
            bool, typer.Option(help="After a specification's run, look for tests that wrong versions of the code pass.")
        ] = True,
        as_json: JsonOption = False,
    ) -> None:
        """Execute a plan and write the tested project; a specification (.md, .txt) is planned first."""
        spec = load_spec(plan) if is_spec(plan) else None
        loaded = requirements_stage(spec.title, spec.text).plan if spec else load_plan(plan)
        request = make_request(
            loaded,
            source=plan,
            out=kept(out or Path("out") / slug(spec.title if spec else loaded.name)),
            reports=tuple(map(kept, report or ())),
            simulated=simulated,
            live=live,
            answers=answers,
            wrong_answers=wrong_answers,
            fault=fault or [],
            latency=latency,
            seed=seed,
            model=model,
            escalation_model=escalation_model or None,
            budget=budget,
            atom_budget=atom_budget,
            price=price or [],
            concurrency=concurrency,
            start_concurrency=start_concurrency,
            priority=priority,
            tenant=tenant,
            max_tokens=max_tokens,
            atom_timeout=atom_timeout,
            call_timeout=call_timeout,
            temperature=temperature,
            sandbox=sandbox,
            address=address,
            db=db,
            as_json=as_json,
            reuse=reuse and not fresh,
        )
        if spec is None:
            settings = with_forecast(request.settings, loaded, request.config, request.simulator)
            sys.exit(execute(replace(request, settings=settings)))
        from mge_ray.cli.spec_run import execute_spec  # noqa: PLC0415  # it builds on this module

        sys.exit(execute_spec(request, spec, yes=yes, fresh=fresh, check_tests=check_tests))


def make_request(
    plan: Masterplan,
    *,
    source: Path,
    out: Path | None,
    reports: tuple[Path, ...],
    simulated: bool,
    live: bool,
    answers: Path | None,
    wrong_answers: Path | None,
    fault: list[str],
    latency: str,
    seed: int,
    model: str,
    escalation_model: str | None,
    budget: float,
    atom_budget: float | None = None,
    price: list[str],
    concurrency: int,
    start_concurrency: int | None = None,
    priority: int = DEFAULT_PRIORITY,
    tenant: str = "",
    max_tokens: int,
    atom_timeout: float,
    call_timeout: float,
    temperature: bool | None,
    sandbox: str | None,
    address: str | None,
    db: str | None,
    as_json: bool,
    reuse: bool = True,
) -> Request:
    """Return the request that these options mean; raise what is wrong with them before anything starts."""
    address = None if address == "local" else address
    if simulated == live:
        raise RunError("say --simulate (no key, no money) or --live (real calls, real money)")
    if out is not None:
        check_target(out.resolve())
        check_folder("--out", out)
    check_reports("--report", list(reports))
    if sandbox is not None and sandbox not in {level.value for level in SandboxLevel}:
        raise RunError(f"--sandbox {sandbox!r} is none of {', '.join(level.value for level in SandboxLevel)}")
    config = EngineConfig(
        engine_id=uuid.uuid4().hex,
        db_url=database(db),
        simulated=simulated,
        base_url=None if simulated else os.environ.get("ANTHROPIC_BASE_URL"),
        prices=tuple(price),
        require_price=True,
        sampling=temperature,
        generate_limit=concurrency,
        generate_start=start_concurrency,
        sandbox_level=sandbox,
        driver_pid=None if address else os.getpid(),
    )
    check_money(config, model, escalation_model)
    if live and not any(os.environ.get(name) for name in SECRETS):
        raise RunError("--live needs a key: set ANTHROPIC_API_KEY in the environment")
    settings = ExecutionSettings(
        policy=attempt_policy(config, model, escalation_model, max_tokens=max_tokens),
        budget_usd=budget,
        atom_budget_usd=atom_budget,
        max_concurrency=concurrency,
        priority=priority,
        tenant=checked_tenant(tenant),
        atom_timeout_s=atom_timeout,
        call_timeout_s=call_timeout,
        simulated=simulated,
        reuse=reuse_settings(config, _faults(fault, seed), tenant=tenant) if reuse else None,
        prime_prompt_cache=True,
    )
    server = simulate.configured(source, answers, wrong_answers, fault, latency, seed) if simulated else None
    return Request(plan, out or Path("out"), reports, config, settings, server, address, sandbox, as_json)


def execute(request: Request, execution_id: UUID | None = None) -> int:
    """Run to the end, from the start or from where a stored execution stands; return the exit code."""
    screen = console(stderr=request.as_json)
    with ExitStack() as stack:
        if request.as_json:  # Ray tells of dead nodes on standard output, which is the report's
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        engine, config, interrupts = stack.enter_context(open_on_ray(request, screen))
        state, report, codes = follow(engine, request, config, screen, interrupts, execution_id)
    with Interrupts():  # what was bought is written, whoever is impatient
        return finish(screen, request, state, report, codes)


def finish(
    out: Console, request: Request, state: ExecutionState, report: ExecutionReport, codes: dict[str, str]
) -> int:
    """Write report and project, say how it ended, and return the exit code; what cannot be written is said last."""
    target = target_of(request.out, complete=not report.partial)
    report, unreported = write_reports(request.reports, request.config.db_url, report, price_table(request.config))
    problems = [one for one in (unreported, write_output(request.plan, codes, report, target)) if one]
    if request.as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _end(out, request, target, state, report)
    for problem in problems:
        typer.echo(f"mge-ray: {problem}", err=True)
    return STOPPED_EARLY if problems else exit_code(state.status)


def follow(
    engine: EngineClient,
    request: Request,
    config: EngineConfig,
    out: Console,
    interrupts: Interrupts,
    execution_id: UUID | None = None,
) -> tuple[ExecutionState, ExecutionReport, dict[str, str]]:
    """Start the request's plan, or take a stored execution up, and show it until nothing may happen any more."""
    if execution_id is None:
        execution_id = engine.start(request.plan, request.settings, run_options=options_of(request))
    else:
        engine.take_up(execution_id)
    if not request.as_json:
        _header(out, request, config, str(execution_id))
    since, paused = 0, False
    with RunScreen(out, [len(w.atom_ids) for w in request.plan.waves], quiet=request.as_json) as screen:
        while True:
            progress = engine.progress(execution_id, since)
            since = progress.next_notice
            screen.show(progress.state, progress.wave, progress.notices, progress.trouble)
            if _settled(progress.state, driving=progress.driving):
                break
            if interrupts.count and not paused:
                paused = True
                screen.say(f"pausing: {interrupts.told(progress.state.atoms_in_flight)}")
                with contextlib.suppress(StateConflictError):
                    engine.pause(execution_id, interrupts.reason)
            if interrupts.impatient:  # paused by now, however long a look at the engine took
                break
            time.sleep(POLL_S)
    if interrupts.hurried and not (state := engine.state(execution_id)).status.ended:
        raise _stopped(state, request)
    return engine.state(execution_id), engine.report(execution_id), engine.accepted_codes(execution_id)


def _faults(fault: list[str], seed: int) -> str:
    """Return what makes one simulated provider answer differently from another; without faults they are alike."""
    return f"{' '.join(sorted(fault))} seed={seed}" if fault else ""


def _stopped(state: ExecutionState, request: Request) -> JobStoppedError:
    """Return the last words of a run that has no time to write its output: the engine is elsewhere and lives on."""
    left = f", {state.atoms_in_flight} in flight are kept as they finish" if state.atoms_in_flight else ""
    told = f"execution {state.execution_id} is {state.status.value}{left}"
    if request.plan.atoms[0].language == PLAN_LANGUAGE:
        return JobStoppedError(f"{told}; the same command goes on with the planning")
    return JobStoppedError(f"{told}; go on with `mge-ray resume {str(state.execution_id)[:8]}`")


def _settled(state: ExecutionState, *, driving: bool) -> bool:
    return not driving and state.status is not ExecutionStatus.RUNNING


def check_money(config: EngineConfig, *models: str | None) -> None:
    """Raise UnknownPriceError, with advice, for a model without a price."""
    for text in config.prices:
        parse_price(text)
    prices = price_table(config)
    for model in models:
        if model is not None:
            prices.rates(model)  # raises with advice where there is none


def _header(out: Console, request: Request, config: EngineConfig, execution_id: str) -> None:
    plan, settings = request.plan, request.settings
    where = request.address or "a local Ray of its own"
    provider = "simulated Messages server" if config.simulated else (config.base_url or "Anthropic")
    lines = [
        f"execution  {execution_id}",
        f"plan       {plan.name}: {len(plan.atoms)} atoms in {len(plan.waves)} waves",
        f"model      {settings.policy.model} ({provider}), {settings.max_concurrency} calls at a time on {where}",
        f"sandbox    {config.sandbox_level}",
        f"forecast   {told_shortly(settings.forecast)}" if settings.forecast else "forecast   none",
        f"budget     {limit_text(settings.budget_usd)}" if settings.budget_usd is not None else "budget     none",
        f"journal    {_shown(config.db_url)}",
    ]
    out.print("\n".join(lines), markup=False, soft_wrap=True)


def _end(out: Console, request: Request, target: Path, state: ExecutionState, report: ExecutionReport) -> None:
    print_summary(out, report)
    reason = f": {state.reason}" if state.reason else ""
    lines = [f"status     {state.status.value}{reason}"]
    if report.acceptance_passed is not None:
        lines.append(f"acceptance {'passed' if report.acceptance_passed else 'FAILED'}")
        lines += [f"           {error}" for error in report.acceptance_errors[:3]]
    calls = report.calls
    lines.append(
        f"calls      {calls.answers} answers, {calls.billed_without_answer} billed without answer, "
        f"{calls.unknown_spend} of unknown spend (at most ${report.unknown_cost_usd:.4f}), "
        f"{calls.not_billed} not billed"
    )
    lines += savings_lines(report)
    lines.append(f"money      {told_money(report.money)}")
    if report.atoms_failed:
        causes = [f"{atom.atom_id} ({atom.cause})" for atom in report.atoms if atom.status.value == "failed"]
        lines.append(f"failed     {', '.join(causes[:5])}{' ...' if len(causes) > 5 else ''}")  # noqa: PLR2004
    if report.forecast:
        lines.append(f"forecast   {against_actual(report.forecast)}")
    if report.review:
        worst = report.review[0]
        lines.append(
            f"review     {len(report.review)} of low confidence, worst {worst.atom_id}: {worst.reasons[0].text}"
        )
    if report.edited_atoms or report.used_despite_failure:
        used = f"{report.used_despite_failure} used despite failures"
        lines.append(f"by hand    {report.edited_atoms} edited, {used}")
    absent = report.atoms_total - report.atoms_succeeded - report.used_despite_failure
    missing = f" (partial: {absent} of {report.atoms_total} atoms are missing)"
    lines.append(f"project    {target.resolve()}{missing if report.partial else ''}")
    tests = " ".join(request.plan.acceptance_tests)
    if tests and not report.partial:
        lines.append(f"try it     cd {target.resolve()} && {sys.executable} -m pytest {tests}")
    short = str(state.execution_id)[:8]
    if not state.status.ended and state.reason.startswith("budget"):
        of_tenant = state.reason.startswith(OF_THE_TENANT)
        whose = f"tenant budget {request.settings.tenant}" if of_tenant else f"budget {short}"
        more = f"mge-ray {whose} --limit USD --reason TEXT"
        lines.append(f"state      kept; raise the limit with `{more}`, then go on with `mge-ray resume {short}`")
    elif not state.status.ended:
        lines.append(f"state      kept; go on with `mge-ray resume {short}`")
    elif state.status is ExecutionStatus.FAILED:
        lines.append(
            f"mend       `mge-ray retry {short}`, or edit and approve atoms by hand; then `mge-ray resume {short}`"
        )
    out.print("\n".join(lines), markup=False, soft_wrap=True)


def _shown(url: str) -> str:
    from mge_ray.adapters.journal import shown_url  # noqa: PLC0415  # one use

    return shown_url(url)


def slug(name: str) -> str:
    """Return a name as a folder's."""
    return "".join(ch if ch.isalnum() else "-" for ch in name.lower()).strip("-")[:60] or "plan"
