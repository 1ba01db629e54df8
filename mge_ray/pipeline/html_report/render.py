"""render: style, script and data put into the frame, so that nothing outside the file is needed or allowed.

The content security policy names the hashes of the one style and the one script: nothing else on the page can run or
load, whatever hostile text it shows. The data is a JSON block, which no browser executes; `<`, `>` and `&` are written
as escapes in it, so no text can end the block early. The script builds the page from text nodes alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from mge_ray.domain.state import ExecutionStatus
from mge_ray.pipeline.html_report.page_data import page_data
from mge_ray.pipeline.observed import Observed
from mge_ray.pipeline.report import ExecutionReport

FINAL = {status.value for status in ExecutionStatus if status.ended}
SCRIPTS = ("base.js", "overview.js", "charts.js", "atoms.js", "page.js")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(report: ExecutionReport, seen: Observed) -> str:
    """Return the page of one execution: its report, and its history as read from the journal."""
    style, script = _asset("style.css"), "".join(map(_asset, SCRIPTS))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash_source(style)}",
            f"script-src {_hash_source(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    parts = {
        "policy": html.escape(policy, quote=True),
        "title": html.escape(f"{report.name} · {report.status}"),
        "name": html.escape(report.name),
        "kind": "Simulated run" if report.simulated else "Live run",
        "kind_class": "simulated" if report.simulated else "live",
        "headline": html.escape(headline(report)),
        "style": style,
        "data": _json_block(page_data(report, seen)),
        "script": script,
    }
    page: list[str] = []
    for piece in _asset("template.html").split("{{"):
        name, closed, rest = piece.partition("}}")
        page.append(parts[name] + rest if closed else piece)
    return "".join(page)


def headline(report: ExecutionReport) -> str:
    """Return the execution in one sentence."""
    so_far = "" if report.status in FINAL else " so far"
    said = f"{report.atoms_succeeded:,} of {report.atoms_total:,} atoms succeeded{so_far}"
    if report.atoms_failed:
        said += f", {report.atoms_failed:,} failed"
    if report.atoms_blocked:
        said += f", {report.atoms_blocked:,} blocked"
    cost = f"{'a simulated ' if report.simulated else ''}${report.total_cost_usd:,.2f}"
    said += f", in {duration(report.total_time_seconds)} and for {cost}"
    if report.acceptance_passed is not None:
        said += f"; the acceptance tests {'passed' if report.acceptance_passed else 'failed'}"
    return said + "."


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 100:  # noqa: PLR2004  # below that, tenths matter
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@lru_cache(maxsize=16)
def _asset(name: str) -> str:
    return files("mge_ray.pipeline.html_report").joinpath(name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json_block(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text.encode(errors="replace").decode()
