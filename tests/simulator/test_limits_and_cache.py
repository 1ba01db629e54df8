import asyncio
from datetime import datetime, timezone

import anthropic
import pytest

from mge_ray.simulator import SimulatorConfig
from mge_ray.simulator.limits import RateLimits, TokenBucket
from mge_ray.simulator.promptcache import InputUsage, Prefix, PromptCache

MARK = {"type": "ephemeral"}


def test_bucket_refills_without_pause_and_never_overflows():
    bucket = TokenBucket(60, refilled_at=0)
    bucket.level -= 60
    bucket.refill(now=10)
    assert bucket.remaining == 10
    assert bucket.wait_s(30) == pytest.approx(20)
    bucket.refill(now=1000)
    assert bucket.remaining == 60


def test_clock_that_steps_back_takes_nothing():
    bucket = TokenBucket(60, refilled_at=100)
    bucket.refill(now=50)
    assert bucket.remaining == 60


def test_refused_request_is_charged_nothing():
    limits = RateLimits(SimulatorConfig(requests_per_minute=10, input_tokens_per_minute=100), now=0)
    assert limits.admit(80, now=0) is None
    assert limits.admit(80, now=0) == ("input tokens", pytest.approx(36))
    headers = dict(limits.headers(now=0))
    assert headers[b"anthropic-ratelimit-requests-remaining"] == b"9"
    assert headers[b"anthropic-ratelimit-input-tokens-remaining"] == b"20"
    assert limits.admit(80, now=36) is None


def test_output_is_charged_as_produced_and_may_overdraw():
    limits = RateLimits(SimulatorConfig(output_tokens_per_minute=60), now=0)
    limits.produced(90, now=0)
    assert dict(limits.headers(now=0))[b"anthropic-ratelimit-output-tokens-remaining"] == b"0"
    assert limits.admit(1, now=0) == ("output tokens", pytest.approx(31))
    assert limits.admit(1, now=32) is None


async def test_request_over_the_limit_is_told_when_to_return(start):
    simulator = start(requests_per_minute=2)
    await simulator.ask()
    await simulator.ask()
    with pytest.raises(anthropic.RateLimitError) as caught:
        await simulator.ask()
    headers = caught.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 30
    assert headers["anthropic-ratelimit-requests-limit"] == "2"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"].replace("Z", "+00:00"))
    assert 0 < (reset - datetime.now(timezone.utc)).total_seconds() <= 62
    stats = simulator.stats()
    assert (stats["rate_limited"], stats["delivered_answers"]) == (1, 2)
    assert await simulator.ask(model="claude-opus-5-5")  # another class of models has buckets of its own


async def test_remaining_goes_down_with_each_answer(start):
    client = start().client
    seen = []
    for _ in range(2):
        raw = await client.messages.with_raw_response.create(
            model="claude-haiku-5-5", max_tokens=50, messages=[{"role": "user", "content": "Atom: tax"}]
        )
        seen.append(int(raw.headers["anthropic-ratelimit-output-tokens-remaining"]))
        assert {name for name in raw.headers if name.startswith("anthropic-ratelimit-")} == {
            f"anthropic-ratelimit-{kind}-{field}"
            for kind in ("requests", "tokens", "input-tokens", "output-tokens")
            for field in ("limit", "remaining", "reset")
        }
    assert seen[0] < 500_000_000


async def test_cached_prefix_is_written_once_and_then_read(start):
    simulator = start()
    system = [{"type": "text", "text": "s" * 8000, "cache_control": MARK}]
    first = (await simulator.ask("tax", system=system)).usage
    second = (await simulator.ask("cart.total", system=system)).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (2000, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 2000)
    assert first.input_tokens < 20
    other = (await simulator.ask("tax", system=system, model="claude-opus-5-5")).usage
    assert other.cache_creation_input_tokens == 2000


async def test_short_prefix_is_not_cached(start):
    simulator = start()
    system = [{"type": "text", "text": "s" * 4000, "cache_control": MARK}]
    await simulator.ask(system=system)
    usage = (await simulator.ask(system=system)).usage
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (0, 0)
    assert usage.input_tokens > 1000


async def test_longer_prefix_pays_only_for_what_it_adds(start):
    simulator = start()
    base = {"type": "text", "text": "s" * 8000, "cache_control": MARK}
    more = {"type": "text", "text": "t" * 4000, "cache_control": MARK}
    await simulator.ask(system=[base])
    usage = (await simulator.ask(system=[base, more])).usage
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (1000, 2000)


async def test_top_level_mark_covers_the_last_block(start):
    simulator = start()
    prompt = "p" * 8000
    await simulator.ask(prompt=prompt, cache_control=MARK)
    assert (await simulator.ask(prompt=prompt, cache_control=MARK)).usage.cache_read_input_tokens > 2000


async def test_requests_sent_together_all_pay_for_writing(start):
    simulator = start(latency="fixed:0.2")
    system = [{"type": "text", "text": "s" * 8000, "cache_control": MARK}]
    await asyncio.gather(*(simulator.ask(f"atom{number}", system=system) for number in range(3)))
    tokens = simulator.stats()["tokens"]
    assert (tokens["cache_creation"], tokens["cache_read"]) == (6000, 0)
    await simulator.ask("later", system=system)
    assert simulator.stats()["tokens"]["cache_read"] == 2000


def test_entry_lives_five_minutes_after_its_last_use():
    cache = PromptCache(ttl_s=300, min_tokens=1024)
    prefix = (Prefix(b"p", 2000),)
    cache.remember(prefix, now=0)
    assert cache.usage(2100, prefix, now=299) == InputUsage(fresh=100, written=0, read=2000)
    cache.remember(prefix, now=299)
    assert cache.usage(2100, prefix, now=598).read == 2000
    assert cache.usage(2100, prefix, now=599).written == 2000


def test_cache_reads_are_free_of_the_input_limit():
    assert InputUsage(fresh=10, written=5, read=2000).limited == 15


async def test_more_than_four_marks_are_refused(start):
    blocks = [{"type": "text", "text": "s", "cache_control": MARK}] * 5
    with pytest.raises(anthropic.BadRequestError, match="maximum of 4"):
        await start().ask(system=blocks)
