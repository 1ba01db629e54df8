import asyncio
import statistics
from collections import Counter

import anthropic
import pytest

from mge_ray.simulator import SimulatorConfig, SimulatorConfigError
from mge_ray.simulator.faults import (
    BILLED,
    AnswerFault,
    TransportFault,
    draw_answer,
    draw_latency,
    draw_mutation,
    draw_transport,
)

MIXED = {
    "rate_429": 0.1,
    "rate_500": 0.1,
    "rate_truncated": 0.1,
    "rate_html": 0.1,
    "rate_refusal": 0.1,
    "rate_no_code": 0.2,
    "rate_wrong": 0.2,
}


def test_rates_are_met_in_the_long_run():
    config = SimulatorConfig(seed=5, rate_429=0.1, rate_stall=0.02, rate_wrong=0.3)
    kinds = Counter(draw_transport(config, f"atom{number}", 0) for number in range(20_000))
    assert kinds[TransportFault.RATE_LIMIT] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert kinds[TransportFault.STALL] / 20_000 == pytest.approx(0.02, abs=0.005)
    wrong = sum(draw_answer(config, "one", index) is AnswerFault.WRONG for index in range(20_000))
    assert wrong / 20_000 == pytest.approx(0.3, abs=0.015)


def test_transport_and_answer_faults_are_independent():
    config = SimulatorConfig(seed=5, rate_500=0.5, rate_wrong=0.5)
    both = sum(
        draw_transport(config, f"a{number}", 0) is not None and draw_answer(config, f"a{number}", 0) is not None
        for number in range(10_000)
    )
    assert both / 10_000 == pytest.approx(0.25, abs=0.02)


def test_another_seed_draws_otherwise_and_the_same_seed_the_same():
    def kinds(seed):
        config = SimulatorConfig(seed=seed, rate_500=0.5)
        return [draw_transport(config, "a", index) for index in range(100)]

    assert kinds(1) == kinds(1)
    assert kinds(1) != kinds(2)


def test_rate_of_zero_never_hits_and_one_always_does():
    assert {draw_transport(SimulatorConfig(), "a", index) for index in range(1000)} == {None}
    assert {draw_answer(SimulatorConfig(rate_wrong=1), "a", index) for index in range(1000)} == {AnswerFault.WRONG}


def test_more_of_one_fault_leaves_the_latency_alone():
    quiet = SimulatorConfig(latency="lognormal:5:0.6")
    loud = SimulatorConfig(latency="lognormal:5:0.6", rate_500=0.9)
    assert draw_latency(quiet, "a", 3) == draw_latency(loud, "a", 3)


def test_lognormal_latency_has_its_median_and_spread():
    config = SimulatorConfig(latency="lognormal:5:0.6")
    drawn = [draw_latency(config, f"a{number}", 0) for number in range(10_000)]
    assert statistics.median(drawn) == pytest.approx(5, rel=0.05)
    assert statistics.quantiles(drawn, n=100)[83] == pytest.approx(5 * 2.718**0.6, rel=0.08)


def test_mutation_draw_stays_in_range():
    assert {draw_mutation(SimulatorConfig(), "a", index, 3) for index in range(100)} == {0, 1, 2}


def test_rates_that_exclude_one_another_sum_to_one_at_most():
    with pytest.raises(SimulatorConfigError, match=r"rate_429 0\.6 \+ rate_500 0\.6 = 1\.2"):
        SimulatorConfig(rate_429=0.6, rate_500=0.6)
    with pytest.raises(SimulatorConfigError, match="answer faults"):
        SimulatorConfig(rate_wrong=0.9, rate_cut=0.9)
    SimulatorConfig(rate_429=0.6, rate_wrong=0.6)


@pytest.mark.parametrize(
    "flags",
    [
        {"rate_429": -0.1},
        {"rate_wrong": float("nan")},
        {"latency": "uniform:1"},
        {"latency": "fixed:soon"},
        {"latency": "lognormal:1"},
        {"latency": "fixed:-1"},
        {"port": 70000},
        {"requests_per_minute": 0},
        {"stall_s": -1},
    ],
)
def test_flags_without_sense_are_refused(flags):
    with pytest.raises(SimulatorConfigError, match=next(iter(flags))):
        SimulatorConfig(**flags)


async def ask_in_rounds(simulator, order, rounds):
    async def ask(atom_id):
        try:
            answer = await simulator.ask(atom_id)
        except anthropic.APIError as error:
            return getattr(error, "type", None) or type(error).__name__
        return answer if isinstance(answer, str) else answer.content[0].text if answer.content else "refusal"

    outcomes = {atom_id: [] for atom_id in order}
    for _ in range(rounds):
        for atom_id, outcome in zip(order, await asyncio.gather(*map(ask, order)), strict=True):
            outcomes[atom_id].append(outcome)
    return outcomes


async def test_order_of_arrival_changes_nothing_for_any_atom(start):
    atoms = [f"atom{number}" for number in range(12)]
    flags = {**MIXED, "seed": 11, "synthetic": "def {symbol}():\n    return 1\n"}
    first = await ask_in_rounds(start(**flags), atoms, 5)
    second = await ask_in_rounds(start(**flags), atoms[::-1], 5)
    assert first == second


async def test_faults_are_the_ones_the_pure_functions_predict(start):
    flags = {**MIXED, "seed": 3, "synthetic": "def {symbol}():\n    return 1\n"}
    config = SimulatorConfig(**flags)
    atoms = [f"atom{number}" for number in range(12)]
    simulator = start(**flags)
    await ask_in_rounds(simulator, atoms, 5)
    seen = simulator.stats()["atoms"]
    for atom_id in atoms:
        expected = Counter()
        delivered = billed = 0
        for try_index in range(5):
            fault = draw_transport(config, atom_id, try_index)
            if fault is None:
                spoilt = draw_answer(config, atom_id, delivered)
                expected.update([spoilt.value] if spoilt else [])
                delivered += 1
            else:
                expected[fault.value] += 1
            billed += fault is None or BILLED[fault]
        assert seen[atom_id]["faults"] == expected
        assert (seen[atom_id]["requests"], seen[atom_id]["billed_answers"], seen[atom_id]["delivered"]) == (
            5,
            billed,
            delivered,
        )
