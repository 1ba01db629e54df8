"""page_data: everything the page shows, as plain JSON: small, bounded, times in seconds from the start.

Code is the bulk of it. What one attempt may show is cut so far that all of it together stays below MAX_CODE_CHARS; the
page says where it was cut, and the journal keeps the whole.
"""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Any

from mge_ray.domain.attempt import AtomRecord, Attempt
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import SOFT_LIMIT_SHARE
from mge_ray.domain.execution_record import ACCEPTANCE
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.pipeline.confidence import LISTED_BELOW, reviewed, scored
from mge_ray.pipeline.observed import MoneyPoint, Observed, Span
from mge_ray.pipeline.report import ExecutionReport, review_commands

MAX_CODE_CHARS = 2_000_000
CODE_CAPS = (8_000, 4_000, 2_000, 1_000, 500, 200, 0)
MAX_DIFFED_LINES = 400
MAX_ERRORS = 3
MAX_ERROR_CHARS = 800
MAX_LISTED = 12
MAX_NAME_CHARS = 200
MAX_MONEY_POINTS = 600


def page_data(report: ExecutionReport, seen: Observed) -> dict[str, Any]:
    """Return the data of the page."""
    machine = seen.machine
    began = machine.started_at or 0.0
    spans: dict[str, list[Span]] = {}
    for span in seen.spans:
        spans.setdefault(span.atom_id, []).append(span)
    cap = _code_cap(machine)
    confidence = {item.atom_id: item.confidence for item in scored(machine)}
    atoms = [_atom(machine, record, spans.get(record.atom_id, []), began, cap) for record in machine.atoms.values()]
    for atom in atoms:
        atom["confidence"] = confidence.get(atom["id"])
    return {
        "run": {**report.model_dump(mode="json", exclude={"atoms", "waves", "review", "forecast"}), **_facts(machine)},
        "waves": [_wave(machine, wave.model_dump(mode="json"), began) for wave in report.waves],
        "acceptance": [_span(span, began) for span in spans.get(ACCEPTANCE, [])],
        "money": [_money(point, began) for point in _thinned(seen.money)],
        "pauses": [[_seconds(start - began), _seconds(end - began)] for start, end in seen.pauses],
        "rejections": _rejections(machine),
        "review_commands": review_commands(report),
        "review": [item.model_dump(mode="json") for item in report.review],
        "listed_below": LISTED_BELOW,
        "forecast": report.forecast.model_dump(mode="json") if report.forecast else None,
        "atoms": atoms,
        "code_cap": cap,
    }


def _facts(machine: ExecutionMachine) -> dict[str, Any]:
    settings = machine.settings
    if settings is None:
        return {"model": "", "escalation_model": None, "concurrency": 0, "started": None, "soft_usd": None}
    limit = machine.money.limit_usd
    return {
        "model": settings.policy.model,
        "escalation_model": settings.policy.escalation_model,
        "concurrency": settings.max_concurrency,
        "max_attempts": settings.policy.max_attempts,
        "started": machine.started_at,
        "soft_usd": None if limit is None else SOFT_LIMIT_SHARE * limit,
    }


def _wave(machine: ExecutionMachine, wave: dict[str, Any], began: float) -> dict[str, Any]:
    start, end = machine.wave_times.get(wave["wave_id"], [0.0, 0.0])
    times = [_seconds(start - began), _seconds((end or machine.last_at) - began)] if start else None
    return {**wave, "times": times}


def _atom(machine: ExecutionMachine, record: AtomRecord, spans: list[Span], began: float, cap: int) -> dict[str, Any]:
    atom = machine.plan.by_id[record.atom_id]
    return {
        "id": atom.id,
        "title": atom.title,
        "file": atom.file[:MAX_NAME_CHARS],
        "symbol": atom.symbol[:MAX_NAME_CHARS],
        "depends_on": _listed(atom.depends_on),
        "tests": _listed(atom.tests),
        "planned_lines": atom.estimated_loc,
        "wave": record.wave_id,
        "status": record.status.value,
        "cause": record.cause[:MAX_ERROR_CHARS],
        "reviewed": reviewed(record)[:MAX_ERROR_CHARS],
        "transport_errors": record.transport_errors,
        "reused_from": record.reused.source if record.reused and record.stands_reused else "",
        "workers_lost": record.workers_lost,
        "cost": round(record.cost_usd, 6),
        "unknown": round(record.unknown_usd, 6),
        "seconds": _seconds(record.active_s),
        "spans": [_span(span, began) for span in spans],
        "attempts": [
            _attempt(attempt, before, cap)
            for before, attempt in zip([None, *record.attempts], record.attempts, strict=False)
        ],
    }


