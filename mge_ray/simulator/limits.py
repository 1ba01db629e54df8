"""Rate limits as the provider keeps them: token buckets that refill without pause.

Owns admission and the `anthropic-ratelimit-*` headers. Output tokens are counted as they are produced, so they can
overdraw their bucket; `max_tokens` does not count, cache reads do not either.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache

from mge_ray.simulator.config import SimulatorConfig

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class TokenBucket:
    """Holds a minute's worth at most and starts full; `now` is in seconds on any clock that does not go back."""

    limit: int
    refilled_at: float
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = float(self.limit)

    def refill(self, *, now: float) -> None:
        """Add what has flowed in since the last call."""
        elapsed = max(0.0, now - self.refilled_at)
        self.level = min(float(self.limit), self.level + elapsed * self.limit / 60)
        self.refilled_at = now

    def wait_s(self, amount: float) -> float:
        """Seconds until the level covers `amount`; one larger than the bucket is let in when the bucket is full."""
        missing = min(amount, self.limit) - self.level
        return max(0.0, missing * 60 / self.limit)

    @property
    def remaining(self) -> int:
        """What a header shows: never below zero."""
        return max(0, math.floor(self.level))

    @property
    def full_in_s(self) -> float:
        """Seconds until nothing is missing."""
        return (self.limit - self.level) * 60 / self.limit


class RateLimits:
    """The three buckets of one model class; all are asked before any is charged."""

    def __init__(self, config: SimulatorConfig, *, now: float) -> None:
        self._requests = TokenBucket(config.requests_per_minute, now)
        self._input = TokenBucket(config.input_tokens_per_minute, now)
        self._output = TokenBucket(config.output_tokens_per_minute, now)

    def admit(self, input_tokens: int, *, now: float) -> tuple[str, float] | None:
        """None, and the charge is made; or the exhausted limit and the seconds to wait, and nothing is charged."""
        self._refill(now)
        waits = (
            ("requests", self._requests.wait_s(1)),
            ("input tokens", self._input.wait_s(input_tokens)),
            ("output tokens", self._output.wait_s(1)),
        )
        name, wait_s = max(waits, key=lambda item: item[1])
        if wait_s > 0:
            return name, wait_s
        self._requests.level -= 1
        self._input.level -= input_tokens
        return None

    def produced(self, output_tokens: int, *, now: float) -> None:
        """Charge output; the bucket may go below zero and then lets nothing in until it has recovered."""
        self._refill(now)
        self._output.level -= output_tokens

    def headers(self, *, now: float) -> list[Header]:
        """Write the twelve `anthropic-ratelimit-*` headers; `now` is wall clock time."""
        self._refill(now)
        found: list[Header] = []
        for prefix, buckets in (
            (b"anthropic-ratelimit-requests-", (self._requests,)),
            (b"anthropic-ratelimit-tokens-", (self._input, self._output)),
            (b"anthropic-ratelimit-input-tokens-", (self._input,)),
            (b"anthropic-ratelimit-output-tokens-", (self._output,)),
        ):
            full_at = now + max(bucket.full_in_s for bucket in buckets)
            found += (
                (prefix + b"limit", b"%d" % sum(bucket.limit for bucket in buckets)),
                (prefix + b"remaining", b"%d" % sum(bucket.remaining for bucket in buckets)),
                (prefix + b"reset", _rfc3339(math.ceil(full_at))),
            )
        return found

    def _refill(self, now: float) -> None:
        self._requests.refill(now=now)
        self._input.refill(now=now)
        self._output.refill(now=now)


@lru_cache(maxsize=256)
def _rfc3339(second: int) -> bytes:
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
