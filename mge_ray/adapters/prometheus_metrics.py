"""The engine's numbers for Prometheus, under the names of the V2 task list and with bounded labels (ADR 0004).

Owns its registry and the rules for dropping series. One instance lives in the coordinator; a view per plan counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

MAX_PLANS = 32
MAX_WAVES = 64
MAX_ATTEMPT_LABEL = 4
EVICTED = "evicted"
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

ATOM_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1_800)
RUN_BUCKETS_S = (5, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 5_400, 7_200, 14_400)
"""Minutes to hours: a plan of 800 atoms is meant to take an hour, or an hour and a half."""


class PrometheusMetrics:
    """Counts what all executions of one coordinator do. For one thread; scrapes may come from others.

    `for_plan` gives the `Metrics` port for one execution. At most `max_plans` plans and `max_waves` waves keep series
    of their own: the least recently used go first, and waves of finished executions as soon as another one begins.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        max_plans: int = MAX_PLANS,
        max_waves: int = MAX_WAVES,
    ) -> None:
        own = CollectorRegistry() if registry is None else registry
        self.registry = own
        self._attempts = Counter(
            "v2_retry_attempts", "Attempts by number; those above 1 are retries.", ["attempt"], registry=own
        )
        self._retry_success = Gauge(
            "v2_retry_success_rate", "Share of retried atoms that succeeded in the end.", registry=own
        )
        self._temperature_changes = Counter(
            "v2_retry_temperature_changes", "Attempts at another temperature than the one before.", registry=own
        )
        self._wave_completion = Gauge(
            "v2_wave_completion_percent", "Atoms of a wave at their end.", ["masterplan_id", "wave_id"], registry=own
        )
        self._wave_throughput = Gauge(
            "v2_wave_atom_throughput", "Atoms per second of the wave that reported last.", registry=own
        )
        self._wave_time = Histogram(
            "v2_wave_time_seconds",
            "Time of a whole wave.",
            ["masterplan_id", "wave_id"],
            registry=own,
            buckets=RUN_BUCKETS_S,
        )
        self._precision = Gauge(
            "v2_execution_precision_percent", "Share of atoms that succeeded.", ["masterplan_id"], registry=own
        )
        self._execution_time = Histogram(
            "v2_execution_time_seconds",
            "Time of a whole execution.",
            ["masterplan_id"],
            registry=own,
            buckets=RUN_BUCKETS_S,
        )
        self._cost = Counter("v2_execution_cost_usd", "US dollars spent.", ["masterplan_id"], registry=own)
        self._soft_limits = Counter(
            "v2_execution_soft_limits", "Budgets of which 70 % was used or may have been.", registry=own
        )
        self._succeeded = Counter("v2_atoms_succeeded", "Atoms that succeeded.", registry=own)
        self._failed = Counter("v2_atoms_failed", "Atoms that failed.", registry=own)
        self._atom_time = Histogram(
            "v2_atom_execution_time_seconds",
            "Time of an atom over all its attempts.",
            registry=own,
            buckets=ATOM_BUCKETS_S,
        )
        self._pass_rate = Gauge("v2_atom_validation_pass_rate", "Share of attempts that passed.", registry=own)

        self._passed = Share(self._pass_rate)
        self._retried = Share(self._retry_success)
        self._waves = RecentLabels(max_waves, self._drop_wave)
        self._plans = RecentLabels(max_plans, self._drop_plan)
        self._costs: dict[str, float] = {}
        self._finished: set[str] = set()

    def for_plan(self, masterplan_id: str) -> PlanMetrics:
        """Begin an execution of a plan: return its `Metrics`, and let go of the waves of finished executions."""
        self._waves.forget(lambda labels: labels[0] in self._finished)
        self._finished.clear()
        self._plans.touch((masterplan_id,))
        return PlanMetrics(self, masterplan_id)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus; its type is CONTENT_TYPE."""
        return generate_latest(self.registry)

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Count one attempt with its verdict."""
        self._attempts.labels(str(min(attempt, MAX_ATTEMPT_LABEL))).inc()
        self._passed.add(passed)
        if temperature_changed:
            self._temperature_changes.inc()

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Count one atom that reached its end."""
        (self._succeeded if succeeded else self._failed).inc()
        self._atom_time.observe(duration_s)
        if attempts > 1:
            self._retried.add(succeeded)

    def wave_progressed(
        self, plan: str, wave_id: int, *, completed: int, total: int, elapsed_s: float, finished: bool
    ) -> None:
        """Set one wave's progress; count its time when it is finished."""
        labels = (plan, str(wave_id))
        self._waves.touch(labels)
        self._wave_completion.labels(*labels).set(100.0 * completed / total if total else 100.0)
        if elapsed_s > 0:
            self._wave_throughput.set(completed / elapsed_s)
        if finished:
            self._wave_time.labels(*labels).observe(elapsed_s)

    def cost_added(self, plan: str, usd: float) -> None:
        """Count money spent on a plan."""
        self._plans.touch((plan,))
        self._costs[plan] = self._costs.get(plan, 0.0) + usd
        self._cost.labels(plan).inc(usd)

    def soft_limit_reached(self) -> None:
        """Count a budget of which most is used."""
        self._soft_limits.inc()

    def execution_finished(self, plan: str, *, precision_percent: float, duration_s: float) -> None:
        """Record one execution's end."""
        self._plans.touch((plan,))
        self._precision.labels(plan).set(precision_percent)
        self._execution_time.labels(plan).observe(duration_s)
        self._finished.add(plan)

    def _drop_wave(self, labels: tuple[str, ...]) -> None:
        for metric in (self._wave_completion, self._wave_time):
            with suppress(KeyError):
                metric.remove(*labels)

    def _drop_plan(self, labels: tuple[str, ...]) -> None:
        """Drop a plan's series; its money goes on in one common series, so that the sum never falls."""
        for metric in (self._precision, self._execution_time, self._cost):
            with suppress(KeyError):
                metric.remove(*labels)
        usd = self._costs.pop(labels[0], 0.0)
        if usd:
            self._cost.labels(EVICTED).inc(usd)


