"""Options that several commands share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mge_ray.adapters.journal import default_url, normalise_url, upgrade
from mge_ray.cli.ray_job import base_folder, kept
from mge_ray.domain.errors import MgeRayError

PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="Plan file, YAML or JSON (see `mge-ray schema`).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]
DbOption = Annotated[
    str | None,
    typer.Option("--db", envvar="MGE_RAY_DB", help="Journal: a file, or a postgresql:// URL. [.mge/journal.db]"),
]
PriceOption = Annotated[
    list[str] | None,
    typer.Option("--price", metavar="MODEL=IN/OUT", help="Price in dollars per million tokens; may be repeated."),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Ask for everything again, also for planning that is in the journal already.")
]


class UnwritableError(MgeRayError):
    """A file or folder that could not be written afterwards."""


def check_folder(option: str, path: Path) -> None:
    """Try to write where `path` will lie."""
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    try:
        Path(tempfile.mkdtemp(dir=folder)).rmdir()
    except OSError as error:
        raise UnwritableError(f"{option} {path} cannot be written: {folder}: {error.strerror}") from None


def database(db: str | None) -> str:
    """Return the journal's URL."""
    if not db:
        return default_url(base_folder())
    return normalise_url(db if "://" in db else f"sqlite:///{kept(Path(db))}")


def upgrade_if_there(url: str) -> None:
    """Bring an existing database to this version's schema; make none."""
    if not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists():
        upgrade(url)
