"""Reads metrics from their text, and says what those of some executions must be by their reports."""

from __future__ import annotations

import re

import pytest

from mge_ray.pipeline.report import ExecutionReport

LINE = re.compile(r"^(?P<name>[a-z]\w*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every series with its value."""
    return {
        (found["name"], frozenset(re.findall(r'(\w+)="([^"]*)"', found["labels"] or ""))): float(found["value"])
        for found in LINE.finditer(text)
    }


def total(text: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's series that have these labels."""
    wanted = set(labels.items())
    return sum(value for (series, having), value in read(text).items() if series == name and wanted <= having)


def expect_the_reports_counts(text: str, before: str, *reports: ExecutionReport) -> None:
    """Expect that what was counted between two scrapes is what the reports say."""

    def grew(name: str, **labels: str) -> float:
        return total(text, name, **labels) - total(before, name, **labels)

    def summed(field: str) -> float:
        return sum(getattr(report, field) for report in reports)

    assert grew("v2_retry_attempts_total") == summed("attempts")
    numbers = [attempt.number for report in reports for atom in report.atoms for attempt in atom.attempts]
    for number in range(1, 5):
        assert grew("v2_retry_attempts_total", attempt=str(number)) == numbers.count(number)
    assert grew("v2_atoms_succeeded_total") == summed("atoms_succeeded")
    assert grew("v2_atoms_failed_total") == summed("atoms_failed")
    assert grew("v2_execution_cost_usd_total") == pytest.approx(summed("total_cost_usd"))
    assert grew("mge_ray_call_cost_usd_total") == pytest.approx(summed("total_cost_usd"))
    assert grew("mge_ray_calls_total", outcome="answered") == sum(report.calls.answers for report in reports)
    assert grew("mge_ray_calls_total", outcome="failed") == summed("transport_errors")
    assert grew("mge_ray_call_latency_seconds_count") == sum(report.calls.answers for report in reports)
    kinds = {kind for report in reports for kind in report.calls.by_kind}
    for kind in kinds:
        name, _, billing = kind.partition(":")
        counted = sum(report.calls.by_kind.get(kind, 0) for report in reports)
        assert grew("mge_ray_call_failures_total", kind=name, billing=billing) == counted
    assert grew("mge_ray_call_failures_total") == sum(sum(report.calls.by_kind.values()) for report in reports)
    tokens = [report.tokens for report in reports if report.tokens]
    for kind in ("input", "output", "cache_read", "cache_write"):
        assert grew("mge_ray_tokens_total", kind=kind) == sum(getattr(one, kind) for one in tokens)
    assert grew("mge_ray_check_seconds_sum", scope="atom") == pytest.approx(summed("check_seconds"))
    assert grew("mge_ray_atoms_reused_total") == sum(report.reuse.atoms_reused for report in reports)
    for status in ("completed", "failed", "cancelled"):
        assert grew("mge_ray_executions_ended_total", status=status) == [one.status for one in reports].count(status)
