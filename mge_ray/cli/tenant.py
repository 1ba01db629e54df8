"""`mge-ray tenant`: who shares the engine, what they have spent together, and one limit for all of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Annotated, Any

import typer
from rich.table import Table

from mge_ray.adapters.journal import list_tenants, set_tenant_limit, tenant_standing
from mge_ray.cli.budget import MAX_REASON_CHARS
from mge_ray.cli.change import ControlError, user_name
from mge_ray.cli.console import console
from mge_ray.cli.options import DbOption, JsonOption, database, upgrade_if_there
from mge_ray.cli.status import moment
from mge_ray.domain.access import checked_tenant
from mge_ray.domain.cost import NANO, SOFT_LIMIT_SHARE
from mge_ray.domain.tenants import Sums, TenantStanding

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="Its name.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Limits over all executions of a tenant.", no_args_is_help=True)
    app.add_typer(group, name="tenant")
    group.command("list")(list_)
    group.command("show")(show)
    group.command("budget")(budget)


def list_(db: DbOption = None, as_json: JsonOption = False) -> None:
    """List tenants with what they have spent and may spend."""
    url = database(db)
    upgrade_if_there(url)
    rows = [_row(name, tenant_standing(url, name)) for name in list_tenants(url)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("tenant", "executions", "spent", "reserved", "unknown", "limit", "since", box=None, pad_edge=False)
    for row in rows:
        money = [_usd(row[name]) for name in ("spent_usd", "reserved_usd", "unknown_usd", "limit_usd")]
        table.add_row(row["tenant"], str(row["executions"]), *money, row["since"] or "ever")
    console().print(table if rows else "no tenants yet")


def show(tenant: TenantArgument, db: DbOption = None, as_json: JsonOption = False) -> None:
    """Show what a tenant's executions have spent and may spend together."""
    url = database(db)
    upgrade_if_there(url)
    _print(checked_tenant(tenant), tenant_standing(url, tenant), as_json=as_json)


def budget(
    tenant: TenantArgument,
    limit: Annotated[float, typer.Option(min=0, help="US dollars for all of its executions together.")],
    reason: Annotated[str, typer.Option(help="Why; kept with your name.")],
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Executions begun before this day (UTC) do not count. [as before]"),
    ] = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set a tenant's limit. Running engines heed it within a second or two; `resume` goes on with what was paused."""
    if not reason.strip():
        raise ControlError("--reason is empty; say why")
    begins = None if since is None else since.replace(tzinfo=timezone.utc).timestamp()
    standing = set_tenant_limit(
        database(db), tenant, limit, by=user_name(), reason=reason[:MAX_REASON_CHARS], since=begins
    )
    _print(tenant, standing, as_json=as_json)


def _print(tenant: str, standing: TenantStanding, *, as_json: bool) -> None:
    row = _row(tenant, standing)
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    used = ", of which 70 % is used" if row["soft_limit_reached"] else ""
    lines = [
        f"tenant     {tenant}",
        f"executions {row['executions']}, begun since {row['since'] or 'ever'}",
        f"spent      {_usd(row['spent_usd'])}",
        f"reserved   {_usd(row['reserved_usd'])}",
        f"unknown    {_usd(row['unknown_usd'])}",
        f"limit      {_usd(row['limit_usd'])}{used}",
    ]
    console().print("\n".join(lines), markup=False, soft_wrap=True)


def _row(tenant: str, standing: TenantStanding) -> dict[str, Any]:
    sums = Sums(*(sum(column) for column in zip(Sums(), *standing.executions.values(), strict=True)))
    used, limit = (sums.spent + sums.unknown) / NANO, standing.limit_usd
    return {
        "tenant": tenant,
        "executions": len(standing.executions),
        "since": moment(standing.since) if standing.since else None,
        "spent_usd": sums.spent / NANO,
        "reserved_usd": sums.reserved / NANO,
        "unknown_usd": sums.unknown / NANO,
        "limit_usd": limit,
        "soft_limit_reached": limit is not None and 0 < used >= SOFT_LIMIT_SHARE * limit,
    }


def _usd(amount: float | None) -> str:
    return "none" if amount is None else f"${amount:.4f}"
