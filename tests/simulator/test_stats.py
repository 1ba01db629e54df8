import asyncio
import json

import anthropic
import pytest

from mge_ray.simulator import SimulatorConfigError
from mge_ray.simulator.pricing import CATALOGUE, known_model, load_prices, price_of


async def test_books_add_up_under_concurrency(start):
    simulator = start(
        seed=2,
        latency="lognormal:0.02:0.5",
        rate_429=0.15,
        rate_reset=0.1,
        rate_truncated=0.1,
        rate_wrong=0.2,
        requests_per_minute=90,
        synthetic="def {symbol}():\n    return 1\n",
    )

    async def ask(number):
        try:
            return await simulator.ask(
                f"atom{number % 20}", model="not-a-model" if number % 25 == 0 else "claude-opus-5"
            )
        except anthropic.APIError:
            return None

    answers = [answer for answer in await asyncio.gather(*map(ask, range(150))) if answer is not None]
    stats = simulator.stats()
    atoms = stats["atoms"].values()
    lost = sum(stats["billed_undelivered"].values())
    assert stats["requests"] == 150
    assert stats["in_flight"] == 0
    assert 1 < stats["max_in_flight"] <= 150
    assert stats["rejected"] == {"not_found_error": 6}
    assert stats["rate_limited"] > 0
    assert stats["delivered_answers"] == len(answers)
    assert stats["billed_answers"] == stats["delivered_answers"] + lost
    assert stats["requests"] == (
        stats["billed_answers"] + stats["faults"]["429"] + stats["rate_limited"] + 6 + stats["abandoned"]
    )
    assert sum(atom["requests"] for atom in atoms) == 144
    assert sum(atom["billed_answers"] for atom in atoms) == stats["billed_answers"]
    assert sum(atom["delivered"] for atom in atoms) == stats["delivered_answers"]
    assert sum(atom["tokens"]["output"] for atom in atoms) == stats["tokens"]["output"]
    assert sum(atom["cost_usd"] for atom in atoms) == pytest.approx(stats["cost_usd"])
    assert stats["cost_usd"] == pytest.approx((5 * stats["tokens"]["input"] + 25 * stats["tokens"]["output"]) / 1e6)


async def test_cost_follows_the_usage_of_the_answers(start, tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"claude-opus-5-5": [1, 10, 2, 0.5]}))
    simulator = start(prices=prices)
    system = [{"type": "text", "text": "s" * 8000, "cache_control": {"type": "ephemeral"}}]
    usages = [(await simulator.ask(system=system, model="claude-opus-5-5")).usage for _ in range(2)]
    fresh = sum(usage.input_tokens for usage in usages)
    output = sum(usage.output_tokens for usage in usages)
    stats = simulator.stats()
    assert stats["cost_usd"] == pytest.approx((fresh + 10 * output + 2 * 2000 + 0.5 * 2000) / 1e6)
    assert stats["tokens"] == {"input": fresh, "output": output, "cache_creation": 2000, "cache_read": 2000}


async def test_answer_without_a_price_is_counted_as_unpriced(start):
    simulator = start()
    await simulator.ask(model="claude-unheard-of")
    assert (simulator.stats()["cost_usd"], simulator.stats()["unpriced_answers"]) == (0, 1)


async def test_reset_clears_the_books_but_not_the_draws(start):
    simulator = start(rate_500=0.5, seed=4)
    for _ in range(3):
        try:
            await simulator.ask()
        except anthropic.InternalServerError:
            continue
    await simulator.client.post("/stats/reset", cast_to=object)
    stats = simulator.stats()
    assert stats["requests"] == stats["billed_answers"] == stats["atoms"]["cart.total"]["requests"] == 0


async def test_request_without_an_atom_is_booked_apart(start):
    simulator = start()
    await simulator.ask(messages=[{"role": "user", "content": "Hello"}])
    assert list(simulator.stats()["atoms"]) == ["(no atom)"]


def test_haiku_costs_more_beyond_its_tier():
    price = price_of("claude-haiku-5-5", {})
    assert price.cost_usd(input_tokens=100_000, output_tokens=0, cache_write=0, cache_read=0) == pytest.approx(0.01)
    assert price.cost_usd(input_tokens=100_001, output_tokens=0, cache_write=0, cache_read=0) == pytest.approx(
        0.05, 1e-3
    )


def test_dated_ids_are_the_models_they_date():
    assert known_model("claude-haiku-4-5-20251001") is known_model("claude-haiku-4-5")
    assert known_model("claude-haiku-4-5-turbo") is None


def test_built_in_prices_agree_with_the_published_tables():
    genai_prices = pytest.importorskip("genai_prices")
    for model in CATALOGUE:
        usage = genai_prices.Usage(
            input_tokens=10_000, output_tokens=1000, cache_read_tokens=3000, cache_write_tokens=2000
        )
        published = genai_prices.calc_price(usage, model.id, provider_id="anthropic").total_price
        ours = model.price.cost_usd(input_tokens=5000, output_tokens=1000, cache_write=2000, cache_read=3000)
        assert ours == pytest.approx(float(published)), model.id


def test_price_file_of_another_form_is_refused(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text('{"claude-opus-5": [1, 2]}')
    with pytest.raises(SimulatorConfigError, match="four numbers"):
        load_prices(path)
