"""The reference of metrics as a page: one table a group, made from the catalogue."""

from __future__ import annotations

from mge_ray.adapters.monitoring.alerts import ALERTS
from mge_ray.adapters.monitoring.catalogue import GROUPS, MetricSpec

BEGIN = "<!-- from here on written by tools/monitoring -->"


def reference() -> str:
    """Return the tables in Markdown."""
    parts = [BEGIN]
    for title, specs in GROUPS:
        head = f"\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|"
        parts.append("\n".join([head, *(_row(spec) for spec in specs)]))
    alerts = [f"| `{one.name}` | {one.severity} | `{_cell(one.expr)}` | {one.held} |" for one in ALERTS]
    parts.append("\n".join(["\n## Alerts\n\n| name | severity | when | for |\n|---|---|---|---|", *alerts]))
    return "\n".join(parts) + "\n"


def _row(spec: MetricSpec) -> str:
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    task = f" (task {spec.task})" if spec.task else ""
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in spec.buckets)} s." if spec.buckets else ""
    return f"| `{spec.name}` | {spec.kind.value} | {labels} | {spec.help}{task}{buckets} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
