"""What the provider lets in per minute, kept here as it keeps it there: token buckets that refill without pause.

Each answer's headers set them right; between two answers they are what was started since. Nothing is known before the
first answer, so nothing is held back before it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

MINUTE_S = 60.0
HEADROOM = 0.05
"""Share of a bucket that is left in it: others may draw from it too, and headers are a moment old."""
UNSEEN_S = 0.3
"""How old an answer's headers can be when they are read: what started since is not in them."""
SHARE_OF_NEWS = 0.1
PREFIX = "anthropic-ratelimit-"


@dataclass(slots=True)
class RateBucket:
    """Holds `limit` at most, a minute's worth; may be overdrawn by what is only known afterwards."""

    limit: float = math.inf
    _level: float = math.inf
    _at: float = 0.0

    def level(self, *, now: float) -> float:
        """Return what is in it, headroom left out."""
        if now > self._at and math.isfinite(self.limit):
            self._level = min(self.limit, self._level + (now - self._at) * self.limit / MINUTE_S)
            self._at = now
        return self._level - (HEADROOM * self.limit if math.isfinite(self.limit) else 0.0)

    def take(self, amount: float) -> None:
        """Draw from it."""
        self._level -= amount

    def learn(self, headers: Mapping[str, str], name: str, *, now: float, unseen: float) -> None:
        """Take over what the headers say, less what they have not seen; headers that make no sense are ignored."""
        limit, remaining = (_number(headers.get(f"{PREFIX}{name}-{what}", "")) for what in ("limit", "remaining"))
        if limit and remaining is not None:
            self.limit, self._level, self._at = limit, min(limit, remaining) - unseen, now


@dataclass(slots=True)
class Averages:
    """What a call takes on average: seconds and tokens, the latest counting most."""

    latency_s: float = 5.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    _known: bool = False

    def add(self, latency_s: float, input_tokens: int, output_tokens: int) -> None:
        """Count one answer."""
        share = SHARE_OF_NEWS if self._known else 1.0
        self._known = True
        self.latency_s += share * (latency_s - self.latency_s)
        self.input_tokens += share * (input_tokens - self.input_tokens)
        self.output_tokens += share * (output_tokens - self.output_tokens)


@dataclass(slots=True)
class Rates:
    """Requests, input and output tokens of one model class."""

    requests: RateBucket = field(default_factory=RateBucket)
    input_tokens: RateBucket = field(default_factory=RateBucket)
    output_tokens: RateBucket = field(default_factory=RateBucket)
    averages: Averages = field(default_factory=Averages)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def room(self, *, now: float, in_flight: int) -> float:
        """Return how many more calls may start; those in flight are yet to produce output, while the bucket refills."""
        average = self.averages
        room = [self.requests.level(now=now)]
        if average.input_tokens:
            room.append(self.input_tokens.level(now=now) / average.input_tokens)
        if average.output_tokens and math.isfinite(self.output_tokens.limit):
            meanwhile = self.output_tokens.limit * average.latency_s / MINUTE_S
            room.append((self.output_tokens.level(now=now) + meanwhile) / average.output_tokens - in_flight)
        return max(0.0, min(room))

    def started(self, calls: int, *, now: float) -> None:
        """Draw what calls that start take at once."""
        self.requests.take(calls)
        self.input_tokens.take(calls * self.averages.input_tokens)
        self._recent.append((now, calls))

    def answered(
        self, headers: Mapping[str, str], *, latency_s: float, input_tokens: int, output_tokens: int, now: float
    ) -> None:
        """Learn from one answer."""
        self.averages.add(latency_s, input_tokens, output_tokens)
        if not headers:
            self.output_tokens.take(output_tokens)
            return
        while self._recent and self._recent[0][0] < now - UNSEEN_S:
            self._recent.popleft()
        unseen = sum(calls for _, calls in self._recent)
        self.requests.learn(headers, "requests", now=now, unseen=unseen)
        self.input_tokens.learn(headers, "input-tokens", now=now, unseen=unseen * self.averages.input_tokens)
        self.output_tokens.learn(headers, "output-tokens", now=now, unseen=0.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
