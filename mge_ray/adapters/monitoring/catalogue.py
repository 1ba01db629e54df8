"""The catalogue: every metric with its name, type, labels, buckets and meaning. Nothing else is exposed.

Names of the V2 task list stay as they are there; ours begin with `mge_ray_` and carry base units.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ATOM_BUCKETS_S = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1_800)
RUN_BUCKETS_S = (5, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 5_400, 7_200, 14_400)
"""Minutes to hours: a plan of 800 atoms is meant to take an hour, or an hour and a half."""
CALL_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300)
CHECK_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Kind(str, Enum):
    """Prometheus' types, as far as they are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric. `task` is the task of the V2 list that names it, or empty."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    task: str = ""

    @property
    def exposed(self) -> tuple[str, ...]:
        """The names of its series in a query."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
        return (self.name,)

    @property
    def query_labels(self) -> tuple[str, ...]:
        """The labels that a query may use."""
        return (*self.labels, "le") if self.kind is Kind.HISTOGRAM else self.labels


def _counter(name: str, meaning: str, *labels: str, task: str = "") -> MetricSpec:
    return MetricSpec(name, Kind.COUNTER, meaning, labels, task=task)


def _gauge(name: str, meaning: str, *labels: str, task: str = "") -> MetricSpec:
    return MetricSpec(name, Kind.GAUGE, meaning, labels, task=task)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str, task: str = "") -> MetricSpec:
    return MetricSpec(name, Kind.HISTOGRAM, meaning, labels, buckets, task)


PLAN = "masterplan_id"

SEED = (
    _counter(
        "v2_retry_attempts_total",
        "Attempts by number; those above 1 are retries; 4 and more are 4.",
        "attempt",
        task="1.3",
    ),
    _gauge("v2_retry_success_rate", "Share of retried atoms that succeeded in the end.", task="1.3"),
    _counter("v2_retry_temperature_changes_total", "Attempts at another temperature than the one before.", task="1.3"),
    _gauge("v2_wave_completion_percent", "Atoms of a wave at their end.", PLAN, "wave_id", task="2.4"),
    _gauge("v2_wave_atom_throughput", "Atoms per second of the wave that reported last.", task="2.4"),
    _histogram("v2_wave_time_seconds", "Time of a whole wave.", RUN_BUCKETS_S, PLAN, "wave_id", task="2.4"),
    _gauge("v2_execution_precision_percent", "Share of atoms that succeeded.", PLAN, task="5.1"),
    _histogram(
        "v2_execution_time_seconds", "Time of a whole execution, pauses left out.", RUN_BUCKETS_S, PLAN, task="5.1"
    ),
    _counter(
        "v2_execution_cost_usd_total",
        "US dollars spent; plans that lost their series are summed up as evicted.",
        PLAN,
        task="5.1",
    ),
    _counter("v2_atoms_succeeded_total", "Atoms that reached their end accepted.", task="5.1"),
    _counter("v2_atoms_failed_total", "Atoms that reached their end failed.", task="5.1"),
    _histogram(
        "v2_atom_execution_time_seconds",
        "Time of an atom in flight, over all its attempts.",
        ATOM_BUCKETS_S,
        task="5.1",
    ),
    _gauge("v2_atom_validation_pass_rate", "Share of attempts that passed.", task="5.1"),
)

COST = (
    _counter("v2_execution_soft_limits_total", "Budgets of which 70 % was used or may have been."),
    _gauge("mge_ray_execution_spent_usd", "US dollars that a plan's live and last executions have spent.", PLAN),
    _gauge("mge_ray_execution_reserved_usd", "The most that their calls in flight can bill, in US dollars.", PLAN),
    _gauge("mge_ray_execution_unknown_usd", "The most that their vanished calls may have billed, in US dollars.", PLAN),
    _gauge("mge_ray_execution_limit_usd", "Their budgets in US dollars; no series without one.", PLAN),
    _counter(
        "mge_ray_budget_refusals_total", "Calls that did not fit a budget: of an execution, or of one atom.", "scope"
    ),
    _counter("mge_ray_call_cost_usd_total", "US dollars that calls are known to have cost.", "model_class"),
    _counter(
        "mge_ray_tokens_total",
        "Tokens by kind: input (not cached), output, cache_read, cache_write.",
        "model_class",
        "kind",
    ),
    _gauge("mge_ray_prompt_cache_saved_usd", "What the prompt cache has saved in US dollars; writes alone cost."),
)

CALLS = (
    _counter(
        "mge_ray_calls_total",
        "Calls that ended: answered, shared (another execution paid), failed, late (nobody waited for it).",
        "model_class",
        "outcome",
    ),
    _counter(
        "mge_ray_call_failures_total",
        "Calls without a usable answer, also given up ones, by kind and billing.",
        "kind",
        "billing",
    ),
    _histogram("mge_ray_call_latency_seconds", "Time of calls that were answered.", CALL_BUCKETS_S, "model_class"),
)

CONCURRENCY = (
    _gauge("mge_ray_throttle_limit", "Calls that may be in flight now.", "model_class"),
    _gauge("mge_ray_throttle_limit_highest", "The limit's own upper bound.", "model_class"),
    _gauge("mge_ray_throttle_in_flight", "Calls that hold a lease.", "model_class"),
    _gauge("mge_ray_throttle_pause_seconds", "How long nothing starts yet, as the provider asked.", "model_class"),
    _gauge(
        "mge_ray_throttle_breaker_open",
        "1 while the provider is overloaded and one call at a time tries.",
        "model_class",
    ),
    _counter(
        "mge_ray_throttle_pushbacks_total", "How often the limit was cut by 429, 529 or time-outs.", "model_class"
    ),
    _gauge(
        "mge_ray_provider_limit_per_minute",
        "What the provider allows a minute: requests, input_tokens, output_tokens.",
        "model_class",
        "resource",
    ),
    _gauge("mge_ray_work_in_flight", "Calls (generate) and checks (execute) under way.", "pool"),
    _gauge("mge_ray_work_waiting", "Calls and checks that wait for a lease, money or the end of a delay.", "pool"),
)

REUSE = (
    _counter("mge_ray_atoms_reused_total", "Atoms for which accepted code was taken over."),
    _counter("mge_ray_reuse_saved_usd_total", "US dollars that this code had cost where it was made."),
)

CHECKS = (
    _counter("mge_ray_checks_total", "Checks by the last level that ran and by verdict.", "level", "verdict"),
    _histogram("mge_ray_check_seconds", "Time of a check: of an atom, or of the project.", CHECK_BUCKETS_S, "scope"),
    _counter("mge_ray_check_level_seconds_total", "Seconds spent in each level of the checks.", "level"),
    _counter("mge_ray_worker_losses_total", "Workers that died while they checked something."),
    _gauge("mge_ray_sandbox_info", "1; the isolation of generated code.", "level"),
)

EXECUTIONS = (
    _gauge("mge_ray_executions", "Executions that this coordinator drives or holds, by status.", "status"),
    _counter("mge_ray_executions_started_total", "Executions that were begun."),
    _counter("mge_ray_executions_ended_total", "Executions that ended, by status.", "status"),
    _counter("mge_ray_pauses_total", "How often an execution was paused, by people or for want of anything."),
    _counter("mge_ray_recoveries_total", "Executions taken over from another process."),
    _counter("mge_ray_quarantines_total", "Executions set aside because their journal leads nowhere."),
    _gauge("mge_ray_journal_away", "Executions that buy nothing because the journal cannot be written."),
    _counter("mge_ray_journal_failures_total", "How often an execution lost its journal."),
    _gauge("mge_ray_build_info", "1; the version of the coordinator's code.", "version"),
)

GROUPS: tuple[tuple[str, tuple[MetricSpec, ...]], ...] = (
    ("The V2 task list", SEED),
    ("Cost", COST),
    ("Calls", CALLS),
    ("Concurrency", CONCURRENCY),
    ("Reuse", REUSE),
    ("Checks and sandbox", CHECKS),
    ("Executions", EXECUTIONS),
)
CATALOGUE = tuple(spec for _, specs in GROUPS for spec in specs)


class Metrics:
    """The catalogue as live metrics of one registry, by name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        for spec in CATALOGUE:
            if spec.kind is Kind.COUNTER:
                self.counters[spec.name] = Counter(spec.name, spec.help, spec.labels, registry=registry)
            elif spec.kind is Kind.GAUGE:
                self.gauges[spec.name] = Gauge(spec.name, spec.help, spec.labels, registry=registry)
            else:
                self.histograms[spec.name] = Histogram(
                    spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets
                )
