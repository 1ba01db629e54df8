"""The client against the project's simulated server: the real SDK, a real socket."""

import asyncio
import json
import pickle
from contextlib import contextmanager
from dataclasses import replace

import pytest

from mge_ray.adapters.anthropic_client import EnhancedAnthropicClient
from mge_ray.adapters.message_request import CountedPrefixes, build_request, max_cost_usd_of, max_input_tokens
from mge_ray.adapters.prices import PriceTable, Rates
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.errors import UnknownPriceError
from mge_ray.domain.generation import Billing, FailureKind, StopReason, Usage
from mge_ray.domain.retry import AttemptSettings
from mge_ray.execution.ports import CallContext, CallFailedError, LLMClient, PlanContext, QuotesCalls
from mge_ray.simulator import SimulatorConfig, running

MODEL = "claude-opus-5-5"
CODE = "def total(prices: list[int]) -> int:\n    return sum(prices)\n"
ATOM = AtomicUnit(id="cart.total", file="cart.py", symbol="total", signature="def total(prices: list[int]) -> int:")
FILES = {"cart.py": "\n".join(f"def f{number}(a: int, b: int) -> int: ..." for number in range(200))}
PLAN = PlanContext(name="shop", description="A shop.", files=FILES)


def call(model=MODEL, timeout_s=20.0, max_tokens=1_000, **settings):
    return CallContext(
        call_id="call-1", settings=AttemptSettings(model, max_tokens, **settings), plan=PLAN, timeout_s=timeout_s
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    path = tmp_path_factory.mktemp("answers") / "answers.json"
    path.write_text(json.dumps({"cart.total": CODE}))
    return path


@contextmanager
def provider(answers, **flags):
    with running(SimulatorConfig(answers=answers, **flags)) as (url, app):
        yield url, app


@pytest.fixture(scope="module")
def healthy(answers):
    with provider(answers) as found:
        yield found


def client(url, **options):
    return EnhancedAnthropicClient(**({"prices": PriceTable(), "base_url": url, "api_key": "sk-test"} | options))


async def failure(url, context=None, **options):
    made = client(url, **options)
    try:
        with pytest.raises(CallFailedError) as caught:
            await made.generate(ATOM, (), call=context or call())
    finally:
        await made.aclose()
    return caught.value.failure


async def answer(url, context=None, **options):
    made = client(url, **options)
    try:
        return await made.generate(ATOM, (), call=context or call())
    finally:
        await made.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_arrives_with_code_usage_cost_and_limits(healthy, stream):
    url, app = healthy
    app.stats.reset()
    made = await answer(url, stream=stream)
    assert made.code == CODE
    assert made.stop_reason is StopReason.END_TURN
    assert made.model == MODEL
    assert made.request_id.startswith("req_")
    assert made.latency_s > 0
    assert made.usage.output_tokens > 0
    assert made.cost_usd == pytest.approx(app.stats.as_json()["cost_usd"])
    assert made.cost_usd == pytest.approx(PriceTable().cost_usd(MODEL, made.usage))
    assert {name.rsplit("-", 1)[-1] for name in made.rate_limits} >= {"limit", "remaining", "reset"}
    assert all(name.startswith("anthropic-ratelimit-") for name in made.rate_limits)


async def test_the_second_call_of_a_plan_reads_the_prefix_from_the_cache(answers):
    with provider(answers) as (url, _):
        first = await answer(url)
        second = await answer(url)
    assert first.usage.cache_write_tokens > 1_024
    assert second.usage.cache_read_tokens == first.usage.cache_write_tokens
    assert second.cost_usd < first.cost_usd


async def test_no_bill_exceeds_the_quote(healthy):
    made = client(healthy[0])
    quoted = made.max_cost_usd(ATOM, (), call=call())
    await made.aclose()
    assert 0 < (await answer(healthy[0])).cost_usd < quoted


async def test_a_quote_needs_no_connection_and_no_sdk_call():
    made = client("http://127.0.0.1:1")
    assert made.max_cost_usd(ATOM, (), call=call()) == max_cost_usd_of(
        build_request(ATOM, (), None, call()), PriceTable()
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("rate_429", (FailureKind.RATE_LIMITED, Billing.NOT_BILLED, 7.0)),
        ("rate_429_bare", (FailureKind.RATE_LIMITED, Billing.NOT_BILLED, None)),
        ("rate_ramp_429", (FailureKind.RAMP_LIMITED, Billing.NOT_BILLED, 7.0)),
        ("rate_spend_429", (FailureKind.SPEND_LIMIT, Billing.NOT_BILLED, None)),
        ("rate_500", (FailureKind.SERVER_ERROR, Billing.NOT_BILLED, None)),
        ("rate_529", (FailureKind.OVERLOADED, Billing.NOT_BILLED, None)),
        ("rate_reset", (FailureKind.CONNECTION, Billing.UNKNOWN, None)),
        ("rate_truncated", (FailureKind.BROKEN_ANSWER, Billing.UNKNOWN, None)),
        ("rate_html", (FailureKind.NOT_AN_ANSWER, Billing.UNKNOWN, None)),
        ("rate_early_end", (FailureKind.BROKEN_ANSWER, Billing.UNKNOWN, None)),
    ],
)
async def test_every_fault_of_the_provider_has_its_failure(answers, stream, rate, expected):
    with provider(answers, retry_after_s=7.0, **{rate: 1.0}) as (url, app):
        found = await failure(url, stream=stream)
        sent = app.stats.as_json()["requests"]
    assert (found.kind, found.billing, found.retry_after_s) == expected
    assert found.latency_s > 0
    assert sent == 1


