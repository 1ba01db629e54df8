"""One call goes ahead of those that share a long prefix."""

from __future__ import annotations

import asyncio

import pytest

from mge_ray.domain.commands import Generate
from mge_ray.domain.events import GenerationArrived, GenerationFailed
from mge_ray.domain.retry import AttemptSettings
from mge_ray.execution.offer import Offer
from mge_ray.execution.priming import CACHE_TTL_S, CACHEABLE_FROM_TOKENS, PATIENCE_S, PromptPriming
from tests.builders import UNBILLED, generation, many, settings
from tests.engines import begun, engine, until
from tests.fakes.llm import ScriptedClient


def call(name: str, model: str = "m") -> Generate:
    return Generate(name, 1, f"call {name}", AttemptSettings(model=model, max_tokens=100))


def chosen(priming: PromptPriming, *calls: Generate, now: float = 0.0) -> list[str]:
    offers = [Offer(one.atom_id, (1, 0), f"lease {one.atom_id}", one.settings.model, 0.01) for one in calls]
    return [one.atom_id for one in priming.chosen(offers, now=now)]


A, B, C = call("a"), call("b"), call("c")


def begun_with(*calls: Generate) -> PromptPriming:
    priming = PromptPriming(CACHEABLE_FROM_TOKENS)
    for one in calls:
        priming.began(one, now=0.0)
    return priming


def test_a_short_prefix_holds_nobody_back():
    priming = PromptPriming(CACHEABLE_FROM_TOKENS - 1)
    assert chosen(priming, A, B) == ["a", "b"]
    priming.began(A, now=0.0)
    assert chosen(priming, B, C) == ["b", "c"]


def test_one_call_a_model_goes_ahead():
    priming = PromptPriming(CACHEABLE_FROM_TOKENS)
    assert chosen(priming, A, B, call("x", "other"), C) == ["a", "x"]
    priming.began(A, now=0.0)
    assert chosen(priming, B, C, call("x", "other")) == ["x"]


@pytest.mark.parametrize(
    "ended",
    [GenerationArrived(5.0, "a", "call a", generation()), GenerationFailed(5.0, "a", "call a", UNBILLED)],
    ids=["answered", "failed"],
)
def test_the_others_follow_when_it_has_ended_in_whatever_way(ended):
    priming = begun_with(A)
    priming.landed([ended], now=5.0)
    assert chosen(priming, B, C, now=5.0) == ["b", "c"]


def test_they_follow_also_when_it_does_not_end():
    priming = begun_with(A)
    assert chosen(priming, B, now=PATIENCE_S - 0.1) == []
    assert chosen(priming, B, C, now=PATIENCE_S) == ["b", "c"]


def test_after_five_minutes_without_an_answer_one_goes_ahead_again():
    priming = begun_with(A)
    priming.landed([GenerationArrived(1.0, "a", "call a", generation())], now=1.0)
    priming.began(B, now=2.0)
    priming.landed([GenerationArrived(200.0, "b", "call b", generation())], now=200.0)
    assert chosen(priming, B, C, now=200.0 + CACHE_TTL_S - 1) == ["b", "c"]
    assert chosen(priming, B, C, now=200.0 + CACHE_TTL_S) == ["b"]


def test_other_failures_and_strangers_change_nothing():
    priming = begun_with(A, B)
    priming.landed([GenerationFailed(1.0, "b", "call b", UNBILLED)], now=1.0)
    priming.landed([GenerationArrived(1.0, "z", "call z", generation())], now=1.0)
    assert chosen(priming, C, now=1.0) == []


async def test_an_execution_sends_one_call_and_then_the_rest():
    client = ScriptedClient()
    client.gate.clear()
    executor = engine(client, prefix_tokens=lambda _plan: CACHEABLE_FROM_TOKENS)
    run = await begun(executor, many(5), settings(prime_prompt_cache=True))
    driving = asyncio.create_task(executor.drive(run))
    await until(lambda: client.in_flight == 1)
    await asyncio.sleep(0.3)
    assert client.in_flight == 1
    client.gate.set()
    await driving
    assert client.most_in_flight == 4
