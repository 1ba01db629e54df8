"""`mge-ray db`: backup, restore and pruning of the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mge_ray.adapters.journal import back_up, prune, restore, shown_url
from mge_ray.cli.options import DbOption, database


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(help="Back up, restore and prune the journal.", no_args_is_help=True)
    app.add_typer(group, name="db")

    @group.command("backup")
    def backup_(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="New file to write; none is replaced.")],
        db: DbOption = None,
    ) -> None:
        """Copy the journal to a file, whole, also while runs write to it."""
        size = back_up(database(db), file)
        typer.echo(f"{file.resolve()} ({size} bytes)")

    @group.command("restore")
    def restore_(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `db backup` wrote.")],
        db: DbOption = None,
    ) -> None:
        """Put a backup in the journal's place; the former journal is kept beside it."""
        url = database(db)
        former = restore(file, url)
        typer.echo(f"{shown_url(url)} is as in {file}" + (f"; the former one is {former}" if former else ""))

    @group.command("prune")
    def prune_(
        older_than: Annotated[
            float, typer.Option("--older-than", min=0, metavar="DAYS", help="Days since the execution's last event.")
        ],
        keep_failed: Annotated[bool, typer.Option("--keep-failed", help="Keep what failed: it can be mended.")] = False,
        db: DbOption = None,
    ) -> None:
        """Take executions out that ended long ago. What runs, is paused or interrupted stays, however old."""
        pruned = prune(database(db), older_than_days=older_than, keep_failed=keep_failed)
        keys = f" and {pruned.keys} idempotency keys" if pruned.keys else ""
        typer.echo(f"{pruned.executions} executions ({pruned.rows} rows){keys} taken out")