async def test_an_overload_inside_a_stream_is_an_overload_that_may_be_billed(answers):
    with provider(answers, rate_stream_overload=1.0) as (url, _):
        found = await failure(url, stream=True)
    assert (found.kind, found.billing) == (FailureKind.OVERLOADED, Billing.UNKNOWN)
    assert found.request_id


async def test_a_stream_that_ends_early_reports_the_usage_it_knew(answers):
    with provider(answers, rate_early_end=1.0) as (url, _):
        found = await failure(url, stream=True)
    assert "stop reason" in found.message
    assert found.usage.cache_write_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_ends_with_the_calls_time(answers, stream):
    with provider(answers, rate_stall=1.0) as (url, _):
        found = await failure(url, call(timeout_s=0.3), stream=stream)
    assert (found.kind, found.billing) == (FailureKind.TIMEOUT, Billing.UNKNOWN)
    assert 0.2 < found.latency_s < 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("rate", "stop_reason"),
    [
        ("rate_refusal", StopReason.REFUSAL),
        ("rate_cut", StopReason.MAX_TOKENS),
        ("rate_no_code", StopReason.END_TURN),
    ],
)
async def test_an_answer_of_no_use_is_still_an_answer_that_was_billed(answers, stream, rate, stop_reason):
    with provider(answers, **{rate: 1.0}) as (url, _):
        made = await answer(url, stream=stream)
    assert made.stop_reason is stop_reason
    assert made.code is None
    assert made.cost_usd > 0


async def test_a_model_that_does_not_exist_stops_the_run(answers):
    with provider(answers, models=("claude-haiku-5-5",)) as (url, _):
        assert (await failure(url)).kind is FailureKind.UNKNOWN_MODEL


async def test_a_long_answer_is_streamed(healthy):
    made = await answer(healthy[0], call(max_tokens=21_334))
    assert made.code == CODE


async def test_a_model_with_sampling_gets_its_temperature(healthy):
    made = await answer(healthy[0], call("claude-opus-4-6", temperature=0.3), sampling=True)
    assert made.code == CODE


async def test_a_temperature_goes_nowhere_it_is_not_taken(healthy):
    made = await answer(healthy[0], call(temperature=0.3, effort="high"))
    assert made.code == CODE


async def test_a_model_that_is_about_to_end_still_answers(healthy):
    with pytest.warns(DeprecationWarning, match="claude-sonnet-4-5"):
        made = await answer(healthy[0], call("claude-sonnet-4-5", temperature=0.7), sampling=True)
    assert made.code == CODE


async def test_a_model_without_a_price_is_not_called(healthy):
    url, app = healthy
    app.stats.reset()
    found = await failure(url, call("claude-opus-9"))
    assert found.kind is FailureKind.UNKNOWN_MODEL
    assert "--price claude-opus-9=IN/OUT" in found.message
    assert app.stats.as_json()["requests"] == 0


async def test_without_a_budget_a_model_without_a_price_counts_as_free_with_one_warning(healthy, caplog):
    made = client(healthy[0], require_price=False)
    first = await made.generate(ATOM, (), call=call("claude-opus-9"))
    await made.generate(ATOM, (), call=call("claude-opus-9"))
    with pytest.raises(UnknownPriceError):
        made.max_cost_usd(ATOM, (), call=call("claude-opus-9"))
    await made.aclose()
    assert first.cost_usd == 0
    assert [record.message for record in caplog.records if "no price" in record.message] == [
        "no price is known for model claude-opus-9: its calls count as free"
    ]


