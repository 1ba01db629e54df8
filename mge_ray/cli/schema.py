"""`mge-ray schema`: the JSON Schema of plan files."""

from __future__ import annotations

import json

import typer

from mge_ray.pipeline.plan_file import plan_schema


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("schema")
    def schema() -> None:
        """Print the JSON Schema of plan files."""
        typer.echo(json.dumps(plan_schema(), indent=2))
