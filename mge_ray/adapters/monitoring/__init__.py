"""What is measured, as data: the catalogue of metrics, and the dashboard, alerts and reference made from it."""

from mge_ray.adapters.monitoring.alerts import alert_rules
from mge_ray.adapters.monitoring.catalogue import CATALOGUE, Kind, MetricSpec
from mge_ray.adapters.monitoring.dashboard import dashboard
from mge_ray.adapters.monitoring.files import monitoring_files
from mge_ray.adapters.monitoring.reference import reference

__all__ = ["CATALOGUE", "Kind", "MetricSpec", "alert_rules", "dashboard", "monitoring_files", "reference"]
