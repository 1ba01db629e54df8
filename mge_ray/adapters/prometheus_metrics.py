"""The engine's numbers for Prometheus, under the names of the catalogue and with bounded labels (ADR 4, 17).

Owns its registry and the rules for dropping series. One instance lives in the coordinator; a view per execution counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from mge_ray.adapters.monitoring.bounded import BoundedNames, RecentLabels, Share
from mge_ray.adapters.monitoring.catalogue import Metrics
from mge_ray.adapters.monitoring.fact_counts import FactCounts
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.generation import Usage
from mge_ray.domain.state import ExecutionStatus
from mge_ray.domain.throttle import ThrottleView
from mge_ray.execution.facts import Fact, Standing

MAX_PLANS = 32
MAX_WAVES = 64
MAX_MODEL_CLASSES = 16
MAX_ATTEMPT_LABEL = 4
RETENTION_S = 3_600.0
"""How long the series of an ended execution stay: long enough for every scrape, and to be looked at."""
EVICTED = "evicted"
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
LIVING = tuple(status for status in ExecutionStatus if not status.ended)
MONEY = ("spent", "reserved", "unknown", "limit")

CostOf = Callable[[str, Usage], float | None]


class PrometheusMetrics:
    """Counts what all executions of one coordinator do. For one thread, that of the scrapes too.

    `for_plan` gives the `Metrics` port for one execution. At most `max_plans` plans and `max_waves` waves keep series
    of their own, the least recently used go first; those of a plan whose executions have all ended go after
    `retention_s` seconds. `cost_usd` prices tokens of a model, or returns None; `now` is a clock in seconds.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        max_plans: int = MAX_PLANS,
        max_waves: int = MAX_WAVES,
        retention_s: float = RETENTION_S,
        cost_usd: CostOf | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self.catalogue = Metrics(self.registry)
        self._passed = Share(self.catalogue.gauges["v2_atom_validation_pass_rate"])
        self._retried = Share(self.catalogue.gauges["v2_retry_success_rate"])
        self._waves = RecentLabels(max_waves, self._drop_wave)
        self._plans = RecentLabels(max_plans, self._drop_plan)
        self._classes = BoundedNames(MAX_MODEL_CLASSES)
        self._facts = FactCounts(self.catalogue, self._classes, cost_usd)
        self._costs: dict[str, float] = {}
        self._views: dict[PlanMetrics, None] = {}
        self._pushbacks: dict[str, int] = {}
        self._retention_s = retention_s
        self._now = now

    def for_plan(self, masterplan_id: str) -> PlanMetrics:
        """Begin an execution of a plan: return its `Metrics`. The plan's former one gives way if it has ended."""
        for view in [view for view in self._views if view.plan == masterplan_id and view.left_at is not None]:
            del self._views[view]
        self._plans.touch((masterplan_id,))
        view = PlanMetrics(self, masterplan_id)
        self._views[view] = None
        return view

    def about(self, *, version: str, sandbox_level: str) -> None:
        """Say what runs."""
        self.catalogue.gauges["mge_ray_build_info"].labels(version).set(1)
        self.catalogue.gauges["mge_ray_sandbox_info"].labels(sandbox_level or "unknown").set(1)

    def quarantined(self) -> None:
        """Count an execution that was set aside because its journal leads nowhere."""
        self.catalogue.counters["mge_ray_quarantines_total"].inc()

    def throttled(self, views: Iterable[ThrottleView]) -> None:
        """Learn how calls are throttled, just before a scrape."""
        gauges = self.catalogue.gauges
        for view in views:
            name = self._classes.of(view.model_class)
            gauges["mge_ray_throttle_limit"].labels(name).set(view.limit)
            gauges["mge_ray_throttle_limit_highest"].labels(name).set(view.highest)
            gauges["mge_ray_throttle_in_flight"].labels(name).set(view.in_use)
            gauges["mge_ray_throttle_pause_seconds"].labels(name).set(view.paused_s)
            gauges["mge_ray_throttle_breaker_open"].labels(name).set(view.breaker_open)
            before = self._pushbacks.get(view.model_class, 0)
            more = view.pushed_back - before if view.pushed_back >= before else view.pushed_back  # it was restarted
            self.catalogue.counters["mge_ray_throttle_pushbacks_total"].labels(name).inc(more)
            self._pushbacks[view.model_class] = view.pushed_back
            allowed = {
                "requests": view.requests_per_minute,
                "input_tokens": view.input_tokens_per_minute,
                "output_tokens": view.output_tokens_per_minute,
            }
            for resource, per_minute in allowed.items():
                if per_minute is not None:
                    gauges["mge_ray_provider_limit_per_minute"].labels(name, resource).set(per_minute)

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus; its type is CONTENT_TYPE."""
        self._expire()
        self._add_up()
        return generate_latest(self.registry)

    # ---- what the views tell --------------------------------------------------------------------------------------

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Count one attempt with its verdict."""
        self.catalogue.counters["v2_retry_attempts_total"].labels(str(min(attempt, MAX_ATTEMPT_LABEL))).inc()
        self._passed.add(passed)
        if temperature_changed:
            self.catalogue.counters["v2_retry_temperature_changes_total"].inc()

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Count one atom that reached its end."""
        self.catalogue.counters["v2_atoms_succeeded_total" if succeeded else "v2_atoms_failed_total"].inc()
        self.catalogue.histograms["v2_atom_execution_time_seconds"].observe(duration_s)
        if attempts > 1:
            self._retried.add(succeeded)

    def wave_progressed(
        self, plan: str, wave_id: int, *, completed: int, total: int, elapsed_s: float, finished: bool
    ) -> None:
        """Set one wave's progress; count its time when it is finished."""
        labels = (plan, str(wave_id))
        self._waves.touch(labels)
        percent = 100.0 * completed / total if total else 100.0
        self.catalogue.gauges["v2_wave_completion_percent"].labels(*labels).set(percent)
        if elapsed_s > 0:
            self.catalogue.gauges["v2_wave_atom_throughput"].set(completed / elapsed_s)
        if finished:
            self.catalogue.histograms["v2_wave_time_seconds"].labels(*labels).observe(elapsed_s)

    def cost_added(self, plan: str, usd: float) -> None:
        """Count money spent on a plan."""
        self._plans.touch((plan,))
        self._costs[plan] = self._costs.get(plan, 0.0) + usd
        self.catalogue.counters["v2_execution_cost_usd_total"].labels(plan).inc(usd)

    def soft_limit_reached(self) -> None:
        """Count a budget of which most is used."""
        self.catalogue.counters["v2_execution_soft_limits_total"].inc()

    def execution_finished(self, plan: str, *, precision_percent: float, duration_s: float) -> None:
        """Record one execution's end."""
        self._plans.touch((plan,))
        self.catalogue.gauges["v2_execution_precision_percent"].labels(plan).set(precision_percent)
        self.catalogue.histograms["v2_execution_time_seconds"].labels(plan).observe(duration_s)

    def happened(self, fact: Fact) -> None:
        """Count whatever else happened."""
        self._facts.count(fact)

    def keep(self, view: PlanMetrics) -> None:
        """Count a view among the live ones, whatever was thought of it before."""
        self._views[view] = None

    def clock(self) -> float:
        """Return the time in seconds that retention is measured by."""
        return self._now()

    # ---- just before a scrape -------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Drop the series of plans whose executions have all ended long enough ago."""
        until = self._now() - self._retention_s
        for view in [view for view in self._views if view.left_at is not None and view.left_at <= until]:
            del self._views[view]
        live = {view.plan for view in self._views}
        self._plans.forget(lambda labels: labels[0] not in live)
        self._waves.forget(lambda labels: labels[0] not in live)

    def _add_up(self) -> None:
        """Sum up how the executions stand."""
        standings = [(view.plan, view.last) for view in self._views if view.last is not None]
        live = [last for _, last in standings if last.driven]
        gauges = self.catalogue.gauges
        for status in LIVING:
            gauges["mge_ray_executions"].labels(status.value).set(sum(one.status is status for one in live))
        for pool in Pool:
            gauges["mge_ray_work_in_flight"].labels(pool.value).set(sum(one.in_flight[pool] for one in live))
            gauges["mge_ray_work_waiting"].labels(pool.value).set(sum(one.waiting[pool] for one in live))
        gauges["mge_ray_journal_away"].set(sum(one.journal_away for one in live))
        money: dict[str, list[Standing]] = {}
        for plan, last in standings:
            money.setdefault(plan, []).append(last)
        for plan, lasts in money.items():
            if (plan,) in self._plans:
                self._set_money(plan, lasts)

    def _set_money(self, plan: str, lasts: list[Standing]) -> None:
        for name in MONEY:
            amounts = [usd for last in lasts if (usd := getattr(last, f"{name}_usd")) is not None]
            gauge = self.catalogue.gauges[f"mge_ray_execution_{name}_usd"]
            if amounts:
                gauge.labels(plan).set(sum(amounts))
            else:
                with suppress(KeyError):
                    gauge.remove(plan)

    def _drop_wave(self, labels: tuple[str, ...]) -> None:
        for metric in (
            self.catalogue.gauges["v2_wave_completion_percent"],
            self.catalogue.histograms["v2_wave_time_seconds"],
        ):
            with suppress(KeyError):
                metric.remove(*labels)

    def _drop_plan(self, labels: tuple[str, ...]) -> None:
        """Drop a plan's series; its money goes on in one common series, so that the sum never falls."""
        money = [self.catalogue.gauges[f"mge_ray_execution_{name}_usd"] for name in MONEY]
        cost = self.catalogue.counters["v2_execution_cost_usd_total"]
        gauge, histogram = (
            self.catalogue.gauges["v2_execution_precision_percent"],
            self.catalogue.histograms["v2_execution_time_seconds"],
        )
        for metric in (gauge, histogram, cost, *money):
            with suppress(KeyError):
                metric.remove(*labels)
        usd = self._costs.pop(labels[0], 0.0)
        if usd:
            cost.labels(EVICTED).inc(usd)


