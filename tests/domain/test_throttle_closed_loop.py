"""The throttle against the simulated provider's own buckets, in virtual time: how much of what is allowed is used."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

import pytest

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.generation import FailureKind
from mge_ray.domain.lease import Lease
from mge_ray.domain.throttle import CallOutcome, Throttle
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.limits import RateLimits

NETWORK_S, TURN_S, WANTED = 0.05, 0.1, 60
INPUT_TOKENS = 1_000


@dataclass
class Loop:
    """Everybody always wants more; each call takes a drawn time and produces drawn output."""

    throttle: Throttle
    server: RateLimits
    output_tokens: int
    storm: range
    seed: int = 1
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    events: list[tuple[float, int, str, str, dict]] = field(default_factory=list)

    def run(self, seconds):
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

    def later(self, at, kind, lease, **what):
        heapq.heappush(self.events, (at, next(self.numbers), kind, lease, what))

    def arrive(self, at, lease, _what):
        if int(at) in self.storm:
            self.later(at + NETWORK_S, "fail", lease, why=FailureKind.OVERLOADED, retry_after_s=None)
            return
        refusal = self.server.admit(INPUT_TOKENS, now=at)
        if refusal:
            self.refused.append(at)
            self.later(at + NETWORK_S, "fail", lease, why=FailureKind.RATE_LIMITED, retry_after_s=refusal[1])
            return
        latency_s = 5 * self.draw.lognormvariate(0, 0.6)
        tokens = int(self.output_tokens * self.draw.lognormvariate(0, 0.4))
        self.later(at + latency_s, "finish", lease, latency_s=latency_s, output_tokens=tokens)

    def finish(self, at, lease, what):
        self.server.produced(what["output_tokens"], now=at)
        headers = {name.decode(): value.decode() for name, value in self.server.headers(now=at)}
        self.later(at + NETWORK_S, "answer", lease, **what, rate_limits=headers)

    def answer(self, at, lease, what):
        self.answered.append(at)
        self.throttle.release([lease])
        self.throttle.observe(CallOutcome("s", lease, input_tokens=INPUT_TOKENS, **what), now=at)

    def fail(self, at, lease, what):
        self.throttle.release([lease])
        self.throttle.observe(CallOutcome("s", lease, what["why"], retry_after_s=what["retry_after_s"]), now=at)


def loop(*, requests=1_000_000, output=500_000_000, inputs=2_000_000_000, tokens=300, storm=range(0), seed=1):
    config = SimulatorConfig(
        requests_per_minute=requests, output_tokens_per_minute=output, input_tokens_per_minute=inputs
    )
    return Loop(Throttle(ttl_s=600.0), RateLimits(config, now=0.0), tokens, storm, seed)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("storm", [range(0), range(120, 140)])
@pytest.mark.parametrize(
    ("allowed", "limits"),
    [
        (300, {"requests": 300, "output": 100_000, "tokens": 250}),
        (153, {"requests": 300, "output": 100_000, "tokens": 600}),
        (100, {"inputs": 100_000}),
    ],
)
def test_nine_tenths_of_what_the_provider_allows_are_used_and_hardly_a_call_is_refused(allowed, limits, storm, seed):
    done = loop(**limits, storm=storm, seed=seed).run(300)
    after_a_minute = [at for at in done.answered if at > 60]
    minutes = (240 - len(storm)) / 60
    assert len(after_a_minute) / minutes >= 0.9 * allowed
    late_refusals = [at for at in done.refused if at > 60]
    assert len(late_refusals) < 0.02 * len(after_a_minute)


def test_without_a_limit_it_grows_to_its_upper_bound():
    done = loop().run(120)
    assert done.throttle.adaptive.limit == 500
    assert not done.refused
