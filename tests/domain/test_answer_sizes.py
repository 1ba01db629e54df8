import pytest

from mge_ray.domain.answer_sizes import (
    FLOOR_TOKENS,
    LEAST_ANSWERS,
    PLANNED_FLOOR_TOKENS,
    STEP_TOKENS,
    SURE_ANSWERS,
    AnswerSizes,
    planned_bound,
)
from mge_ray.domain.forecast import Forecast, Quantiles


def seen(*tokens, effort="low", complexity="low"):
    sizes = AnswerSizes()
    for count in tokens:
        sizes.observe("m", effort, complexity, count)
    return sizes


def forecast(*, calls, output_tokens):
    fields = dict.fromkeys(("input_tokens", "wall_s"), alike(0))
    return Forecast(
        model="m",
        calls=alike(calls),
        output_tokens=alike(output_tokens),
        cost_usd=None,
        runs=1,
        assumptions=(),
        **fields,
    )


def alike(value):
    return Quantiles(p10=value, p50=value, p90=value)


def test_nothing_is_known_before_there_are_enough_answers():
    assert AnswerSizes().bound("m", None, "low") is None
    assert seen(*[900] * (LEAST_ANSWERS - 1)).bound("m", "low", "low") is None
    assert seen(*[900] * LEAST_ANSWERS).bound("m", "low", "low") is not None


def test_the_bound_lies_above_the_longest_of_few_answers_and_less_so_once_there_are_more():
    three, few, more = seen(100, 100, 960), seen(*[100] * 7, 960), seen(*[100] * (SURE_ANSWERS - 1), 960)
    assert three.bound("m", "low", "low") == 4 * 960
    assert few.bound("m", "low", "low") == 2 * 960
    assert more.bound("m", "low", "low") == 1.5 * 960 + (-1.5 * 960) % STEP_TOKENS


def test_one_answer_in_a_hundred_may_be_longer():
    assert seen(*[640] * 99, 6_400).bound("m", "low", "low") == 960 + (-960) % STEP_TOKENS
    assert seen(*[640] * 98, 6_400, 6_400).bound("m", "low", "low") >= 6_400


def test_short_answers_do_not_lower_the_bound_to_nothing():
    assert seen(*[3] * 50).bound("m", "low", "low") == FLOOR_TOKENS


def test_an_answer_that_told_no_tokens_teaches_nothing():
    assert seen(*[0] * 50, -1).content() == {}


def test_a_kind_decides_for_itself_once_it_is_sure_and_goes_with_the_others_before():
    sizes = seen(*[2_000] * SURE_ANSWERS, complexity="high")
    assert sizes.bound("m", "low", "low") == sizes.bound("m", "low", "high") >= 3_000
    for _ in range(SURE_ANSWERS):
        sizes.observe("m", "low", "low", 200)
    assert sizes.bound("m", "low", "low") < 400
    assert sizes.bound("other", "low", "low") is None


def test_before_any_answer_the_forecast_says_how_long_they_should_be():
    assert planned_bound(forecast(calls=100, output_tokens=100_000)) == 4_096
    assert planned_bound(forecast(calls=100, output_tokens=1_000)) == PLANNED_FLOOR_TOKENS


@pytest.mark.parametrize("nothing", [None, forecast(calls=0, output_tokens=10)])
def test_without_a_forecast_nothing_is_planned(nothing):
    assert planned_bound(nothing) is None