async def test_the_users_price_is_what_an_answer_costs(healthy):
    made = await answer(healthy[0], prices=PriceTable({MODEL: Rates(0, 1_000_000, 0, 0)}))
    assert made.cost_usd == made.usage.output_tokens


async def test_a_cancelled_call_is_cancelled_and_the_client_lives_on(answers):
    with provider(answers, latency="fixed:0.4") as (url, _):
        made = client(url)
        task = asyncio.create_task(made.generate(ATOM, (), call=call()))
        await asyncio.sleep(0.15)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await made.generate(ATOM, (), call=call())).code == CODE
        await made.aclose()


async def test_many_calls_are_in_flight_together(answers):
    with provider(answers, latency="fixed:0.5") as (url, app):
        made = client(url, max_connections=60)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(made.generate(ATOM, (), call=call()) for _ in range(60)))
        elapsed = loop.time() - started
        await made.aclose()
        assert app.stats.as_json()["max_in_flight"] > 30
    assert elapsed < 10


async def test_a_closed_client_opens_again(healthy):
    made = client(healthy[0])
    await made.generate(ATOM, (), call=call())
    await made.aclose()
    await made.aclose()
    assert (await made.generate(ATOM, (), call=call())).code == CODE
    await made.aclose()


def test_a_client_serves_one_loop_after_another(healthy):
    made = client(healthy[0])

    async def once():
        try:
            return await made.generate(ATOM, (), call=call())
        finally:
            await made.aclose()

    assert asyncio.run(once()).code == CODE
    assert asyncio.run(once()).code == CODE


async def test_the_defaults_need_only_a_model(healthy):
    made = client(healthy[0], model=MODEL)
    assert (await made.generate(ATOM, (), 0.7, ["it failed"])).code == CODE
    await made.aclose()


async def test_without_any_model_the_call_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="no model"):
        await client("http://127.0.0.1:1").generate(ATOM, ())


def test_the_client_fills_both_roles():
    made: LLMClient = client("http://127.0.0.1:1")
    assert isinstance(made, QuotesCalls)


def test_a_client_cannot_be_pickled():
    with pytest.raises(TypeError, match="make one in the process that calls"):
        pickle.dumps(client("http://127.0.0.1:1"))


def test_a_request_is_plain_data():
    request = build_request(ATOM, (), ["bad"], call(effort="high"))
    assert pickle.loads(pickle.dumps(request)) == request  # noqa: S301 - our own
    assert hash(request) == hash(build_request(ATOM, (), ["bad"], call(effort="high")))
    assert request.user.endswith("Atom: cart.total")
    assert (request.call_id, request.model, request.effort) == ("call-1", MODEL, "high")


def test_a_request_needs_settings():
    with pytest.raises(ValueError, match="settings"):
        build_request(ATOM, (), None, CallContext(call_id="c"))


def test_what_the_provider_has_counted_bounds_prompts_that_begin_alike():
    long = replace(build_request(ATOM, (), None, call()), system=("x" * 24_000,))
    counted, other = CountedPrefixes(), replace(long, user="another\n" * 10)
    assert counted.max_input_tokens(other) == max_input_tokens(other)
    counted.observe(long, Usage(input_tokens=300, cache_write_tokens=6_000))
    counted.observe(long, Usage(input_tokens=200, cache_read_tokens=5_000))
    assert counted.max_input_tokens(other) == 512 + 6_300 + 80
    assert max_cost_usd_of(other, PriceTable(), counted) < max_cost_usd_of(other, PriceTable())
    for foreign in (replace(other, model="another"), replace(other, system=("y" * 24_000,))):
        assert counted.max_input_tokens(foreign) == max_input_tokens(foreign)


def test_a_count_that_leaves_tokens_out_is_not_believed_and_not_everything_is_kept():
    long = replace(build_request(ATOM, (), None, call()), system=("x" * 24_000,))
    counted = CountedPrefixes()
    counted.observe(long, Usage(input_tokens=12))
    assert counted.tokens == {}
    for number in range(300):
        counted.observe(replace(long, system=(f"{number}",)), Usage(input_tokens=10))
    assert len(counted.tokens) == 256


def test_the_token_bound_counts_bytes():
    plain = max_input_tokens(build_request(ATOM, (), None, call()))
    wide = max_input_tokens(build_request(ATOM, (), ["ü" * 100], call()))
    assert wide - plain >= 200
