"""A specification's way: planned in stages, shown, approved, executed. `plan` stops after the second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from mge_ray.adapters.message_request import build_request, max_cost_usd_of
from mge_ray.cli.console import console
from mge_ray.cli.exits import ALL_SUCCEEDED, BAD_INPUT, STOPPED_EARLY
from mge_ray.cli.forecasting import with_forecast
from mge_ray.cli.money import limit_text
from mge_ray.cli.on_ray import Interrupts, RunError, open_on_ray
from mge_ray.cli.plan_output import outlook, plan_json, plan_text, write_plan
from mge_ray.cli.planner import Planned, Planner, PlanningStoppedError, settings_left, stage_settings
from mge_ray.cli.run import Request, finish, follow
from mge_ray.cli.strength import passing_wrong_code, strength_text
from mge_ray.domain.errors import BudgetError
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


@dataclass(slots=True)
class _Engine:
    """An engine that is opened when something is to be bought: what is in the journal needs none."""

    request: Request
    out: Console
    stack: ExitStack
    opened: tuple[EngineClient, EngineConfig, Interrupts] | None = None

    def follow(
        self, plan: Masterplan, settings: ExecutionSettings
    ) -> tuple[ExecutionState, ExecutionReport, dict[str, str]]:
        """Execute a plan to its end or pause, showing it."""
        request = replace(self.request, plan=plan, settings=settings)
        if self.opened is None:
            self.opened = self.stack.enter_context(open_on_ray(request, self.out))
        engine, config, interrupts = self.opened
        return follow(engine, request, config, self.out, interrupts)

    def follow_stage(self, plan: Masterplan, settings: ExecutionSettings) -> tuple[ExecutionState, ExecutionReport]:
        """Execute one stage; an interrupt that came when there was nothing left to pause ends the planning, too."""
        state, report, _ = self.follow(plan, settings)
        if self.interrupted and state.status.ended:
            raise PlanningStoppedError("interrupted; the same command goes on from here", STOPPED_EARLY)
        return state, report

    @property
    def interrupted(self) -> bool:
        """True once somebody has pressed Ctrl-C."""
        return self.opened is not None and self.opened[2].count > 0


def execute_plan_only(request: Request, spec: Spec, path: Path, *, fresh: bool) -> int:
    """Plan, write and show; return the exit code."""
    out = console(stderr=request.as_json)
    with ExitStack() as stack:
        try:
            planned = _plan(request, spec, _Engine(request, out, stack), out, fresh=fresh)
        except PlanningStoppedError as stopped:
            return _told(stopped)
    settings = with_forecast(request.settings, planned.plan, request.config, request.simulator)
    text = _written(request, planned, path, settings)
    typer.echo(text) if request.as_json else _print(out, text)
    return ALL_SUCCEEDED


def execute_spec(request: Request, spec: Spec, *, yes: bool, fresh: bool, check_tests: bool) -> int:
    """Plan, ask, execute, and return the exit code. With `as_json` standard output is the report of the execution."""
    out = console(stderr=request.as_json)
    path = request.out.with_name(f"{request.out.name}.plan.yaml")
    with ExitStack() as stack:
        engine = _Engine(request, out, stack)
        try:
            planned = _plan(request, spec, engine, out, fresh=fresh)
        except PlanningStoppedError as stopped:
            return _told(stopped)
        left = settings_left(request.settings, planned.cost_usd)
        settings = with_forecast(left, planned.plan, request.config, request.simulator)
        text = _written(request, planned, path, settings)
        if not request.as_json or not yes:
            typer.echo(text) if request.as_json else _print(out, text)
        if not yes and not _approved(path):
            return BAD_INPUT if not sys.stdin.isatty() else ALL_SUCCEEDED
        try:
            state, report, codes = engine.follow(planned.plan, settings)
        except BudgetError as error:
            typer.echo(f"mge-ray: {error}, and ${planned.cost_usd:.4f} is spent; the plan is kept as {path}", err=True)
            return STOPPED_EARLY
    with Interrupts():  # what was bought is written, whoever is impatient
        whole = replace(request, plan=planned.plan, settings=settings)
        code = finish(out, whole, state, report, codes)
    if not request.as_json:
        _print(out, _total(request, planned, report))
        if check_tests and codes and not engine.interrupted:
            _print(out, strength_text(passing_wrong_code(planned.plan, codes, request.sandbox)))
    return code


def _plan(request: Request, spec: Spec, engine: _Engine, out: Console, *, fresh: bool) -> Planned:
    _check_budget(request, spec)
    say: Callable[[str], None] = _silent if request.as_json else lambda line: _print(out, line)
    planner = Planner(request.config.db_url, request.settings, engine.follow_stage, say, fresh=fresh)
    return planner.plan(spec)


def _told(stopped: PlanningStoppedError) -> int:
    typer.echo(f"mge-ray: {stopped}", err=True)
    return stopped.code


def _print(out: Console, text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


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


def _written(request: Request, planned: Planned, path: Path, settings: ExecutionSettings) -> str:
    """Write the plan and return what is to be shown of it."""
    write_plan(planned, path)
    expected = outlook(settings.forecast)
    if request.as_json:
        return plan_json(planned, path, expected)
    return plan_text(planned, path, expected, simulated=request.settings.simulated)


def _approved(path: Path) -> bool:
    """Ask a person; where there is none, say what to do."""
    if not sys.stdin.isatty():
        typer.echo(f"mge-ray: nothing was executed: look at {path}, then say --yes to execute it", err=True)
        return False
    if typer.confirm("Execute this plan?", default=False):
        return True
    typer.echo(f"nothing was executed; the plan is {path}", err=True)
    return False


def _total(request: Request, planned: Planned, report: ExecutionReport) -> str:
    total = planned.cost_usd + report.total_cost_usd + report.unknown_cost_usd
    of = "" if request.settings.budget_usd is None else f" of {limit_text(request.settings.budget_usd)}"
    kind = " (simulated)" if request.settings.simulated else ""
    return f"in all     ${total:.4f}{of}{kind}, ${planned.cost_usd:.4f} of it for planning"
