"""What is counted while executions run equals what their reports say afterwards."""

from __future__ import annotations

import pytest

from mge_ray.adapters.prometheus_metrics import PrometheusMetrics
from mge_ray.domain.generation import FailureKind, Generation, Usage
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from mge_ray.execution.facts import Recovered, WorkerGone
from mge_ray.pipeline.observed import observe
from mge_ray.pipeline.report import build_report
from tests.builders import BILLED, CALL_USD, MAYBE_BILLED, UNBILLED, failure, generation, many, plan, settings
from tests.counts import expect_the_reports_counts, read, total
from tests.engines import engine, until
from tests.fakes.journals import FlakyJournal
from tests.fakes.llm import QuotingClient, ScriptedClient


def counted(client=None, validator=None, metrics=None, **ports):
    """Return (service, metrics) of the library's engine."""
    metrics = metrics or PrometheusMetrics()
    executor = engine(
        client, validator, metrics_for=lambda machine: metrics.for_plan(str(machine.plan.masterplan_id)), **ports
    )
    return ExecutionServiceV2(executor), metrics


def text_of(metrics):
    return metrics.text().decode()


async def report_of(made, execution_id):
    machine = made.machine(execution_id)
    journal = made.wave_executor.journal
    return build_report(machine, observe(execution_id, machine.plan, journal.events_of(execution_id)))


async def test_counts_of_executions_that_run_beside_each_other_equal_their_reports():
    refused = failure(FailureKind.RATE_LIMITED)
    cached = Usage(100, 50, cache_write_tokens=20, cache_read_tokens=30)
    script = {
        "a": ["bad\n", "good\n"],
        "b": [refused, UNBILLED, MAYBE_BILLED, "good\n"],
        "c": ["bad\n"],
        "e": [BILLED, Generation("good", "good\n", cached, 0.3, generation().stop_reason, "claude-haiku-4-5")],
    }
    made, metrics = counted(ScriptedClient(script))
    before = text_of(metrics)
    ids = [await made.start_plan(plan("a, b, c, a -> d, c -> x, e")), await made.start_plan(many(7))]
    for execution_id in ids:
        await made.wait(execution_id)
    reports = [await report_of(made, execution_id) for execution_id in ids]
    assert [report.atoms_failed for report in reports] == [1, 0]
    expect_the_reports_counts(text_of(metrics), before, *reports)
    for report in reports:
        plan_id = report.masterplan_id
        assert total(text_of(metrics), "mge_ray_execution_spent_usd", masterplan_id=plan_id) == report.total_cost_usd
        assert (
            total(text_of(metrics), "mge_ray_execution_unknown_usd", masterplan_id=plan_id) == report.unknown_cost_usd
        )
    assert total(text_of(metrics), "mge_ray_tokens_total", model_class="haiku-4", kind="cache_read") == 30


async def test_how_a_running_execution_stands_is_seen_at_any_scrape():
    client = QuotingClient()
    client.gate.clear()
    made, metrics = counted(client)
    wishes = settings(budget_usd=1.0, max_concurrency=2)
    execution_id = await made.start_plan(many(5), settings=wishes)
    await until(lambda: client.in_flight == 2)
    await until(lambda: total(text_of(metrics), "mge_ray_work_in_flight", pool="generate") == 2)
    text = text_of(metrics)
    assert total(text, "mge_ray_work_waiting", pool="generate") == 3
    assert total(text, "mge_ray_executions", status="running") == 1
    assert total(text, "mge_ray_execution_reserved_usd") == pytest.approx(2 * CALL_USD)
    assert total(text, "mge_ray_execution_limit_usd") == 1.0
    await made.pause_execution(execution_id)
    await until(lambda: total(text_of(metrics), "mge_ray_executions", status="paused") == 1)
    assert total(text_of(metrics), "mge_ray_pauses_total") == 1
    await made.cancel_execution(execution_id)
    await made.wait(execution_id)
    text = text_of(metrics)
    assert total(text, "mge_ray_executions") == 0
    assert total(text, "mge_ray_work_in_flight") == total(text, "mge_ray_work_waiting") == 0
    assert total(text, "mge_ray_executions_ended_total", status="cancelled") == 1


