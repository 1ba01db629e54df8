"""The Grafana dashboard: panels in rows, as data; Grafana's own JSON is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, COLUMNS = 8, 8, 3
PLAN = 'masterplan_id=~"$plan"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 39


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `queries` are (PromQL, legend), `unit` is Grafana's name of one."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"


def _quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    legend = f" {{{{{by}}}}}" if by else ""
    groups = f"le, {by}" if by else "le"
    return tuple(
        (f"histogram_quantile({q}, sum by ({groups}) (rate({metric}_bucket[10m])))", f"p{round(100 * q)}{legend}")
        for q in (0.5, 0.95)
    )


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            Panel("Executions", (("mge_ray_executions", "{{status}}"),), kind="stat"),
            Panel(
                "Precision", ((f"v2_execution_precision_percent{{{PLAN}}}", "{{masterplan_id}}"),), "percent", "stat"
            ),
            Panel(
                "Build and sandbox",
                (("mge_ray_build_info", "{{version}}"), ("mge_ray_sandbox_info", "sandbox {{level}}")),
                kind="stat",
            ),
            Panel(
                "Waves",
                ((f"v2_wave_completion_percent{{{PLAN}}}", "wave {{wave_id}} of {{masterplan_id}}"),),
                "percent",
            ),
            Panel("Atoms per second", (("v2_wave_atom_throughput", "the wave that reported last"),)),
            Panel(
                "Atoms at their end",
                (
                    ("increase(v2_atoms_succeeded_total[10m])", "succeeded"),
                    ("increase(v2_atoms_failed_total[10m])", "failed"),
                    ("increase(mge_ray_atoms_reused_total[10m])", "of them reused"),
                ),
            ),
        ),
    ),
    (
        "Money",
        (
            Panel(
                "Budget",
                tuple(
                    (f"mge_ray_execution_{name}_usd{{{PLAN}}}", f"{name} {{{{masterplan_id}}}}")
                    for name in ("spent", "reserved", "unknown", "limit")
                ),
                "currencyUSD",
            ),
            Panel(
                "Dollars per hour",
                (("sum(rate(v2_execution_cost_usd_total[10m])) * 3600", "all plans"),),
                "currencyUSD",
            ),
            Panel(
                "Refused and soft limits",
                (
                    ("increase(mge_ray_budget_refusals_total[10m])", "refused: {{scope}}"),
                    ("increase(v2_execution_soft_limits_total[10m])", "soft limits"),
                ),
            ),
            Panel(
                "Dollars by model",
                (("sum by (model_class) (increase(mge_ray_call_cost_usd_total[1h]))", "{{model_class}}"),),
                "currencyUSD",
            ),
            Panel("Tokens per second", (("sum by (kind) (rate(mge_ray_tokens_total[10m]))", "{{kind}}"),)),
            Panel(
                "Saved",
                (
                    ("mge_ray_prompt_cache_saved_usd", "prompt cache"),
                    ("mge_ray_reuse_saved_usd_total", "accepted code reused"),
                ),
                "currencyUSD",
            ),
        ),
    ),
    (
        "Calls",
        (
            Panel(
                "In flight and limit",
                (
                    ("mge_ray_throttle_in_flight", "in flight {{model_class}}"),
                    ("mge_ray_throttle_limit", "limit {{model_class}}"),
                    ("mge_ray_throttle_limit_highest", "highest {{model_class}}"),
                ),
            ),
            Panel(
                "Throttle",
                (
                    ("increase(mge_ray_throttle_pushbacks_total[10m])", "pushed back {{model_class}}"),
                    ("mge_ray_throttle_breaker_open", "breaker {{model_class}}"),
                    ("mge_ray_throttle_pause_seconds", "pause in s {{model_class}}"),
                ),
            ),
            Panel(
                "Work under way and waiting",
                (("mge_ray_work_in_flight", "{{pool}} in flight"), ("mge_ray_work_waiting", "{{pool}} waiting")),
            ),
            Panel("Calls per second", (("sum by (outcome) (rate(mge_ray_calls_total[5m]))", "{{outcome}}"),)),
            Panel(
                "Failures by kind",
                (("sum by (kind, billing) (increase(mge_ray_call_failures_total[10m]))", "{{kind}}, {{billing}}"),),
            ),
            Panel("Latency", _quantiles("mge_ray_call_latency_seconds", "model_class"), "s"),
            Panel(
                "The provider's limits a minute",
                (("mge_ray_provider_limit_per_minute", "{{model_class}} {{resource}}"),),
            ),
        ),
    ),
    (
        "Attempts and checks",
        (
            Panel("Attempts by number", (("increase(v2_retry_attempts_total[10m])", "attempt {{attempt}}"),)),
            Panel(
                "Rates",
                (
                    ("v2_atom_validation_pass_rate", "attempts that passed"),
                    ("v2_retry_success_rate", "retried atoms that succeeded"),
                ),
                "percentunit",
            ),
            Panel("Temperature changes", (("increase(v2_retry_temperature_changes_total[10m])", "changes"),)),
            Panel(
                "Verdicts by level",
                (("sum by (level, verdict) (increase(mge_ray_checks_total[10m]))", "{{level}} {{verdict}}"),),
            ),
            Panel("Time of checks", _quantiles("mge_ray_check_seconds", "scope"), "s"),
            Panel("Busy levels", (("sum by (level) (rate(mge_ray_check_level_seconds_total[10m]))", "{{level}}"),)),
            Panel("Workers lost", (("increase(mge_ray_worker_losses_total[10m])", "lost"),)),
            Panel("Time of an atom", _quantiles("v2_atom_execution_time_seconds"), "s"),
            Panel("Time of a wave", _quantiles("v2_wave_time_seconds"), "s"),
        ),
    ),
    (
        "Engine",
        (
            Panel(
                "Begun and ended",
                (
                    ("increase(mge_ray_executions_started_total[1h])", "begun"),
                    ("increase(mge_ray_executions_ended_total[1h])", "ended {{status}}"),
                    ("increase(mge_ray_pauses_total[1h])", "pauses"),
                ),
            ),
            Panel("Time of an execution", _quantiles("v2_execution_time_seconds"), "s"),
            Panel(
                "Journal and recovery",
                (
                    ("mge_ray_journal_away", "without their journal now"),
                    ("increase(mge_ray_journal_failures_total[1h])", "lost it"),
                    ("increase(mge_ray_recoveries_total[1h])", "recovered"),
                    ("increase(mge_ray_quarantines_total[1h])", "set aside"),
                ),
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON, with a choice of data source and plan."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        head = {"type": "row", "title": title, "collapsed": False, "panels": []}
        panels.append(_placed(head, len(panels), (0, top), (WIDTH * COLUMNS, 1)))
        top += 1
        for index, panel in enumerate(row):
            corner = WIDTH * (index % COLUMNS), top + HEIGHT * (index // COLUMNS)
            panels.append(_placed(_panel(panel), len(panels), corner, (WIDTH, HEIGHT)))
        top += HEIGHT * -(-len(row) // COLUMNS)
    return {
        "uid": "mge-ray",
        "title": "mge-ray",
        "tags": ["mge-ray"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _placed(panel: dict[str, Any], number: int, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    place = {"x": corner[0], "y": corner[1], "w": size[0], "h": size[1]}
    return {"id": number + 1, "gridPos": place, **panel}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
            for index, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
        {
            "name": "plan",
            "type": "query",
            "label": "Plan",
            "datasource": SOURCE,
            "query": {"query": "label_values(mge_ray_execution_spent_usd, masterplan_id)", "refId": "plan"},
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
