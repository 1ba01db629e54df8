"""What is made from the catalogue of metrics names nothing that does not exist, and Prometheus' own tool accepts it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mge_ray.adapters.monitoring import CATALOGUE, Kind, alert_rules, dashboard, monitoring_files, reference
from mge_ray.adapters.prometheus_metrics import PrometheusMetrics
from mge_ray.cli import app
from mge_ray.domain.throttle import CallOutcome, Throttle

ROOT = Path(__file__).parents[2]
BY_SERIES = {name: spec for spec in CATALOGUE for name in spec.exposed}
OF_EVERY_TARGET = {"job", "instance"}
WORDS = {"and", "or", "unless", "on", "by", "le"}
IDENTIFIER = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w|\s*\()")


def dashboard_queries():
    return [
        (f"{panel['title']}: {target['legendFormat']}", target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


def alert_queries():
    rules = [rule for group in alert_rules()["groups"] for rule in group["rules"]]
    return [(rule["alert"], rule["expr"], "".join(rule["annotations"].values())) for rule in rules]


def read_query(expr):
    """Return the names of series in a PromQL expression, and the labels it matches or groups by, with their series."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    grouped = {label.strip() for found in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare) for label in found.split(",")}
    bare = re.sub(r"\b(by|on)\s*\([^)]*\)", " ", bare)
    matched = {
        (name, label)
        for name, inside in re.findall(r"([\w:]+)\{([^}]*)\}", bare)
        for label in re.findall(r"(\w+)\s*[=!]", inside)
    }
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    names = {name for name in IDENTIFIER.findall(bare) if name not in WORDS}
    return names, matched, grouped - {""}


@pytest.mark.parametrize(("title", "expr", "told"), [*dashboard_queries(), *alert_queries()])
def test_every_query_names_metrics_and_labels_that_exist(title, expr, told):
    names, matched, grouped = read_query(expr)
    assert names, title
    assert names <= BY_SERIES.keys(), title
    for name, label in matched:
        assert label in {*BY_SERIES[name].query_labels, *OF_EVERY_TARGET}, title
    everywhere = set.intersection(*(set(BY_SERIES[name].query_labels) for name in names))
    assert grouped <= everywhere, title
    legend = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", told)) | set(re.findall(r"\$labels\.(\w+)", told))
    assert legend <= (grouped or set().union(*(BY_SERIES[name].labels for name in names))), title


def test_the_reader_of_queries_finds_what_does_not_exist():
    names, matched, grouped = read_query('sum by (le, a) (rate(b_bucket{c="d{e}"}[5m])) / on() f > 0.5 and g')
    assert (names, matched, grouped) == ({"b_bucket", "f", "g"}, {("b_bucket", "c")}, {"le", "a"})


def test_every_metric_is_on_the_dashboard():
    shown = {name for _, expr, _ in dashboard_queries() for name in read_query(expr)[0]}
    assert {spec.name for spec in CATALOGUE if not shown.intersection(spec.exposed)} == set()


def test_what_is_exposed_is_the_catalogue_and_nothing_else():
    text = PrometheusMetrics().text().decode()
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name: kind for name, kind in typed.items() if not name.endswith("_created")} == {
        spec.name: spec.kind.value for spec in CATALOGUE
    }


def test_buckets_reach_minutes_and_none_ends_at_the_clients_default_of_ten_seconds():
    largest = {spec.name: max(spec.buckets) for spec in CATALOGUE if spec.kind is Kind.HISTOGRAM}
    assert min(largest.values()) >= 300


def test_committed_files_are_those_this_version_writes():
    for name, content in monitoring_files().items():
        assert (ROOT / "deploy/monitoring" / name).read_text() == content, "run tools/monitoring"
    assert (ROOT / "docs/metrics.md").read_text().endswith(reference()), "run tools/monitoring"


def test_the_command_writes_files_for_the_target_it_is_given(tmp_path):
    result = CliRunner().invoke(app, ["monitoring", "--out", str(tmp_path / "m"), "--target", "example.org:9000"])
    assert result.exit_code == 0, result.output
    scrape = yaml.safe_load((tmp_path / "m/prometheus.yml").read_text())["scrape_configs"][0]
    assert (scrape["metrics_path"], scrape["static_configs"]) == ("/metrics", [{"targets": ["example.org:9000"]}])
    assert json.loads((tmp_path / "m/grafana-dashboard.json").read_text())["title"] == "mge-ray"


@pytest.mark.parametrize("target", ["9000", "http://example.org/metrics", "example.org:port"])
def test_a_target_that_is_none_writes_nothing(tmp_path, target):
    result = CliRunner().invoke(app, ["monitoring", "--out", str(tmp_path / "m"), "--target", target])
    assert "--target is HOST:PORT" in str(result.exception)
    assert not (tmp_path / "m").exists()


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["monitoring", "--out", str(tmp_path / "file")])
    assert "cannot be written: File exists" in str(result.exception)


