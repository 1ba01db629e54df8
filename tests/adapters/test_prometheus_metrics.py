import re

from mge_ray.adapters.monitoring import CATALOGUE
from mge_ray.adapters.prometheus_metrics import PrometheusMetrics
from mge_ray.execution.ports import Metrics

NAMES = (
    "v2_retry_attempts_total",
    "v2_retry_success_rate",
    "v2_retry_temperature_changes_total",
    "v2_wave_completion_percent",
    "v2_wave_atom_throughput",
    "v2_wave_time_seconds_bucket",
    "v2_execution_precision_percent",
    "v2_execution_time_seconds_bucket",
    "v2_execution_cost_usd_total",
    "v2_atoms_succeeded_total",
    "v2_atoms_failed_total",
    "v2_atom_execution_time_seconds_bucket",
    "v2_atom_validation_pass_rate",
)


def value(metrics, series):
    found = re.search(rf"^{re.escape(series)} (\S+)$", metrics.text().decode(), re.MULTILINE)
    return float(found[1]) if found else None


def run_one(metrics, plan="plan", waves=1):
    view: Metrics = metrics.for_plan(plan)
    view.attempt_made(attempt=1, passed=False, temperature_changed=False)
    view.attempt_made(attempt=2, passed=True, temperature_changed=True)
    view.atom_finished(succeeded=True, attempts=2, duration_s=12.0)
    view.atom_finished(succeeded=False, attempts=4, duration_s=70.0)
    for wave in range(1, waves + 1):
        view.wave_progress(wave_id=wave, completed=1, total=4, elapsed_s=2.0, finished=False)
        view.wave_progress(wave_id=wave, completed=4, total=4, elapsed_s=8.0, finished=True)
    view.cost_added(usd=0.25)
    view.execution_finished(precision_percent=97.5, duration_s=90.0)
    return view


def test_every_metric_of_the_task_list_is_exposed():
    metrics = PrometheusMetrics()
    run_one(metrics)
    text = metrics.text().decode()
    assert [name for name in NAMES if f"\n{name}" not in text] == []


def test_the_numbers_are_what_was_counted():
    metrics = PrometheusMetrics()
    run_one(metrics)
    assert value(metrics, 'v2_retry_attempts_total{attempt="2"}') == 1
    assert value(metrics, "v2_retry_success_rate") == 0.5
    assert value(metrics, "v2_retry_temperature_changes_total") == 1
    assert value(metrics, 'v2_wave_completion_percent{masterplan_id="plan",wave_id="1"}') == 100
    assert value(metrics, "v2_wave_atom_throughput") == 0.5
    assert value(metrics, 'v2_wave_time_seconds_count{masterplan_id="plan",wave_id="1"}') == 1
    assert value(metrics, 'v2_execution_precision_percent{masterplan_id="plan"}') == 97.5
    assert value(metrics, 'v2_execution_cost_usd_total{masterplan_id="plan"}') == 0.25
    assert value(metrics, "v2_atoms_succeeded_total") == 1
    assert value(metrics, "v2_atoms_failed_total") == 1
    assert value(metrics, "v2_atom_validation_pass_rate") == 0.5


def test_no_label_names_an_atom():
    metrics = PrometheusMetrics()
    run_one(metrics)
    exposed = set(re.findall(r"[{,](\w+)=", metrics.text().decode()))
    assert exposed == {"attempt", "le", "masterplan_id", "wave_id", "status", "pool"}
    assert not {label for spec in CATALOGUE for label in spec.labels} & {"atom_id", "execution_id", "tenant"}


def test_series_do_not_grow_with_waves_or_plans():
    metrics = PrometheusMetrics(max_plans=3, max_waves=5)
    for number in range(10):
        run_one(metrics, f"plan{number}", waves=20)
    text = metrics.text().decode()
    assert len(re.findall(r"^v2_wave_completion_percent\{", text, re.MULTILINE)) == 5
    assert len(re.findall(r"^v2_execution_precision_percent\{", text, re.MULTILINE)) == 3
    assert 'wave_id="20"' in text


def test_money_of_forgotten_plans_is_not_lost():
    metrics = PrometheusMetrics(max_plans=2)
    for number in range(7):
        run_one(metrics, f"plan{number}")
    costs = re.findall(r"^v2_execution_cost_usd_total\{.*\} (\S+)$", metrics.text().decode(), re.MULTILINE)
    assert sum(map(float, costs)) == 7 * 0.25
    assert len(costs) == 3


def test_series_of_an_ended_execution_go_after_the_retention_and_not_before():
    now = [1_000.0]
    metrics = PrometheusMetrics(retention_s=60.0, now=lambda: now[0])
    run_one(metrics, "first")
    now[0] += 59.0
    metrics.for_plan("second")
    assert 'masterplan_id="first",wave_id="1"' in metrics.text().decode()
    now[0] += 1.0
    assert 'masterplan_id="first",wave_id="1"' not in metrics.text().decode()


def test_a_running_execution_keeps_its_waves_when_another_begins():
    metrics = PrometheusMetrics()
    metrics.for_plan("first").wave_progress(wave_id=1, completed=1, total=2, elapsed_s=1.0, finished=False)
    metrics.for_plan("second")
    assert value(metrics, 'v2_wave_completion_percent{masterplan_id="first",wave_id="1"}') == 50


def test_two_instances_share_nothing():
    first, second = PrometheusMetrics(), PrometheusMetrics()
    run_one(first)
    assert value(second, "v2_atoms_succeeded_total") == 0


def test_attempts_beyond_the_fourth_share_a_label():
    metrics = PrometheusMetrics()
    metrics.for_plan("p").attempt_made(attempt=9, passed=True, temperature_changed=False)
    assert value(metrics, 'v2_retry_attempts_total{attempt="4"}') == 1


def test_an_empty_wave_is_complete():
    metrics = PrometheusMetrics()
    metrics.for_plan("p").wave_progress(wave_id=1, completed=0, total=0, elapsed_s=0.0, finished=True)
    assert value(metrics, 'v2_wave_completion_percent{masterplan_id="p",wave_id="1"}') == 100
