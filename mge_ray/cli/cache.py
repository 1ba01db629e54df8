"""`mge-ray cache stats|clear`: what accepted code is kept in the database. `run` reads and fills it (ADR 14)."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from mge_ray.adapters.journal import clear_kept, kept_by_plan
from mge_ray.cli.console import console
from mge_ray.cli.options import DbOption, JsonOption, database
from mge_ray.cli.status import moment

DAY_S = 86_400.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    cache = typer.Typer(help="Accepted code that later runs take over instead of buying it.", no_args_is_help=True)
    app.add_typer(cache, name="cache")

    @cache.command("stats")
    def stats(db: DbOption = None, as_json: JsonOption = False) -> None:
        """Show what is kept, plan by plan, and what using it saves."""
        kept = kept_by_plan(database(db))
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in kept], indent=2))
            return
        table = Table("plan", "atoms", "kB", "worth", "unused since", "last used", box=None, pad_edge=False)
        for one in kept:
            size = f"{one.size_bytes / 1_000:.1f}"
            used = moment(one.oldest_use_at), moment(one.latest_use_at)
            table.add_row(one.plan_name, str(one.entries), size, f"${one.worth_usd:.4f}", *used)
        console().print(table if kept else "nothing is kept")

    @cache.command("clear")
    def clear(
        older_than: Annotated[
            float | None, typer.Option(metavar="DAYS", min=0, help="Only what was not used for so many days.")
        ] = None,
        plan: Annotated[str | None, typer.Option(metavar="NAME", help="Only what was kept for this plan.")] = None,
        db: DbOption = None,
    ) -> None:
        """Forget accepted code: all of it, or what the options name. The journal keeps its own."""
        since = None if older_than is None else time.time() - older_than * DAY_S
        gone = clear_kept(database(db), unused_since=since, plan_name=plan)
        typer.echo(f"{gone} {'entry' if gone == 1 else 'entries'} forgotten")
