"""`mge-ray status` and `mge-ray list`: from the database alone, no Ray needed."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timezone
from typing import Any

import typer
from rich.table import Table

from mge_ray.adapters.journal import (
    StoredExecution,
    UnreadableJournalError,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
)
from mge_ray.cli.console import console
from mge_ray.cli.exits import BAD_INPUT
from mge_ray.cli.money import told_money
from mge_ray.cli.options import DbOption, JsonOption, database
from mge_ray.cli.remote import ServerOption, show_list, show_status
from mge_ray.domain.events import UnreadableEventError
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.recovery import ReplayError, replay
from mge_ray.pipeline.report import ExecutionReport, build_report


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("list")
    def list_(
        db: DbOption = None,
        limit: int = typer.Option(20, min=1, max=10_000, help="How many, the latest first."),
        tenant: str | None = typer.Option(None, help="Only this tenant's."),
        server: ServerOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """List the executions in the database, or those of a service."""
        if server:
            show_list(server, limit, as_json=as_json)
            return
        stored = list_executions(database(db), limit, tenant)
        if as_json:
            typer.echo(json.dumps([_row(execution) for execution in stored], indent=2))
        else:
            _print_list(stored)

    @app.command("status")
    def status(
        execution_id: str = typer.Argument(..., metavar="ID", help="Execution id, or its first characters."),
        atom: str | None = typer.Option(None, help="Show one atom with its attempts."),
        db: DbOption = None,
        server: ServerOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Show one execution: its waves, its failed atoms, its money."""
        if server:
            show_status(server, execution_id, atom, as_json=as_json)
            return
        url = database(db)
        stored = load_execution(url, execution_id)
        try:
            plan = load_plan_of(url, stored.execution_id)
            report = build_report(replay(stored.execution_id, plan, load_events(url, stored.execution_id)))
        except (ReplayError, UnreadableEventError, UnreadableJournalError) as error:
            _print_unreadable(stored, str(error), as_json=as_json)
            sys.exit(BAD_INPUT)
        if as_json:
            typer.echo(json.dumps({**_row(stored), "report": report.model_dump(mode="json")}, indent=2))
        elif atom is not None:
            _print_atom(report, atom)
        else:
            _print_status(stored, report)


def _print_unreadable(stored: StoredExecution, why: str, *, as_json: bool) -> None:
    """Show what the execution's row tells, why no more, and what helps; others are not concerned."""
    if as_json:
        typer.echo(json.dumps({**_row(stored), "unreadable": why}, indent=2))
        return
    short, state = str(stored.execution_id)[:8], stored.state
    lines = [
        f"execution  {stored.execution_id}",
        f"plan       {stored.name}",
        f"status     set aside: {why}",
        f"atoms      {state.atoms_succeeded} of {state.atoms_total} had succeeded, ${state.total_cost_usd:.4f} spent",
        "",
        "Its events are kept, and other executions go on. If another version of mge-ray wrote it, go on with that one:",
        f"`mge-ray resume {short}`. Otherwise restore a backup (`mge-ray db restore`), or run the plan anew.",
    ]
    console().print("\n".join(lines), markup=False, soft_wrap=True)


def _row(stored: StoredExecution) -> dict[str, Any]:
    now = time.time()
    return {
        "execution_id": str(stored.execution_id),
        "name": stored.name,
        "status": stored.status.value,
        "reason": stored.reason,
        "interrupted": stored.interrupted(now),
        "set_aside": stored.set_aside,
        "last_heartbeat": moment(stored.heartbeat_at),
        "created_at": moment(stored.created_at),
        "tenant": stored.tenant,
        "state": stored.state.model_dump(mode="json"),
    }


def _standing(stored: StoredExecution) -> str:
    if stored.set_aside:
        return "set aside (see `status`)"
    if stored.interrupted(time.time()):
        return f"interrupted (last heartbeat {moment(stored.heartbeat_at)})"
    return stored.status.value


def _print_list(stored: list[StoredExecution]) -> None:
    table = Table("execution", "plan", "status", "atoms", "cost", "begun", box=None, pad_edge=False)
    for one in stored:
        state = one.state
        done = f"{state.atoms_succeeded}/{state.atoms_total}"
        began = moment(one.created_at)
        table.add_row(str(one.execution_id), one.name, _standing(one), done, f"${state.total_cost_usd:.4f}", began)
    console().print(table if stored else "no executions yet")


def _print_status(stored: StoredExecution, report: ExecutionReport) -> None:
    out = console()
    reason = f": {report.reason}" if report.reason else ""
    simulated = " (simulated)" if report.simulated else ""
    out.print(f"execution  {report.execution_id}\nplan       {report.name}\nstatus     {_standing(stored)}{reason}")
    out.print(
        f"atoms      {report.atoms_succeeded} succeeded, {report.atoms_failed} failed, {report.atoms_blocked} blocked, "
        f"{report.atoms_total} in all{_missing(report)}"
    )
    out.print(
        f"cost       ${report.total_cost_usd:.4f}{simulated}, {report.attempts} attempts, "
        f"{report.total_time_seconds:.1f} s"
    )
    out.print(f"money      {told_money(report.money)}", markup=False)
    table = Table("wave", "atoms", "succeeded", "failed", "blocked", "attempts", "cost", "s", box=None, pad_edge=False)
    for wave in report.waves:
        counts = (wave.atoms_total, wave.atoms_succeeded, wave.atoms_failed, wave.atoms_blocked, wave.attempts)
        cells = [str(wave.wave_id), *map(str, counts)]
        table.add_row(*cells, f"${wave.total_cost_usd:.4f}", f"{wave.total_time_seconds:.1f}")
    out.print(table)
    for atom in report.atoms:
        if atom.cause:
            out.print(f"{atom.status.value:9}  {atom.atom_id}: {atom.cause}", markup=False)
    short, waits = str(stored.execution_id)[:8], stored.status is ExecutionStatus.PAUSED
    if waits or stored.interrupted(time.time()):
        out.print(f"go on      mge-ray resume {short}", markup=False)
    elif stored.status is ExecutionStatus.FAILED:
        out.print(f"mend       mge-ray retry {short}, or edit and approve single atoms", markup=False)


def _missing(report: ExecutionReport) -> str:
    return f"; partial, {report.atoms_total - report.atoms_succeeded} missing" if report.partial else ""


def _print_atom(report: ExecutionReport, atom_id: str) -> None:
    found = next((atom for atom in report.atoms if atom.atom_id == atom_id), None)
    if found is None:
        raise typer.BadParameter(f"the execution has no atom {atom_id!r}")
    out = console()
    out.print(f"atom       {found.atom_id} (wave {found.wave_id})\nstatus     {found.status.value} {found.cause}")
    if found.approved_by:
        how = "used despite its failures, as decided by" if found.used_despite_failure else "approved by"
        note = f": {found.approval_note}" if found.approval_note else ""
        out.print(f"by hand    {how} {found.approved_by}{note}", markup=False)
    for attempt in found.attempts:
        how = "" if attempt.temperature is None else f" at {attempt.temperature}"
        how = how if attempt.effort is None else f" with {attempt.effort} effort"
        if attempt.by:
            out.print(f"attempt {attempt.number}  written by {attempt.by}: passed", markup=False)
            continue
        verdict = "passed" if attempt.passed else f"failed at {attempt.failed_level}: {attempt.first_error}"
        out.print(f"attempt {attempt.number}  {attempt.model}{how}, ${attempt.cost_usd:.4f}: {verdict}")


def moment(at: float) -> str:
    """Return a time (seconds since the epoch) as people read it, in UTC."""
    return datetime.fromtimestamp(at, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
