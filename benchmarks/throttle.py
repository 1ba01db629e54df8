"""How much of what a provider allows is used: the throttle, fixed limits and an oracle, in virtual time, in one run.

    python -m benchmarks.throttle

The provider is the simulated server's own token buckets (300 requests and 100,000 output tokens a minute); calls take
lognormal:5:0.6 seconds and produce drawn output. Everybody always wants more. No Ray and no network: this is the
throttle's decisions alone, eight minutes of them; `throttle_on_ray.py` measures the whole. The oracle knows both limits
and starts calls at exactly their rate.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Protocol

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.generation import FailureKind
from mge_ray.domain.lease import Lease
from mge_ray.domain.throttle import CallOutcome, Throttle
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.limits import RateLimits

NETWORK_S, TURN_S, WANTED = 0.05, 0.1, 60
INPUT_TOKENS = 1_000
SPREAD = 0.4
MINUTES, SETTLED_S = 8, 60.0
REQUESTS, OUTPUT = 300, 100_000
STORM = range(240, 260)


class Throttling(Protocol):
    """What a loop needs of whoever decides."""

    def try_acquire(self, lease_ids: Sequence[str], *, now: float) -> list[str]:
        """Return the calls that may start."""
        ...

    def release(self, lease_ids: Sequence[str]) -> None:
        """Take ended calls back."""
        ...

    def observe(self, outcome: CallOutcome, *, now: float) -> None:
        """Learn from an ended call."""
        ...


@dataclass
class Loop:
    """Everybody always wants more; each call takes a drawn time and produces drawn output."""

    throttle: Throttling
    server: RateLimits
    output_tokens: int
    storm: range
    seed: int = 1
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    overloaded: int = 0
    events: list[tuple[float, int, str, str, dict[str, Any]]] = field(default_factory=list)

    def run(self, seconds: float) -> Loop:
        """Let virtual seconds pass."""
        self.draw, self.numbers = random.Random(self.seed), count()  # noqa: S311
        now = 0.0
        while now < seconds:
            while self.events and self.events[0][0] <= now:
                at, _, kind, lease, what = heapq.heappop(self.events)
                getattr(self, kind)(at, lease, what)
            wanted = [Lease("e", Pool.GENERATE, str(next(self.numbers)), "s").id for _ in range(WANTED)]
            for lease in self.throttle.try_acquire(wanted, now=now):
                self.later(now + NETWORK_S, "arrive", lease)
            now += TURN_S
        return self

    def later(self, at: float, kind: str, lease: str, **what: Any) -> None:  # noqa: ANN401
        """Let something happen."""
        heapq.heappush(self.events, (at, next(self.numbers), kind, lease, what))

    def arrive(self, at: float, lease: str, _what: dict[str, Any]) -> None:
        """Let a request reach the server."""
        if int(at) in self.storm:
            self.overloaded += 1
            self.later(at + NETWORK_S, "fail", lease, why=FailureKind.OVERLOADED, retry_after_s=None)
            return
        refusal = self.server.admit(INPUT_TOKENS, now=at)
        if refusal:
            self.refused.append(at)
            self.later(at + NETWORK_S, "fail", lease, why=FailureKind.RATE_LIMITED, retry_after_s=refusal[1])
            return
        latency_s = 5 * self.draw.lognormvariate(0, 0.6)
        tokens = int(self.output_tokens * self.draw.lognormvariate(0, SPREAD))
        self.later(at + latency_s, "finish", lease, latency_s=latency_s, output_tokens=tokens)

    def finish(self, at: float, lease: str, what: dict[str, Any]) -> None:
        """Let the server answer."""
        self.server.produced(what["output_tokens"], now=at)
        headers = {name.decode(): value.decode() for name, value in self.server.headers(now=at)}
        self.later(at + NETWORK_S, "answer", lease, **what, rate_limits=headers)

    def answer(self, at: float, lease: str, what: dict[str, Any]) -> None:
        """Take an answer."""
        self.answered.append(at)
        self.throttle.release([lease])
        self.throttle.observe(CallOutcome("s", lease, input_tokens=INPUT_TOKENS, **what), now=at)

    def fail(self, at: float, lease: str, what: dict[str, Any]) -> None:
        """Take a refusal."""
        self.throttle.release([lease])
        self.throttle.observe(CallOutcome("s", lease, what["why"], retry_after_s=what["retry_after_s"]), now=at)


class Fixed:
    """A fixed number of calls in flight, and a wait where the server says so."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._until = limit, set[str](), 0.0

    def try_acquire(self, lease_ids: Sequence[str], *, now: float) -> list[str]:
        """Fill up to the limit."""
        granted = list(lease_ids[: max(0, self._limit - len(self._held))]) if now >= self._until else []
        self._held.update(granted)
        return granted

    def release(self, lease_ids: Sequence[str]) -> None:
        """Take ended calls back."""
        self._held.difference_update(lease_ids)

    def renew(self, lease_ids: Sequence[str], *, now: float) -> None:
        """Hold them anyway."""

    def observe(self, outcome: CallOutcome, *, now: float) -> None:
        """Wait as long as a refusal says, or a second."""
        if outcome.failure is not None:
            self._until = max(self._until, now + (outcome.retry_after_s or 1.0))