class PlanMetrics:
    """The `Metrics` port of one execution: the labels are known here, and nowhere in the engine.

    `last` is how it stands, `left_at` when it ended or this process left it; None while it goes on.
    One that has not begun counts as left: it may never begin.
    """

    def __init__(self, metrics: PrometheusMetrics, masterplan_id: str) -> None:
        self._metrics = metrics
        self.plan = masterplan_id
        self.last: Standing | None = None
        self.left_at: float | None = metrics.clock()

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Count one attempt with its verdict."""
        self._metrics.attempt_made(attempt=attempt, passed=passed, temperature_changed=temperature_changed)

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Count one atom that reached its end."""
        self._metrics.atom_finished(succeeded=succeeded, attempts=attempts, duration_s=duration_s)

    def wave_progress(self, *, wave_id: int, completed: int, total: int, elapsed_s: float, finished: bool) -> None:
        """Set one wave's progress; `finished` is true once per wave."""
        self._metrics.wave_progressed(
            self.plan, wave_id, completed=completed, total=total, elapsed_s=elapsed_s, finished=finished
        )

    def cost_added(self, *, usd: float) -> None:
        """Count money spent."""
        self._metrics.cost_added(self.plan, usd)

    def soft_limit_reached(self) -> None:
        """Count a budget of which most is used."""
        self._metrics.soft_limit_reached()

    def execution_finished(self, *, precision_percent: float, duration_s: float) -> None:
        """Record this execution's end."""
        self._metrics.execution_finished(self.plan, precision_percent=precision_percent, duration_s=duration_s)

    def happened(self, fact: Fact) -> None:
        """Count whatever else happened."""
        self._metrics.happened(fact)

    def standing(self, standing: Standing) -> None:
        """Keep how the execution stands for the next scrape."""
        self.last = standing
        if standing.driven and not standing.status.ended:
            self.left_at = None
            self._metrics.keep(self)
        elif self.left_at is None:
            self.left_at = self._metrics.clock()
