"""`mge-ray submit` and `mge-ray fetch`: a plan executed by a service elsewhere, and its project brought here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mge_ray.cli import remote
from mge_ray.cli.options import PlanArgument
from mge_ray.pipeline.plan_file import load_plan

Server = Annotated[
    str, typer.Option("--server", metavar="URL", envvar="MGE_RAY_SERVER", help="The service; token in $MGE_RAY_TOKEN.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("submit")(submit)
    app.command("fetch")(fetch)


def submit(
    plan: PlanArgument,
    server: Server,
    out: Annotated[Path | None, typer.Option(help="Folder for the project at the end. [not fetched]")] = None,
    model: Annotated[str | None, typer.Option(help="Model of the attempts. [the service's]")] = None,
    escalation_model: Annotated[
        str | None, typer.Option(help="Model of the last attempt; '' for none. [the service's]")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Hard limit in US dollars. [200]")] = None,
    atom_budget: Annotated[float | None, typer.Option(min=0, help="What a single atom may cost in dollars.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Calls in flight at most. [100]")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=10, help="A step doubles its share of the engine.")] = None,
    reuse: Annotated[bool, typer.Option(help="Take over code that passed the same checks in an earlier run.")] = True,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key and plan start once. [made anew]")
    ] = None,
) -> None:
    """Start a plan on a service, print its id, follow it to its end. Exit codes are those of `run`."""
    settings = remote.choices(
        model=model,
        escalation_model=escalation_model,
        budget_usd=budget,
        atom_budget_usd=atom_budget,
        max_concurrency=concurrency,
        priority=priority,
        reuse=reuse,
    )
    sys.exit(remote.submit(server, load_plan(plan), settings, key=key, out=out))


def fetch(
    execution_id: Annotated[str, typer.Argument(metavar="ID", help="Execution id, or its first characters.")],
    server: Server,
    out: Annotated[Path, typer.Option(help="Folder for the project.")],
) -> None:
    """Fetch an execution's project from a service, partial while atoms are missing."""
    remote.fetch(server, execution_id, out)