async def test_calls_that_are_given_up_are_counted_as_the_report_counts_them():
    client = ScriptedClient()
    client.gate.clear()
    made, metrics = counted(client)
    before = text_of(metrics)
    execution_id = await made.start_plan(many(3))
    await until(lambda: client.in_flight == 3)
    await made.cancel_execution(execution_id)
    await made.wait(execution_id)
    report = await report_of(made, execution_id)
    assert sum(report.calls.by_kind.values()) == 3
    expect_the_reports_counts(text_of(metrics), before, report)


async def test_a_budget_that_is_used_up_is_counted_as_refused():
    made, metrics = counted(QuotingClient(quote_usd=0.5, usd=0.5))
    execution_id = await made.start_plan(many(3), settings=settings(budget_usd=1.0))
    state = await made.wait(execution_id)
    assert state.status is ExecutionStatus.PAUSED
    assert total(text_of(metrics), "mge_ray_budget_refusals_total", scope="execution") == 1
    await made.set_budget(execution_id, 2.0, by="ann", reason="more")
    await made.resume_execution(execution_id)
    await made.wait(execution_id)
    assert total(text_of(metrics), "mge_ray_execution_limit_usd") == 2.0


async def test_an_atom_that_exceeds_its_own_budget_is_counted_as_refused():
    made, metrics = counted(QuotingClient({"a": ["bad\n"]}, quote_usd=0.2, usd=0.2))
    execution_id = await made.start_plan(plan("a"), settings=settings(atom_budget_usd=0.3))
    await made.wait(execution_id)
    assert total(text_of(metrics), "mge_ray_budget_refusals_total", scope="atom") == 1


async def test_a_journal_that_is_away_is_counted_and_an_execution_left_is_no_longer_shown():
    journal = FlakyJournal()
    made, metrics = counted(journal=journal, journal_patience_s=0.0)
    client = made.wave_executor.retry_orchestrator.llm_client
    client.gate.clear()
    execution_id = await made.start_plan(many(2))
    await until(lambda: client.in_flight)
    journal.appends_away = 10_000
    client.gate.set()
    await made.wait(execution_id)
    text = text_of(metrics)
    assert "disk is full" in made.trouble(execution_id)
    assert total(text, "mge_ray_journal_failures_total") == 1
    assert total(text, "mge_ray_executions") == 0


async def test_workers_that_die_and_checks_of_the_project_are_counted():
    metrics = PrometheusMetrics()
    view = metrics.for_plan("p")
    for gone in (WorkerGone("a"), WorkerGone(""), Recovered(1)):
        view.happened(gone)
    assert total(text_of(metrics), "mge_ray_worker_losses_total") == 2
    assert total(text_of(metrics), "mge_ray_recoveries_total") == 1
    made, metrics = counted()
    await made.wait(await made.start_plan(plan("a", files={"tests/t.py": ""}, acceptance_tests=("tests",))))
    assert total(text_of(metrics), "mge_ray_check_seconds_count", scope="project") == 1
    assert total(text_of(metrics), "mge_ray_checks_total", level="tests", verdict="passed") == 2


async def test_what_the_prompt_cache_saved_is_priced_where_prices_are_known():
    answer = Generation("g", "good\n", Usage(10, 5, 0, 90), 0.1, generation().stop_reason, "m")

    def cost_usd(_model, usage):
        return float(usage.input_tokens + 0.1 * usage.cache_read_tokens)

    for prices, saved in ((cost_usd, 81.0), (lambda _model, _usage: None, 0.0), (None, 0.0)):
        made, metrics = counted(ScriptedClient({"a": [answer]}), metrics=PrometheusMetrics(cost_usd=prices))
        await made.wait(await made.start_plan(plan("a")))
        assert total(text_of(metrics), "mge_ray_prompt_cache_saved_usd") == pytest.approx(saved)


async def test_series_stay_bounded_however_many_models_are_asked():
    metrics = PrometheusMetrics()
    for number in range(20):
        model = f"{chr(ord('a') + number)}-model"
        answer = Generation("g", "good\n", Usage(1, 1), 0.1, generation().stop_reason, model)
        made, _ = counted(ScriptedClient({"a": [answer]}), metrics=metrics)
        await made.wait(await made.start_plan(plan("a")))
    names = {
        dict(labels).get("model_class") for name, labels in read(text_of(metrics)) if name == "mge_ray_calls_total"
    }
    assert len(names) == 17
    assert total(text_of(metrics), "mge_ray_calls_total", model_class="other") == 4
