"""`mge-ray explain ID ATOM`: why an atom was bought, taken over, blocked or opened again. No Ray needed."""

from __future__ import annotations

from uuid import UUID

import typer

from mge_ray.adapters.journal import StoredExecution, list_executions, load_events, load_execution, load_plan_of
from mge_ray.cli.console import console
from mge_ray.cli.options import DbOption, JsonOption, database
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.execution.recovery import replay
from mge_ray.pipeline.explain import explain

LISTED = 1_000
LOOKED_BACK = 5


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("explain")
    def explain_(
        execution_id: str = typer.Argument(..., metavar="ID", help="Execution id, or its first characters."),
        atom: str = typer.Argument(..., metavar="ATOM", help="Atom id."),
        db: DbOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Say why an atom was bought, taken over from an earlier run, blocked, or opened again."""
        url = database(db)
        stored = load_execution(url, execution_id)
        machine = _replayed(url, stored.execution_id)
        told = explain(machine, atom, _earlier(url, stored))
        if as_json:
            typer.echo(told.model_dump_json(indent=2))
            return
        spent = f", ${told.cost_usd:.4f}" if told.cost_usd else ""
        lines = [f"atom       {told.atom_id} ({told.status.value})", f"what       {told.verdict}{spent}"]
        lines += [f"{'why' if number == 0 else '':9}  {reason}" for number, reason in enumerate(told.reasons)]
        console().print("\n".join(lines), markup=False, soft_wrap=True)


def _earlier(url: str, stored: StoredExecution) -> list[ExecutionMachine]:
    """Return the last executions of the same plan before this one; those that cannot be read are left out."""
    before = [
        one.execution_id
        for one in list_executions(url, LISTED)
        if one.name == stored.name and one.created_at < stored.created_at
    ]
    found = []
    for execution_id in before[:LOOKED_BACK]:
        try:
            found.append(_replayed(url, execution_id))
        except MgeRayError:
            continue
    return found


def _replayed(url: str, execution_id: UUID) -> ExecutionMachine:
    return replay(execution_id, load_plan_of(url, execution_id), load_events(url, execution_id))
