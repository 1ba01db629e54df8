"""Equal requests in flight are one call, and its price is booked once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from mge_ray.adapters.message_request import MessageRequest, content_hash
from mge_ray.cluster.single_flight import SingleFlight
from mge_ray.domain.generation import Billing, Usage
from tests.builders import BILLED, CALL_USD, MAYBE_BILLED, UNBILLED, generation
from tests.engines import until

REQUEST = MessageRequest("one", "m", ("rules",), "write f", 100, shareable=True)
OTHER = replace(REQUEST, call_id="two", timeout_s=5.0)


@dataclass
class Provider:
    """Answers every call with `answer` once `gate` is open."""

    answer: object = field(default_factory=generation)
    asked: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, request: MessageRequest):
        self.asked.append(request.call_id)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.given_up.append(request.call_id)
            raise
        return self.answer


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"system": ("rules", "")}, {"user": "write g"}, {"max_tokens": 99}, {"temperature": 0.5}]
)
def test_what_the_provider_sees_makes_requests_differ(change):
    assert content_hash(replace(REQUEST, **change)) != content_hash(REQUEST)
    assert content_hash(OTHER) == content_hash(REQUEST)


async def test_equal_requests_in_flight_are_one_call_that_the_first_pays():
    provider = Provider()
    flights = SingleFlight(provider.call)
    first, second = flights.join(REQUEST), flights.join(OTHER)
    provider.gate.set()
    paid, free = await first, await second
    assert provider.asked == ["one"]
    assert (paid.cost_usd, paid.shared) == (CALL_USD, False)
    assert (free.code, free.cost_usd, free.usage, free.shared) == (paid.code, 0.0, Usage(), True)


async def test_a_request_after_the_answer_is_a_call_of_its_own():
    provider = Provider()
    provider.gate.set()
    flights = SingleFlight(provider.call)
    await flights.join(REQUEST)
    assert not (await flights.join(OTHER)).shared
    assert provider.asked == ["one", "two"]


async def test_requests_that_may_not_be_shared_are_not():
    provider = Provider()
    flights = SingleFlight(provider.call)
    alone = [flights.join(replace(one, shareable=False)) for one in (REQUEST, OTHER)]
    alone.append(flights.join(replace(REQUEST, call_id="three")))
    provider.gate.set()
    assert [(await one).cost_usd for one in alone] == [CALL_USD] * 3


async def test_when_the_first_gives_up_the_call_goes_on_and_the_next_pays():
    provider = Provider()
    flights = SingleFlight(provider.call)
    first, second, third = flights.join(REQUEST), flights.join(OTHER), flights.join(replace(REQUEST, call_id="three"))
    await until(lambda: provider.asked)
    flights.leave("one")
    first.cancel()
    provider.gate.set()
    assert [(await one).cost_usd for one in (second, third)] == [CALL_USD, 0.0]
    assert (provider.asked, provider.given_up) == (["one"], [])


async def test_a_call_is_given_up_with_its_last_member():
    provider = Provider()
    flights = SingleFlight(provider.call)
    tasks = [flights.join(REQUEST), flights.join(OTHER)]
    await until(lambda: provider.asked)
    for call_id in ("one", "two", "unknown"):
        flights.leave(call_id)
    await until(lambda: provider.given_up)
    await asyncio.gather(*tasks, return_exceptions=True)
    again = flights.join(replace(REQUEST, call_id="three"))
    provider.gate.set()
    assert (await again).cost_usd == CALL_USD


async def test_who_joins_between_the_giving_up_and_its_end_gets_a_call_of_its_own():
    provider = Provider()
    flights = SingleFlight(provider.call)
    gone = flights.join(REQUEST)
    await until(lambda: provider.asked)
    flights.leave("one")
    second = flights.join(OTHER)
    provider.gate.set()
    assert (await second).cost_usd == CALL_USD
    await asyncio.gather(gone, return_exceptions=True)


async def test_leaving_after_the_answer_changes_nobodys_bill():
    provider = Provider()
    flights = SingleFlight(provider.call)
    first, second = flights.join(REQUEST), flights.join(OTHER)
    provider.gate.set()
    await first
    flights.leave("one")
    assert (await second).cost_usd == 0.0


@pytest.mark.parametrize("why", [BILLED, MAYBE_BILLED, UNBILLED])
async def test_a_failure_is_booked_by_the_first_alone(why):
    provider = Provider(answer=why)
    flights = SingleFlight(provider.call)
    first, second = flights.join(REQUEST), flights.join(OTHER)
    provider.gate.set()
    assert await first == why
    joined = await second
    assert (joined.kind, joined.billing, joined.cost_usd) == (why.kind, Billing.NOT_BILLED, 0.0)


async def test_closing_gives_every_call_up():
    provider = Provider()
    flights = SingleFlight(provider.call)
    task = flights.join(REQUEST)
    await until(lambda: provider.asked)
    flights.close()
    await asyncio.gather(task, return_exceptions=True)
    assert provider.given_up == ["one"]