class PlanMetrics:
    """The `Metrics` port of one execution: the labels are known here, and nowhere in the engine."""

    def __init__(self, metrics: PrometheusMetrics, masterplan_id: str) -> None:
        self._metrics = metrics
        self._plan = masterplan_id

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Count one attempt with its verdict."""
        self._metrics.attempt_made(attempt=attempt, passed=passed, temperature_changed=temperature_changed)

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Count one atom that reached its end."""
        self._metrics.atom_finished(succeeded=succeeded, attempts=attempts, duration_s=duration_s)

    def wave_progress(self, *, wave_id: int, completed: int, total: int, elapsed_s: float, finished: bool) -> None:
        """Set one wave's progress; `finished` is true once per wave."""
        self._metrics.wave_progressed(
            self._plan, wave_id, completed=completed, total=total, elapsed_s=elapsed_s, finished=finished
        )

    def cost_added(self, *, usd: float) -> None:
        """Count money spent."""
        self._metrics.cost_added(self._plan, usd)

    def soft_limit_reached(self) -> None:
        """Count a budget of which most is used."""
        self._metrics.soft_limit_reached()

    def execution_finished(self, *, precision_percent: float, duration_s: float) -> None:
        """Record this execution's end."""
        self._metrics.execution_finished(self._plan, precision_percent=precision_percent, duration_s=duration_s)


class Share:
    """A gauge between 0 and 1: how many of the things seen so far were good."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._good = 0
        self._all = 0

    def add(self, good: bool) -> None:  # noqa: FBT001 - the one thing there is to say
        """Count one thing."""
        self._good += good
        self._all += 1
        self._gauge.set(self._good / self._all)


class RecentLabels:
    """Label values that have series, at most `limit` of them; `drop` is told which ones lose theirs."""

    def __init__(self, limit: int, drop: Callable[[tuple[str, ...]], None]) -> None:
        self._limit = limit
        self._drop = drop
        self._recent: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def touch(self, labels: tuple[str, ...]) -> None:
        """Use `labels` now, and drop the least recently used beyond the limit."""
        self._recent[labels] = None
        self._recent.move_to_end(labels)
        while len(self._recent) > self._limit:
            self._drop(self._recent.popitem(last=False)[0])

    def forget(self, unwanted: Callable[[tuple[str, ...]], bool]) -> None:
        """Drop all labels that `unwanted` says true of."""
        for labels in [labels for labels in self._recent if unwanted(labels)]:
            del self._recent[labels]
            self._drop(labels)