class Oracle:
    """Knows how many calls a minute are allowed, and starts them evenly after the first full bucket."""

    def __init__(self, per_minute: float) -> None:
        self._per_s, self._full, self._level = per_minute / 60, per_minute, per_minute
        self._at: float | None = None

    def try_acquire(self, lease_ids: Sequence[str], *, now: float) -> list[str]:
        """Start what has become allowed since."""
        since = now if self._at is None else self._at
        self._level, self._at = min(self._full, self._level + (now - since) * self._per_s), now
        granted = list(lease_ids[: int(self._level)])
        self._level -= len(granted)
        return granted

    def release(self, lease_ids: Sequence[str]) -> None:
        """Need nothing back."""

    def renew(self, lease_ids: Sequence[str], *, now: float) -> None:
        """Count nothing that is held."""

    def observe(self, outcome: CallOutcome, *, now: float) -> None:
        """Know already."""


def loop(
    throttle: Throttling | None = None,
    *,
    requests: int = 1_000_000,
    output: int = 500_000_000,
    inputs: int = 2_000_000_000,
    tokens: int = 300,
    storm: range = range(0),
    seed: int = 1,
) -> Loop:
    """Return a loop on a provider with these limits a minute."""
    config = SimulatorConfig(
        requests_per_minute=requests, output_tokens_per_minute=output, input_tokens_per_minute=inputs
    )
    return Loop(throttle or Throttle(ttl_s=600.0), RateLimits(config, now=0.0), tokens, storm, seed)


def main() -> None:
    """Print calls answered a minute after the first, as a share of what is allowed, and the share that was refused."""
    for tokens in (250, 600):
        mean = tokens * 2.718281828 ** (SPREAD**2 / 2)
        allowed = min(REQUESTS, OUTPUT / mean)
        for storm in (range(0), STORM):
            when = f", a storm of 529s for {len(storm)} s" if storm else ""
            print(f"{mean:.0f} output tokens a call: {allowed:.0f} calls a minute are allowed{when}")
            makers: dict[str, Callable[[], Throttling]] = {"adaptive": lambda: Throttle(ttl_s=600.0)}
            makers |= {f"fixed {n}": lambda n=n: Fixed(n) for n in (10, 15, 20, 25, 30, 40, 100)}
            makers["oracle"] = partial(Oracle, allowed)
            for name, make in makers.items():
                done = loop(make(), requests=REQUESTS, output=OUTPUT, tokens=tokens, storm=storm).run(60 * MINUTES)
                show(name, done, allowed, storm)


def show(name: str, done: Loop, allowed: float, storm: range) -> None:
    """Print one line."""
    minutes = (60 * MINUTES - SETTLED_S - len(storm)) / 60
    answered = sum(at > SETTLED_S for at in done.answered)
    refused = sum(at > SETTLED_S for at in done.refused)
    used, lost = answered / minutes / allowed, refused / (answered + refused)
    print(f"  {name:9} {100 * used:6.1f} % of what is allowed, {100 * lost:5.1f} % refused by 429")


if __name__ == "__main__":
    main()
