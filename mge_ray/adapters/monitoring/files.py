"""The files that a monitoring system is given: what Prometheus scrapes and warns of, and Grafana's dashboard."""

from __future__ import annotations

import json

import yaml

from mge_ray.adapters.monitoring.alerts import JOB, alert_rules
from mge_ray.adapters.monitoring.dashboard import dashboard

NOTE = "# Written by `mge-ray monitoring`.\n"
TARGET = "127.0.0.1:8000"
"""Where Ray Serve listens unless told otherwise."""


def monitoring_files(target: str = TARGET) -> dict[str, str]:
    """Return the files' contents by name; `target` (host:port) is where /metrics is served."""
    scrape = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": JOB, "metrics_path": "/metrics", "static_configs": [{"targets": [target]}]}],
    }
    return {
        "prometheus.yml": NOTE + yaml.safe_dump(scrape, sort_keys=False, width=120),
        "alerts.yml": NOTE + yaml.safe_dump(alert_rules(), sort_keys=False, width=120),
        "grafana-dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
    }
