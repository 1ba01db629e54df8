"""FactCounts: which metric each fact adds to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mge_ray.adapters.monitoring.bounded import BoundedNames
from mge_ray.adapters.monitoring.catalogue import Metrics
from mge_ray.domain.generation import Usage
from mge_ray.domain.lease import model_class
from mge_ray.domain.state import ExecutionStatus
from mge_ray.domain.validation import LEVELS
from mge_ray.execution.facts import (
    BudgetRefused,
    CallEnded,
    CallsUnanswered,
    CheckEnded,
    CodeTaken,
    Fact,
    JournalAway,
    Recovered,
    StatusChanged,
    WorkerGone,
)


class FactCounts:
    """Counts facts of all executions. `cost_usd` prices tokens of a model, or returns None for one it does not know."""

    def __init__(
        self, metrics: Metrics, classes: BoundedNames, cost_usd: Callable[[str, Usage], float | None] | None
    ) -> None:
        self._counters = metrics.counters
        self._histograms = metrics.histograms
        self._saved = metrics.gauges["mge_ray_prompt_cache_saved_usd"]
        self._classes = classes
        self._cost_usd = cost_usd
        self._by_type: dict[type, Callable[[Any], None]] = {
            CallEnded: self._call,
            CallsUnanswered: self._unanswered,
            CheckEnded: self._check,
            WorkerGone: lambda _gone: self._add("mge_ray_worker_losses_total"),
            CodeTaken: self._taken,
            BudgetRefused: lambda refused: self._add("mge_ray_budget_refusals_total", refused.scope),
            StatusChanged: self._status,
            Recovered: lambda _recovered: self._add("mge_ray_recoveries_total"),
            JournalAway: lambda _away: self._add("mge_ray_journal_failures_total"),
        }

    def count(self, fact: Fact) -> None:
        """Count one fact; some are for others."""
        counting = self._by_type.get(type(fact))
        if counting:
            counting(fact)

    def _add(self, name: str, *labels: str, by: float = 1.0) -> None:
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(by)

    def _call(self, call: CallEnded) -> None:
        name = self._classes.of(model_class(call.answered_by or call.model))
        self._add("mge_ray_calls_total", name, _outcome(call))
        if call.shared:
            return
        self._add("mge_ray_call_cost_usd_total", name, by=call.cost_usd)
        for kind in ("input", "output", "cache_read", "cache_write"):
            self._add("mge_ray_tokens_total", name, kind, by=getattr(call.usage, f"{kind}_tokens"))
        if call.failure is None:
            self._histograms["mge_ray_call_latency_seconds"].labels(name).observe(call.latency_s)
            self._saved.inc(self._saved_usd(call))

    def _unanswered(self, calls: CallsUnanswered) -> None:
        self._add("mge_ray_call_failures_total", calls.kind, calls.billing, by=calls.count)

    def _saved_usd(self, call: CallEnded) -> float:
        usage = call.usage
        cached = usage.cache_read_tokens + usage.cache_write_tokens
        if self._cost_usd is None or not cached:
            return 0.0
        model = call.answered_by or call.model
        plain = self._cost_usd(model, Usage(usage.input_tokens + cached, usage.output_tokens))
        paid = self._cost_usd(model, usage)
        return 0.0 if plain is None or paid is None else plain - paid

    def _check(self, check: CheckEnded) -> None:
        self._add("mge_ray_checks_total", check.level.value, "passed" if check.passed else "failed")
        scope = "atom" if check.atom_id else "project"
        self._histograms["mge_ray_check_seconds"].labels(scope).observe(sum(check.seconds.values()))
        for level in LEVELS:
            if level.value in check.seconds:
                self._add("mge_ray_check_level_seconds_total", level.value, by=check.seconds[level.value])

    def _taken(self, taken: CodeTaken) -> None:
        self._add("mge_ray_atoms_reused_total")
        self._add("mge_ray_reuse_saved_usd_total", by=taken.saved_usd)

    def _status(self, changed: StatusChanged) -> None:
        if changed.before is ExecutionStatus.PENDING and changed.after is ExecutionStatus.RUNNING:
            self._add("mge_ray_executions_started_total")
        elif changed.after is ExecutionStatus.PAUSED:
            self._add("mge_ray_pauses_total")
        elif changed.after.ended:
            self._add("mge_ray_executions_ended_total", changed.after.value)


def _outcome(call: CallEnded) -> str:
    if call.late:
        return "late"
    if call.failure is not None:
        return "failed"
    return "shared" if call.shared else "answered"
