"""Forecasts: right on average, honest about spread, the same every time. All chance is seeded."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.forecast import Forecast
from mge_ray.domain.generation import Usage
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.pipeline.forecast import forecast
from mge_ray.pipeline.forecast_basis import BETWEEN_EXECUTIONS, Told, assume
from mge_ray.pipeline.forecast_draw import Assumptions, Share, Spread, draw_run
from mge_ray.pipeline.forecast_report import compare
from mge_ray.pipeline.measured import Measured, measure
from mge_ray.pipeline.observed import observe
from mge_ray.pipeline.plan_sizes import made_up_code, plan_shape
from tests.builders import EXECUTION_ID, atom, driven, failed, failure, generation, many, plan

POLICY = AttemptPolicy(model="m", escalation_model="big")
WIDE_PLAN = plan(", ".join(f"a{n} -> b{n}" for n in range(30)))
FIGURES = ("calls", "input_tokens", "output_tokens", "cost_usd", "wall_s")


def cost(model: str, usage: Usage) -> float:
    dear = 10 if model == "big" else 1
    return 1e-6 * dear * (usage.input_tokens + 1.25 * usage.cache_write_tokens + 0.1 * usage.cache_read_tokens)


def assumed(**fields: object) -> Assumptions:
    known = Assumptions(
        policy=POLICY,
        concurrency=100,
        cores=2,
        rejected=Share(0.2),
        unanswered=Share(0.0),
        call_s=Spread(2.0, 0.5),
        call_s_per_token=0.0,
        tokens_per_byte=Spread(0.25),
        tokens_around=10.0,
        tokens_per_line=Spread(12.0, 0.3),
        check_s=Spread(0.1, 0.2),
        acceptance_s=Spread(1.0),
        worker_start_s=0.0,
        start_s=0.0,
        load=Spread(1.0),
        cached_from_tokens=math.inf,
        cache_read_by_answer=False,
        cost=cost,
    )
    return replace(known, **fields)


def certain(**fields: object) -> Assumptions:
    exact = {"rejected": Share(0.0), "call_s": Spread(2.0), "check_s": Spread(0.5), "tokens_per_line": Spread(12.0)}
    return assumed(**{**exact, **fields})


def drawn(shape, basis, count: int = 200, seed: int = 1):
    rng = Random(seed)  # noqa: S311  # chance, not secrets
    return [draw_run(shape, basis, rng) for _ in range(count)]


def middle(spread) -> float:
    assert spread.p10 == pytest.approx(spread.p90)
    return spread.p50


def test_without_chance_the_forecast_is_the_arithmetic():
    told = forecast(plan("a, b -> c"), certain())
    assert middle(told.calls) == 3
    assert middle(told.output_tokens) == pytest.approx(3 * (10 + 12 * 10))
    assert middle(told.wall_s) == pytest.approx(5.0)  # two waves, each a call and one round of checks on two cores


def test_leases_and_cores_are_limits():
    assert middle(forecast(many(10), certain(concurrency=5, check_s=Spread(1e-9))).wall_s) == pytest.approx(4.0)
    assert middle(forecast(many(10), certain(cores=1)).wall_s) == pytest.approx(2.0 + 10 * 0.5)


def test_expected_calls_match_their_closed_form():
    shape, rejected = plan_shape(many(40)), 0.3
    runs = drawn(shape, assumed(rejected=Share(rejected)))
    expected = 40 * sum(rejected**attempt for attempt in range(4))
    assert sum(run.calls for run in runs) / len(runs) == pytest.approx(expected, rel=0.02)


def test_the_last_attempt_is_paid_at_the_price_of_its_model():
    (run,) = drawn(plan_shape(plan("a")), certain(rejected=Share(1.0)), count=1)
    (first,) = drawn(plan_shape(plan("a")), certain(), count=1)
    assert run.calls == 4
    assert run.cost_usd > first.cost_usd * (3 + 10)


def test_a_failed_atom_blocks_what_rests_on_it():
    (run,) = drawn(plan_shape(plan("a -> b -> c, d")), certain(rejected=Share(1.0)), count=1)
    assert (run.calls, run.failed_atoms) == (8, 2)


def test_calls_without_answer_are_made_again_and_wait():
    shape = plan_shape(many(50))
    lossy, clean = drawn(shape, assumed(unanswered=Share(0.3))), drawn(shape, assumed())
    assert sum(run.calls for run in lossy) == pytest.approx(sum(run.calls for run in clean) / 0.7, rel=0.03)
    assert sum(run.wall_s for run in lossy) > sum(run.wall_s for run in clean)
    assert sum(run.output_tokens for run in lossy) == pytest.approx(sum(run.output_tokens for run in clean), rel=0.03)


def test_a_cached_prefix_is_written_by_the_first_calls_and_read_after_them():
    shape = plan_shape(plan("a, b -> c"))
    (plain,) = drawn(shape, certain(), count=1)
    (cached,) = drawn(shape, certain(cached_from_tokens=0), count=1)
    prefix = shape.prefix_bytes * 0.25
    assert cached.cost_usd - plain.cost_usd == pytest.approx(1e-6 * prefix * (2 * 0.25 - 0.9), rel=0.02)
    (by_answer,) = drawn(
        shape, certain(cached_from_tokens=0, cache_read_by_answer=True, call_s=Spread(2, 0.1)), count=1
    )
    assert by_answer.cost_usd - plain.cost_usd == pytest.approx(1e-6 * prefix * (0.25 - 2 * 0.9), rel=0.02)


def test_a_model_without_price_has_no_cost():
    assert forecast(plan("a"), assumed(cost=None)).cost_usd is None


def test_the_same_plan_and_assumptions_give_the_same_forecast():
    assert forecast(WIDE_PLAN, assumed()) == forecast(WIDE_PLAN, assumed())


def test_eight_runs_in_ten_lie_between_p10_and_p90():
    told = forecast(WIDE_PLAN, assumed())
    runs = drawn(plan_shape(WIDE_PLAN), assumed(), count=300, seed=77)
    for name in FIGURES:
        spread = getattr(told, name)
        held = sum(spread.p10 <= getattr(run, name) <= spread.p90 for run in runs) / len(runs)
        assert 0.70 <= held <= 0.90, (name, held)


def test_doubt_about_a_rate_widens_the_forecast():
    def width(share):
        told = forecast(WIDE_PLAN, assumed(rejected=share))
        return told.calls.p90 - told.calls.p10

    assert width(Share(0.2, 10)) > 1.5 * width(Share(0.2))


def test_a_forecast_from_one_measured_run_covers_runs_of_the_same_world():
    """Each world has its own rates and a spread between its runs; one run is measured, others are forecast from it."""
    shape, held, count = plan_shape(WIDE_PLAN), dict.fromkeys(FIGURES, 0), 0
    for number in range(8):
        chance = Random(number)  # noqa: S311  # the same
        world = assumed(
            rejected=Share(chance.uniform(0.05, 0.4)),
            call_s=Spread(chance.uniform(1, 5), 0.5, BETWEEN_EXECUTIONS),
            tokens_per_line=Spread(12.0, 0.3, BETWEEN_EXECUTIONS),
            tokens_per_byte=Spread(0.25, doubt=BETWEEN_EXECUTIONS / 2),
        )
        basis, _ = assume(
            POLICY, concurrency=100, cores=2, cost=cost, prices="test", measured=history_of(world, chance)
        )
        basis = replace(
            basis, cached_from_tokens=math.inf, start_s=0.0, worker_start_s=0.0, check_s=world.check_s, load=world.load
        )
        told = forecast(WIDE_PLAN, basis)
        for run in drawn(shape, world, count=12, seed=number):
            count += 1
            for name in FIGURES:
                spread = getattr(told, name)
                held[name] += spread.p10 <= getattr(run, name) <= spread.p90
    assert all(0.70 <= hits / count <= 0.90 for hits in held.values()), held


def history_of(world: Assumptions, chance: Random, answers: int = 60) -> Measured:
    """Return what one run of 60 answers in this world would have measured."""
    call_s, per_line = world.call_s.drawn_median(chance), world.tokens_per_line.drawn_median(chance) + 1.0
    line_tokens = [per_line * math.exp(chance.gauss(0, 0.3)) for _ in range(answers)]
    return Measured(
        executions=1,
        calls=answers,
        answers=answers,
        rejected=sum(chance.random() < world.rejected.value for _ in range(answers)),
        input_tokens=25_000,
        prompt_bytes=100_000,
        call_s=[call_s * math.exp(chance.gauss(0, world.call_s.sigma)) for _ in range(answers)],
        line_tokens=line_tokens,
        output_tokens=round(10 * sum(line_tokens)),
        planned_lines=10 * answers,
    )


def test_measured_history_counts_what_happened():
    run = driven("a, b")
    run.attempt("a", failed("no"))
    run.attempt("a")
    run.call("b")
    run.fail("b", failure())
    run.attempt("b")
    found = measure([observe(EXECUTION_ID, run.machine.plan, run.events)], "m")
    assert (found.executions, found.calls, found.answers, found.rejected, found.unanswered) == (1, 4, 3, 1, 1)
    assert found.call_s == [1.0, 1.0, 1.0]
    assert found.check_s == [0.0, 0.25, 0.25]
    assert found.line_tokens == [0.5, 0.5, 0.5]
    assert found.input_tokens == 30


def test_the_acceptance_run_is_measured():
    run = driven("a", plan_fields={"files": {"tests/test_a.py": ""}, "acceptance_tests": ("tests",)})
    run.attempt("a")
    run.accept()
    run.acceptance()
    assert measure([observe(EXECUTION_ID, run.machine.plan, run.events)], "m").acceptance_s == [1.0]


def test_another_models_calls_are_not_counted():
    run = driven("a")
    run.attempt("a")
    assert measure([observe(EXECUTION_ID, run.machine.plan, run.events)], "other").answers == 0


def test_each_assumption_says_where_it_is_from():
    def sources(**fields):
        _, stated = assume(POLICY, concurrency=9, cores=2, cost=cost, prices="the table", **fields)
        return {one.name: one.source for one in stated}

    measured = history_of(assumed(), Random(3))  # noqa: S311  # the same
    told = Told(rejected=0.3, unanswered=0.1, latency_median_s=1.0, latency_sigma=0.5, text="its flags")
    assert sources()["a call"] == "a guess"
    assert sources(measured=measured)["a call"] == "measured in 1 earlier execution: 60 calls"
    assert sources(measured=measured, simulated=True, told=told)["a call"] == "its flags"
    assert sources(measured=measured, simulated=True)["answers"].startswith("measured in 1 earlier simulated execution")
    assert sources()["prices"] == "the table"


def test_made_up_code_has_the_planned_length():
    for signature in ("def f(a: int) -> int", "class A:", "", "LIMIT: int"):
        code = made_up_code(atom("a", signature=signature, estimated_loc=12))
        assert len(code.splitlines()) == 12
        compile(code, "made up", "exec")


def test_dependencies_make_prompts_longer():
    alone, resting = plan_shape(plan("a -> b")).atoms
    assert resting.prompt_bytes > alone.prompt_bytes + 300


def told_for(run_calls: float) -> Forecast:
    told = forecast(plan("a"), certain())
    calls = told.calls.model_copy(update={"p10": run_calls, "p50": run_calls, "p90": run_calls})
    return told.model_copy(update={"calls": calls})


def test_an_ended_run_is_held_against_its_forecast_and_a_running_one_is_not():
    run = driven("a", forecast=told_for(1))
    running = compare(run.machine, None)
    assert running is not None
    assert {row.inside for row in running.rows} == {None}
    run.attempt("a")
    ended = compare(run.machine, observe(EXECUTION_ID, run.machine.plan, run.events))
    assert ended is not None
    rows = {row.figure: row for row in ended.rows}
    assert (rows["Calls"].actual, rows["Calls"].inside) == (1, True)
    assert (rows["Input tokens"].actual, rows["Output tokens"].actual) == (10, 5)
    assert rows["Cost"].actual == pytest.approx(0.01)
    assert rows["Cost"].inside is False


def test_a_run_without_forecast_has_nothing_to_compare():
    run = driven("a")
    run.call("a")
    run.arrive("a", generation())
    assert compare(run.machine, None) is None


def test_settings_with_a_forecast_survive_the_journal():
    settings = ExecutionSettings(policy=POLICY, forecast=told_for(2))
    assert ExecutionSettings.model_validate_json(settings.model_dump_json()) == settings
    assert ExecutionSettings.model_validate_json('{"policy": {"model": "m"}}').forecast is None