def _attempt(attempt: Attempt, before: Attempt | None, cap: int) -> dict[str, Any]:
    code = attempt.code or ""
    failures = attempt.verdict.failures
    return {
        "n": attempt.number,
        "by": attempt.by[:MAX_NAME_CHARS],
        "model": attempt.settings.model[:MAX_NAME_CHARS],
        "temperature": attempt.settings.temperature,
        "effort": attempt.settings.effort,
        "max_tokens": attempt.settings.max_tokens,
        "passed": attempt.verdict.passed,
        "stop": attempt.stop_reason.value,
        "cost": round(attempt.cost_usd, 6),
        "latency": _seconds(attempt.latency_s),
        "check": _seconds(attempt.check_s),
        "tests_run": attempt.verdict.tests_run,
        "errors": [
            {
                "level": issue.level.value,
                "rule": issue.rule[:MAX_NAME_CHARS],
                "line": issue.line,
                "message": issue.message[:MAX_ERROR_CHARS],
            }
            for issue in failures[:MAX_ERRORS]
        ],
        "more_errors": max(0, len(failures) - MAX_ERRORS),
        "code": code[:cap],
        "code_chars": len(code),
        "diff": unified_diff(before, attempt, cap) if before else None,
    }


def unified_diff(before: Attempt, after: Attempt, cap: int) -> str | None:
    """Return how one attempt's code became the next one's, at most `cap` characters; None where one has no code."""
    if not before.code or not after.code:
        return None
    old, new = before.code.splitlines()[:MAX_DIFFED_LINES], after.code.splitlines()[:MAX_DIFFED_LINES]
    names = f"attempt {before.number}", f"attempt {after.number}"
    return "\n".join(difflib.unified_diff(old, new, names[0], names[1], lineterm=""))[:cap]


def _rejections(machine: ExecutionMachine) -> list[dict[str, Any]]:
    """Count rejected attempts by the level and rule of their first failure, the most frequent first."""
    first = [
        attempt.verdict.failures[0]
        for record in machine.atoms.values()
        for attempt in record.attempts
        if not attempt.verdict.passed
    ]
    counted = Counter((issue.level.value, issue.rule[:MAX_NAME_CHARS]) for issue in first)
    return [{"level": level, "rule": rule, "count": count} for (level, rule), count in counted.most_common()]


def _code_cap(machine: ExecutionMachine) -> int:
    """Return how many characters of code and of diff each attempt may show."""
    sizes = [
        len(attempt.code or "") * (1 + (attempt.number > 1))
        for record in machine.atoms.values()
        for attempt in record.attempts
    ]
    fitting = (cap for cap in CODE_CAPS if sum(min(size, 2 * cap) for size in sizes) <= MAX_CODE_CHARS)
    return next(fitting, 0)


def _thinned(points: list[MoneyPoint]) -> list[MoneyPoint]:
    """Return at most MAX_MONEY_POINTS and the last one, evenly chosen: a curve on a screen shows no more."""
    step = -(-len(points) // MAX_MONEY_POINTS) or 1
    return [*points[:-1:step], *points[-1:]]


def _money(point: MoneyPoint, began: float) -> list[float]:
    return [_seconds(point.at - began), round(point.spent_usd, 6), round(point.at_risk_usd, 6)]


def _span(span: Span, began: float) -> list[Any]:
    kind = "call" if span.pool is Pool.GENERATE else "check"
    busy = _seconds(min(span.busy_s, span.end - span.start))
    return [kind, span.attempt, _seconds(span.start - began), _seconds(span.end - began), span.outcome, busy]


def _seconds(value: float) -> float:
    return round(max(0.0, value), 3)


def _listed(names: tuple[str, ...]) -> list[str]:
    more = [f"and {len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    return [*(name[:MAX_NAME_CHARS] for name in names[:MAX_LISTED]), *more]
