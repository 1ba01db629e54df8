"""The project a run leaves: assembled, marked where it is partial, formatted, written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from mge_ray.adapters.ruff_format import format_project
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.output_folder import write_project
from mge_ray.pipeline.partial import mark_partial
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.workspace import assemble


def target_of(wanted: Path, *, complete: bool) -> Path:
    """Return where the project goes: a partial one never replaces what an earlier run has written."""
    if complete or not wanted.exists() or not any(wanted.iterdir()):
        return wanted
    return wanted.with_name(f"{wanted.name}.partial")


def write_output(plan: Masterplan, codes: Mapping[str, str], report: ExecutionReport, target: Path) -> str | None:
    """Write the project and return why it could not be written; what is not formatted is told on standard error."""
    try:
        files = mark_partial(plan, codes, assemble(plan, codes), report)
        tidied = format_project(plan, codes, files)
        write_project(tidied.files, target)
    except MgeRayError as error:
        return f"the project could not be written: {error}; its code is kept in the journal"
    for problem in tidied.problems:
        typer.echo(f"mge-ray: {problem}", err=True)
    return None
