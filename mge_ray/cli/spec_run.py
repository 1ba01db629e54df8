"""A specification's way: planned in stages, shown, approved, executed. `plan` stops after the second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from mge_ray.adapters.message_request import build_request, max_cost_usd_of
from mge_ray.cli.console import console
from mge_ray.cli.exits import ALL_SUCCEEDED, BAD_INPUT, STOPPED_EARLY
from mge_ray.cli.plan_output import plan_estimate, plan_json, plan_text, write_plan
from mge_ray.cli.planner import Planned, Planner, PlanningStoppedError, settings_left, stage_settings
from mge_ray.cli.run import Interrupts, Request, RunError, finish, follow, open_on_ray
from mge_ray.cli.strength import passing_wrong_code, strength_text
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState
from mge_ray.execution.ports import CallContext, PlanContext
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.spec.spec_file import Spec
from mge_ray.wiring.build import price_table
from mge_ray.wiring.settings import EngineConfig

if TYPE_CHECKING:
    from mge_ray.cluster.client import EngineClient


def execute_plan_only(request: Request, spec: Spec, path: Path, *, fresh: bool) -> int:
    """Plan, write and show; return the exit code."""
    _check_budget(request, spec)
    out = console(stderr=request.as_json)
    try:
        with open_on_ray(request, out) as (engine, config, interrupts):
            planned = _plan(request, spec, engine, config, out, interrupts, fresh=fresh)
    except PlanningStoppedError as stopped:
        typer.echo(f"mge-ray: {stopped}", err=True)
        return stopped.code
    _show(request, planned, path, out)
    return ALL_SUCCEEDED


def execute_spec(request: Request, spec: Spec, *, yes: bool, fresh: bool, check_tests: bool) -> int:
    """Plan, ask, execute, and return the exit code."""
    _check_budget(request, spec)
    out = console(stderr=request.as_json)
    path = request.out.with_name(f"{request.out.name}.plan.yaml")
    try:
        with open_on_ray(request, out) as (engine, config, interrupts):
            planned = _plan(request, spec, engine, config, out, interrupts, fresh=fresh)
            _show(request, planned, path, out)
            refused = 0 if yes else _refused(path, out)
            if refused:
                return refused
            whole = replace(request, plan=planned.plan, settings=settings_left(request.settings, planned.cost_usd))
            state, report, codes = follow(engine, whole, config, out, interrupts)
    except PlanningStoppedError as stopped:
        typer.echo(f"mge-ray: {stopped}", err=True)
        return stopped.code
    with Interrupts():  # what was bought is written, whoever is impatient
        code = finish(out, whole, state, report, codes)
    if not request.as_json:
        _say_total(out, request, planned, report)
    if check_tests and codes and not interrupts.count:
        out.print(strength_text(passing_wrong_code(planned.plan, codes, config.sandbox_level)), markup=False)
    return code


def _plan(
    request: Request,
    spec: Spec,
    engine: EngineClient,
    config: EngineConfig,
    out: Console,
    interrupts: Interrupts,
    *,
    fresh: bool,
) -> Planned:
    def run(plan: Masterplan, settings: ExecutionSettings) -> tuple[ExecutionState, ExecutionReport]:
        stage = replace(request, plan=plan, settings=settings)
        state, report, _ = follow(engine, stage, config, out, interrupts)
        if interrupts.count and state.status.ended:  # heard when nothing was left to be paused
            raise PlanningStoppedError("interrupted; the same command goes on from here", STOPPED_EARLY)
        return state, report

    say: Callable[[str], None] = _silent if request.as_json else lambda line: out.print(line, markup=False)
    return Planner(config.db_url, request.settings, run, say, fresh=fresh).plan(spec)


def _silent(_: str) -> None:
    """Say nothing: machines read the result."""


def _check_budget(request: Request, spec: Spec) -> None:
    """Refuse a budget that not even the first call fits into."""
    plan, settings = request.plan, stage_settings(request.settings)
    budget = settings.budget_usd
    if budget is None:
        return
    atom = plan.atoms[0]
    call = CallContext(
        settings=settings.policy.settings(1, atom.complexity), plan=PlanContext(plan.name, plan.description, plan.files)
    )
    most = max_cost_usd_of(build_request(atom, (), None, call), price_table(request.config))
    if most > budget:
        raise RunError(
            f"--budget {budget:g} is too small to plan {spec.title}: the first call alone can bill up to ${most:.4f}"
        )


def _show(request: Request, planned: Planned, path: Path, out: Console) -> None:
    write_plan(planned, path)
    estimated = plan_estimate(planned.plan, request.config, request.settings.policy.model)
    if request.as_json:
        typer.echo(plan_json(planned, path, estimated))
    else:
        text = plan_text(planned, path, estimated, simulated=request.settings.simulated)
        out.print(text, markup=False, highlight=False, soft_wrap=True)


def _refused(path: Path, out: Console) -> int:
    """Ask a person; where there is none, say what to do. Returns 0 for yes."""
    if not sys.stdin.isatty():
        typer.echo(f"mge-ray: nothing was executed: look at {path}, then say --yes to execute it", err=True)
        return BAD_INPUT
    if typer.confirm("Execute this plan?", default=False):
        return 0
    out.print(f"nothing was executed; the plan is {path}", markup=False)
    return ALL_SUCCEEDED


def _say_total(out: Console, request: Request, planned: Planned, report: ExecutionReport) -> None:
    total = planned.cost_usd + report.total_cost_usd + report.unknown_cost_usd
    of = "" if request.settings.budget_usd is None else f" of ${request.settings.budget_usd:.2f}"
    kind = " (simulated)" if request.settings.simulated else ""
    out.print(f"in all     ${total:.4f}{of}{kind}, ${planned.cost_usd:.4f} of it for planning", markup=False)
