"""`mge-ray init`: a small plan to start from."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree, ignore_patterns

import typer

from mge_ray.domain.errors import MgeRayError


class InitError(MgeRayError):
    """A folder that a new plan cannot be written to."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("init")
    def init(folder: Path = typer.Argument(Path("my-plan"), help="Folder to create.")) -> None:
        """Write a small plan with its skeleton, tests and simulated answers."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InitError(f"{folder} exists and is not an empty folder; name another one")
        try:
            with as_file(files("mge_ray.cli") / "starter") as starter:
                copytree(starter, folder, dirs_exist_ok=True, ignore=ignore_patterns("__pycache__"))
        except OSError as error:
            raise InitError(f"{folder} cannot be written: {error.strerror}") from None
        typer.echo(f"wrote {folder}/plan.yaml; try: mge-ray run {folder}/plan.yaml --simulate")
