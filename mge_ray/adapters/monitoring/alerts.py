"""Alert rules for Prometheus: what somebody should look at, and what they can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

JOB = "mge-ray"


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule: it fires when `expr` has held for `held` (Prometheus' notation)."""

    name: str
    expr: str
    held: str
    severity: str
    summary: str
    description: str


ALERTS = (
    Alert(
        "MgeRayCoordinatorAbsent",
        "absent(mge_ray_build_info)",
        "2m",
        "critical",
        "no coordinator answers at /metrics",
        "Executions stand still until it is back; it goes on from the journal. See docs/recovery.md.",
    ),
    Alert(
        "MgeRayJournalAway",
        "mge_ray_journal_away > 0",
        "30s",
        "critical",
        "{{ $value }} executions cannot write their journal",
        "Nothing is bought meanwhile. Look at the database: disk, connections, permissions.",
    ),
    Alert(
        "MgeRayExecutionQuarantined",
        "increase(mge_ray_quarantines_total[1h]) > 0",
        "0s",
        "critical",
        "an execution was set aside: its journal leads nowhere",
        "The others go on. `mge-ray status ID` says why; the log has the line 'execution set aside'.",
    ),
    Alert(
        "MgeRayBudgetSoftLimit",
        "(mge_ray_execution_spent_usd + mge_ray_execution_unknown_usd) / mge_ray_execution_limit_usd > 0.7",
        "0s",
        "warning",
        "plan {{ $labels.masterplan_id }} has used {{ $value | humanizePercentage }} of its budget",
        "`mge-ray budget ID` shows the forecast at completion, and sets another limit.",
    ),
    Alert(
        "MgeRayBudgetRefused",
        "increase(mge_ray_budget_refusals_total[10m]) > 0",
        "0s",
        "warning",
        "calls did not fit the budget of an {{ $labels.scope }}",
        "The execution is paused, or the atom has failed. `mge-ray budget ID --limit USD --reason WHY` raises it.",
    ),
    Alert(
        "MgeRayUnknownSpend",
        "mge_ray_execution_unknown_usd > 1",
        "5m",
        "warning",
        "plan {{ $labels.masterplan_id }} may have been billed ${{ $value }} for calls that vanished",
        "Compare with the provider's console; time-outs and killed gateways are the usual reasons.",
    ),
    Alert(
        "MgeRayProviderOverloaded",
        "mge_ray_throttle_breaker_open == 1",
        "2m",
        "warning",
        "the provider is overloaded: {{ $labels.model_class }} is down to one call at a time",
        "It recovers by itself. `mge-ray concurrency ID` shows how calls are throttled.",
    ),
    Alert(
        "MgeRayCallsFail",
        'sum(rate(mge_ray_calls_total{outcome="failed"}[10m])) / sum(rate(mge_ray_calls_total[10m])) > 0.25',
        "10m",
        "warning",
        "{{ $value | humanizePercentage }} of the calls give no answer",
        "mge_ray_call_failures_total says of what kind: rate limits, overload, time-outs, connection.",
    ),
    Alert(
        "MgeRayCallsRefused",
        'increase(mge_ray_call_failures_total{kind=~"authentication|spend_limit|unknown_model"}[10m]) > 0',
        "0s",
        "critical",
        "the provider refuses all calls: {{ $labels.kind }}",
        "Executions are paused. Mend the key, the spend limit or the model's name, then `mge-ray resume ID`.",
    ),
    Alert(
        "MgeRayStandstill",
        'mge_ray_executions{status="running"} > 0 and on() (sum(rate(mge_ray_calls_total[15m]))'
        " + sum(rate(mge_ray_checks_total[15m])) == 0) and on() sum(mge_ray_work_in_flight) == 0",
        "15m",
        "warning",
        "executions run, and nothing has happened for half an hour",
        "`mge-ray status ID` says what the execution waits for.",
    ),
    Alert(
        "MgeRayWorkersDie",
        "increase(mge_ray_worker_losses_total[15m]) > 5",
        "0s",
        "warning",
        "{{ $value }} workers died while they checked code",
        "Usually memory. Three losses fail an atom; nothing is bought again for them.",
    ),
    Alert(
        "MgeRaySandboxWeak",
        'mge_ray_sandbox_info{level=~"none|restricted"} == 1',
        "1m",
        "warning",
        "generated code runs with isolation {{ $labels.level }}",
        "Install bubblewrap, or allow user namespaces; see docs/threat-model.md.",
    ),
    Alert(
        "MgeRayFewPass",
        "v2_atom_validation_pass_rate < 0.3",
        "15m",
        "warning",
        "{{ $value | humanizePercentage }} of the attempts pass",
        "`mge-ray report ID` shows what to review first; specs or tests may contradict each other.",
    ),
)


def alert_rules() -> dict[str, Any]:
    """Return the rule file's content."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.held,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.description},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": JOB, "rules": rules}]}
