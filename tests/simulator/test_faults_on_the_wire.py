import ast
import asyncio
import json
import time

import anthropic
import pytest

from mge_ray.simulator.faults import BILLED, TransportFault


async def failure(call):
    """What the SDK raises; no retries of its own are on."""
    with pytest.raises(anthropic.APIError) as caught:
        await call
    return caught.value


async def test_drawn_429_says_when_to_come_back(start):
    simulator = start(rate_429=1, retry_after_s=2.5)
    error = await failure(simulator.ask())
    assert isinstance(error, anthropic.RateLimitError)
    assert error.response.headers["retry-after"] == "2.5"
    assert int(error.response.headers["anthropic-ratelimit-requests-remaining"]) > 0


async def test_bare_429_does_not(start):
    error = await failure(start(rate_429_bare=1).ask())
    assert isinstance(error, anthropic.RateLimitError)
    assert "retry-after" not in error.response.headers


async def test_ramp_429_carries_its_code_and_retry_after(start):
    error = await failure(start(rate_ramp_429=1).ask())
    assert error.error_code == "ramp_limit_exceeded"
    assert error.response.headers["retry-after"] == "1"


async def test_spend_429_carries_its_code_and_no_hope(start):
    error = await failure(start(rate_spend_429=1).ask())
    assert error.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in error.response.headers


async def test_500_is_an_api_error(start):
    error = await failure(start(rate_500=1).ask())
    assert (error.status_code, error.type) == (500, "api_error")


async def test_529_is_an_overloaded_error(start):
    error = await failure(start(rate_529=1).ask())
    assert (error.status_code, error.type) == (529, "overloaded_error")


async def test_storm_hits_every_atom_until_it_is_over(start):
    simulator = start(rate_529=1, storm_s=60)
    errors = [await failure(simulator.ask(f"atom {number}")) for number in range(5)]
    assert {error.status_code for error in errors} == {529}
    assert simulator.stats()["faults"] == {"529": 1, "storm": 4}


async def test_single_529_begins_no_storm(start):
    simulator = start(rate_529=1, storm_s=60, storm_share=0)
    await failure(simulator.ask("a"))
    await failure(simulator.ask("b"))
    assert simulator.stats()["faults"] == {"529": 2}


async def test_reset_is_a_connection_error_and_billed(start):
    simulator = start(rate_reset=1)
    error = await failure(simulator.ask())
    assert isinstance(error, anthropic.APIConnectionError)
    assert simulator.stats()["billed_undelivered"] == {"reset": 1}


async def test_stall_is_silence_and_billed_when_it_begins(start):
    simulator = start(rate_stall=1)
    call = asyncio.create_task(simulator.ask())
    await simulator.until(billed_answers=1)
    assert not call.done()
    assert simulator.stats()["in_flight"] == 1
    call.cancel()
    await asyncio.wait([call])
    await simulator.until(in_flight=0)
    assert simulator.stats()["billed_undelivered"] == {"stall": 1}


async def test_stall_ends_in_a_closed_connection(start):
    began = time.monotonic()
    error = await failure(start(rate_stall=1, stall_s=0.2).ask())
    assert isinstance(error, anthropic.APIConnectionError)
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("fault", ["truncated", "early_end", "stream_overload"])
async def test_faults_of_the_body_truncate_what_is_not_streamed(start, fault):
    simulator = start(**{f"rate_{fault}": 1})
    error = await failure(simulator.ask())
    assert isinstance(error, anthropic.APIConnectionError)
    assert simulator.stats()["billed_undelivered"] == {fault: 1}


async def test_truncated_stream_is_a_connection_error(start):
    # The SDK lets the transport's own error through once a stream has begun.
    with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"):
        await start(rate_truncated=1).stream()


@pytest.mark.parametrize("fault", ["truncated", "reset", "stall"])
async def test_aiohttp_client_sees_connection_errors_too(start, fault):
    simulator = start(aiohttp=True, stall_s=0.1, **{f"rate_{fault}": 1})
    assert isinstance(await failure(simulator.ask()), anthropic.APIConnectionError)


async def test_html_page_comes_back_as_a_plain_string(start):
    simulator = start(rate_html=1)
    answer = await simulator.ask()
    assert isinstance(answer, str)
    assert simulator.stats()["billed_answers"] == 0


async def test_stream_that_ends_early_has_no_stop_reason(start):
    simulator = start(rate_early_end=1)
    assert (await simulator.stream()).stop_reason is None
    assert simulator.stats()["billed_undelivered"] == {"early_end": 1}


async def test_overload_inside_a_stream_is_an_error_with_status_200(start):
    error = await failure(start(rate_stream_overload=1).stream())
    assert (error.status_code, error.type) == (200, "overloaded_error")


async def test_refusal_has_no_text_and_is_billed(start):
    simulator = start(rate_refusal=1)
    message, streamed = await simulator.ask(), await simulator.stream()
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert (streamed.stop_reason, streamed.content) == ("refusal", [])
    assert simulator.stats()["delivered_answers"] == 2


async def test_cut_answer_ends_in_the_middle(start):
    message = await start(rate_cut=1).ask()
    assert message.stop_reason == "max_tokens"
    assert message.content[0].text.count("```") == 1


async def test_answer_without_code_is_prose(start):
    message = await start(rate_no_code=1).ask()
    assert message.stop_reason == "end_turn"
    assert "```" not in message.content[0].text


def code_in(message):
    return message.content[0].text.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("atom_id", ["cart.total", "cart.count", "tax"])
async def test_syntax_fault_does_not_compile(start, atom_id):
    with pytest.raises(SyntaxError):
        ast.parse(code_in(await start(rate_syntax=1).ask(atom_id)))


async def test_wrong_answer_compiles_keeps_its_signature_and_fails_when_called(start):
    code = code_in(await start(rate_wrong=1).ask("cart.total"))
    assert 'def total(prices: list[int]) -> int:\n    """Add up."""' in code
    names = {}
    exec(code, names)  # noqa: S102 - our own answer
    with pytest.raises(Exception):  # noqa: B017 - which one is drawn
        names["total"]([1, 2])


async def test_prepared_wrong_answers_take_precedence(start, tmp_path):
    prepared = tmp_path / "wrong.json"
    prepared.write_text(json.dumps({"tax": ["def tax(amount):\n    return 41\n"]}))
    simulator = start(rate_wrong=1, wrong_answers=prepared)
    assert "return 41" in code_in(await simulator.ask("tax"))
    assert "raise" in code_in(await simulator.ask("cart.count"))


async def test_client_that_leaves_before_the_answer_is_not_billed(start):
    simulator = start(latency="fixed:30")
    call = asyncio.create_task(simulator.ask())
    await simulator.until(in_flight=1)
    call.cancel()
    await asyncio.wait([call])
    await simulator.until(in_flight=0)
    stats = simulator.stats()
    assert (stats["abandoned"], stats["billed_answers"]) == (1, 0)


async def test_latency_is_waited_for(start):
    simulator = start(latency="fixed:0.3")
    began = time.monotonic()
    await simulator.ask()
    assert 0.3 <= time.monotonic() - began < 2


@pytest.mark.parametrize("fault", list(TransportFault))
async def test_bill_agrees_with_the_table(start, fault):
    simulator = start(**{fault.rate_field: 1}, stall_s=0.05)
    if fault is TransportFault.HTML:
        await simulator.ask()
    else:
        await failure(simulator.ask())
    stats = simulator.stats()
    assert stats["billed_answers"] == BILLED[fault]
    assert stats["faults"] == {fault.value: 1}
    assert stats["delivered_answers"] == 0
