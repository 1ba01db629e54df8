"""`mge-ray report`, and the report files of `run`: JSON for machines, one HTML page for people, from the journal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from mge_ray.adapters.journal import load_events, load_execution, load_plan_of
from mge_ray.adapters.prices import PriceTable
from mge_ray.cli.options import DbOption, check_folder, database
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.generation import Usage
from mge_ray.pipeline.html_report import render
from mge_ray.pipeline.observed import Observed, observe
from mge_ray.pipeline.report import ExecutionReport, build_report, review_commands

PAGES = {".html", ".htm"}
DATA = ".json"
REVIEW_SHOWN = 10


class ReportError(MgeRayError):
    """A report that cannot be made as asked."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("report")
    def report(
        execution_id: str = typer.Argument(..., metavar="ID", help="Execution id, or its first characters."),
        out: Annotated[
            list[Path] | None, typer.Option(help="File to write: .html is a page, .json is data; may be repeated.")
        ] = None,
        db: DbOption = None,
    ) -> None:
        """Tell which atoms of any execution to look at, and write its report; from the journal, no Ray needed."""
        out = out or []
        check_reports("--out", out)
        url = database(db)
        stored = load_execution(url, execution_id)
        made, seen = read_report(url, stored.execution_id)
        if stored.interrupted(time.time()):
            made = made.model_copy(update={"status": "interrupted", "reason": "its process is gone"})
        for path in out:
            try:
                write_report(path, made, seen)
            except OSError as error:
                raise ReportError(f"{path} could not be written: {error.strerror}") from None
            typer.echo(f"{path.resolve()}")
        for line in _review(made):
            typer.echo(line)


def _review(made: ExecutionReport) -> list[str]:
    """Return the atoms to look at and, at the end, what acts on them."""
    lines = []
    for item in made.review[:REVIEW_SHOWN]:
        done = f" [{item.reviewed}]" if item.reviewed else ""
        lines.append(f"review     {item.atom_id}, confidence {item.confidence}: {item.reasons[0].text}{done}")
    if len(made.review) > REVIEW_SHOWN:
        lines.append(f"           and {len(made.review) - REVIEW_SHOWN} more")
    if not lines:
        return ["review     nothing stands out: no atom is of low confidence"]
    return [*lines, *review_commands(made)]


def check_reports(option: str, paths: list[Path]) -> None:
    """Refuse beforehand what could not be written afterwards."""
    for path in paths:
        if path.is_dir():
            raise ReportError(f"{option} {path} is a folder; name a file")
        if path.suffix.lower() not in {*PAGES, DATA}:
            raise ReportError(f"{option} {path}: a report's name ends with .html (for people) or .json (for machines)")
        check_folder(option, path)


def read_report(url: str, execution_id: UUID, prices: PriceTable | None = None) -> tuple[ExecutionReport, Observed]:
    """Return what the journal knows of an execution, as a report and as its history."""
    known = prices or PriceTable()

    def cost_usd(model: str, usage: Usage) -> float | None:
        return known.cost_usd(model, usage) if known.knows(model) else None

    seen = observe(execution_id, load_plan_of(url, execution_id), load_events(url, execution_id))
    return build_report(seen.machine, seen, cost_usd), seen


def write_report(path: Path, report: ExecutionReport, seen: Observed | None) -> None:
    """Write one file; its suffix says what kind. A page needs the history."""
    page = path.suffix.lower() in PAGES and seen is not None
    text = render(report, seen) if page and seen else report.model_dump_json(indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_reports(
    paths: tuple[Path, ...], url: str, known: ExecutionReport, prices: PriceTable | None = None
) -> tuple[ExecutionReport, str | None]:
    """Write the files of a run that has ended; return its report and, if one could not be written, why.

    The journal adds tokens and history to what the engine knew; where it cannot be read, JSON is written without them.
    """
    seen: Observed | None = None
    problem: str | None = None
    try:
        made, seen = read_report(url, UUID(known.execution_id), prices)
        known = made.model_copy(update={"status": known.status, "reason": known.reason})
    except MgeRayError as error:
        if paths:
            problem = f"the journal could not be read for the report: {error}"
    for path in paths:
        if seen is None and path.suffix.lower() in PAGES:
            continue
        try:
            write_report(path, known, seen)
        except OSError as error:
            problem = f"the report could not be written: {error}"
    return known, problem