# ---- Prometheus' own tool --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promtool():
    beside = Path(sys.executable).with_name("promtool")
    found = shutil.which("promtool") or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip("promtool is not here; tools/system-packages fetches it")
    return found


def run(promtool, *arguments, **options):
    return subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False, **options)


def full_metrics():
    """Metrics in which everything with labels has a series."""
    metrics = PrometheusMetrics()
    metrics.about(version="1.0+abc", sandbox_level="bubblewrap")
    throttle = Throttle(ttl_s=30.0)
    throttle.observe(CallOutcome("sonnet-5", "c", rate_limits=HEADERS), now=0.0)
    metrics.throttled([throttle.view("sonnet-5", now=1.0)])
    for spec in CATALOGUE:
        known = metrics.catalogue
        live = {**known.counters, **known.gauges, **known.histograms}[spec.name]
        child = live.labels(*["x"] * len(spec.labels)) if spec.labels else live
        child.observe(1.0) if spec.kind is Kind.HISTOGRAM else child.inc()
    return metrics.text().decode()


def test_promtool_finds_nothing_to_complain_of_in_the_metrics(promtool):
    checked = run(promtool, "check", "metrics", input=full_metrics())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_promtool_accepts_rules_configuration_and_every_query_of_the_dashboard(promtool, tmp_path):
    for name, content in monitoring_files().items():
        (tmp_path / name).write_text(content)
    recorded = [
        {"record": f"panel:{number}", "expr": expr.replace("$plan", ".*")}
        for number, (_, expr, _) in enumerate(dashboard_queries())
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert run(promtool, "check", "config", "prometheus.yml", cwd=tmp_path).returncode == 0
    checked = run(promtool, "check", "rules", "alerts.yml", "panels.yml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(recorded)} rules found" in checked.stdout


HEADERS = {
    f"anthropic-ratelimit-{what}-{which}": value
    for what in ("requests", "input-tokens", "output-tokens")
    for which, value in (("limit", "4000"), ("remaining", "3000"), ("reset", "2026-11-25T12:00:00Z"))
}
UP = {"mge_ray_build_info": "1x120"}
FIRING = {
    "MgeRayCoordinatorAbsent": {"something_else": "1x120"},
    "MgeRayJournalAway": UP | {"mge_ray_journal_away": "1x120"},
    "MgeRayExecutionQuarantined": UP | {"mge_ray_quarantines_total": "0x50 1x70"},
    "MgeRayBudgetSoftLimit": UP
    | {
        'mge_ray_execution_spent_usd{masterplan_id="p"}': "6x120",
        'mge_ray_execution_unknown_usd{masterplan_id="p"}': "0.9x120",
        'mge_ray_execution_limit_usd{masterplan_id="p"}': "9x120",
    },
    "MgeRayBudgetRefused": UP | {'mge_ray_budget_refusals_total{scope="atom"}': "0+1x120"},
    "MgeRayUnknownSpend": UP | {'mge_ray_execution_unknown_usd{masterplan_id="p"}': "2x120"},
    "MgeRayProviderOverloaded": UP | {'mge_ray_throttle_breaker_open{model_class="m"}': "1x120"},
    "MgeRayCallsFail": UP
    | {
        'mge_ray_calls_total{outcome="failed",model_class="m"}': "0+3x120",
        'mge_ray_calls_total{outcome="answered",model_class="m"}': "0+3x120",
    },
    "MgeRayCallsRefused": UP | {'mge_ray_call_failures_total{kind="authentication",billing="not_billed"}': "0+1x120"},
    "MgeRayStandstill": UP
    | {
        'mge_ray_executions{status="running"}': "1x120",
        'mge_ray_calls_total{outcome="answered",model_class="m"}': "7x120",
        'mge_ray_checks_total{level="tests",verdict="passed"}': "7x120",
        'mge_ray_work_in_flight{pool="generate"}': "0x120",
    },
    "MgeRayWorkersDie": UP | {"mge_ray_worker_losses_total": "0+1x120"},
    "MgeRaySandboxWeak": UP | {'mge_ray_sandbox_info{level="none"}': "1x120"},
    "MgeRayFewPass": UP | {"v2_atom_validation_pass_rate": "0.1x120"},
}


def test_each_alert_fires_on_its_trouble_and_no_other_does(promtool, tmp_path):
    """A series is a value a minute; it is asked after an hour, and what fires is promtool's own ALERTS series."""
    alerts = [name for name, _, _ in alert_queries()]
    assert sorted(FIRING) == sorted(alerts)
    (tmp_path / "alerts.yml").write_text(monitoring_files()["alerts.yml"])
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "60m",
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}],
                }
            ],
        }
        for name, given in FIRING.items()
    ]
    content = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    tested = run(promtool, "test", "rules", "test.yml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
