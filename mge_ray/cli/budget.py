"""`mge-ray budget`: how an execution's money stands, and another limit for it, with who set it and why."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from mge_ray.cli import remote
from mge_ray.cli.change import ControlError, IdArgument, ask_or_change, found, machine_of, tell_next, user_name
from mge_ray.cli.money import money_lines
from mge_ray.cli.options import DbOption, JsonOption
from mge_ray.cli.remote import ServerOption
from mge_ray.domain.events import BudgetRaised
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.requests import check_state
from mge_ray.pipeline.report import money_report

MAX_REASON_CHARS = 2_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("budget")(budget)


def budget(
    execution_id: IdArgument,
    limit: Annotated[
        float | None, typer.Option(min=0, help="The new limit in US dollars; not below what is committed.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the journal, with your name.")] = None,
    db: DbOption = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an execution has spent and may spend; with --limit, set another limit. `resume` then goes on."""
    if (limit is None) != (reason is None):
        raise ControlError("another limit needs both --limit USD and --reason TEXT")
    if server and limit is not None and reason is not None:
        said_limit, said_reason = limit, reason[:MAX_REASON_CHARS]
        remote.steer(server, execution_id, lambda client, one: client.set_budget(one, said_limit, reason=said_reason))
        return
    if server:
        remote.show_status(server, execution_id, None, as_json=as_json)
        return
    url, stored = found(db, execution_id)
    status = stored.status
    if limit is not None and reason is not None:
        if not reason.strip():
            raise ControlError("--reason is empty; say why")
        check_state(stored.execution_id, stored.status, BudgetRaised)
        said = {"limit_usd": limit, "by": user_name(), "reason": reason[:MAX_REASON_CHARS]}
        state = ask_or_change(
            url,
            stored,
            "budget",
            said,
            lambda _: BudgetRaised(time.time(), **said),  # type: ignore[arg-type]  # as written above
        )
        status = state.status
    money = money_report(machine_of(url, stored.execution_id))
    if as_json:
        typer.echo(json.dumps({"execution_id": str(stored.execution_id), **money.model_dump(mode="json")}, indent=2))
        return
    typer.echo("\n".join(money_lines(money, simulated=stored.state.simulated)))
    if status is ExecutionStatus.PAUSED:
        tell_next(stored.state)
