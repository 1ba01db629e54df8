"""What the journal shows of calls, checks and money over time."""

from __future__ import annotations

import pytest

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.generation import FailureKind, StopReason
from mge_ray.execution.recovery import ReplayError
from mge_ray.pipeline.observed import observe
from tests.builders import EXECUTION_ID, MAYBE_BILLED, Driven, driven, failed, generation


def seen(run: Driven):
    return observe(EXECUTION_ID, run.machine.plan, run.events)


def told(run: Driven, atom_id: str = "a"):
    return [(span.pool, span.attempt, span.outcome) for span in seen(run).spans if span.atom_id == atom_id]


def test_each_call_and_check_is_a_span_with_its_attempt():
    run = driven("a")
    run.attempt("a", failed("no"))
    run.attempt("a")
    assert told(run) == [
        (Pool.GENERATE, 1, "answered"),
        (Pool.EXECUTE, 1, "rejected"),
        (Pool.GENERATE, 2, "answered"),
        (Pool.EXECUTE, 2, "passed"),
    ]
    spans = seen(run).spans
    assert all(span.end - span.start == 1.0 for span in spans)
    assert [span.start for span in spans] == sorted(span.start for span in spans)


def test_a_call_without_answer_names_its_kind_and_the_next_one_is_the_same_attempt():
    run = driven("a")
    run.call("a")
    run.fail("a")
    run.attempt("a")
    assert told(run)[:2] == [(Pool.GENERATE, 1, "server_error"), (Pool.GENERATE, 1, "answered")]


def test_an_answer_without_code_is_a_bad_answer():
    run = driven("a")
    run.call("a")
    run.arrive("a", generation(None, stop_reason=StopReason.REFUSAL))
    assert told(run) == [(Pool.GENERATE, 1, "bad_answer")]


def test_lost_workers_time_outs_and_cancelled_work_end_their_spans():
    run = driven("a, b, c")
    for atom_id in "abc":
        run.call(atom_id)
    run.arrive("a")
    run.check("a")
    run.lose_worker("a")
    run.time_out("b")
    run.cancel()
    assert told(run, "a")[-1] == (Pool.EXECUTE, 1, "worker_lost")
    assert told(run, "b") == told(run, "c") == [(Pool.GENERATE, 1, "given_up")]


def test_what_a_restart_found_lost_is_ended_and_what_lives_goes_on():
    run = driven("a, b")
    run.call("a", gateway="old")
    run.call("b", gateway="live")
    run.restart("live")
    assert told(run, "a") == [(Pool.GENERATE, 1, FailureKind.GATEWAY_LOST.value)]
    assert told(run, "b") == [(Pool.GENERATE, 1, "running")]


def test_what_is_in_flight_ends_where_the_journal_ends():
    run = driven("a, b")
    run.call("a")
    run.call("b")
    found = seen(run)
    assert {(span.outcome, span.end) for span in found.spans} == {("running", run.now)}


def test_the_acceptance_run_is_a_span_without_an_atom():
    run = driven("a", plan_fields={"files": {"tests/test_a.py": ""}, "acceptance_tests": ("tests",)})
    run.attempt("a")
    run.accept()
    run.acceptance()
    assert told(run, "") == [(Pool.EXECUTE, 1, "passed")]


def test_money_rises_with_answers_and_keeps_what_is_unknown():
    run = driven("a, b", budget_usd=1.0)
    run.call("a", usd=0.05)
    run.arrive("a", generation(usd=0.02))
    run.call("b", usd=0.05)
    run.fail("b", MAYBE_BILLED)
    points = [(point.spent_usd, point.at_risk_usd) for point in seen(run).money]
    assert points == [(0, 0), (0, 0.05), (0.02, 0), (0.02, 0.05)]


def test_pauses_are_intervals_and_an_open_one_ends_with_the_journal():
    run = driven("a, b")
    run.pause()
    began = run.now
    run.resume()
    run.pause()
    again = run.now
    assert seen(run).pauses == [(began, began + 1), (again, again)]


def test_tokens_are_summed_over_every_call_that_told_them():
    run = driven("a")
    run.attempt("a", failed("no"))
    run.attempt("a")
    usage = seen(run).usage
    assert (usage.input_tokens, usage.output_tokens) == (20, 10)


def test_a_journal_that_leads_nowhere_names_the_event():
    run = driven("a")
    run.attempt("a")
    with pytest.raises(ReplayError, match=r"event 2 \(lease_granted\)"):
        observe(EXECUTION_ID, run.machine.plan, [run.events[0], *run.events[3:]])
