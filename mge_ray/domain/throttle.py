"""Throttle: leases for everybody who calls one model class, as many as the provider bears, fairly shared (ADR 13).

Pure: time arrives as an argument, chance as a hash of the call's id.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mge_ray.domain.adaptive import HIGHEST, LOWEST, START, AdaptiveLimit, CircuitBreaker
from mge_ray.domain.concurrency import LeasePool, Pool
from mge_ray.domain.fairness import Demand, fair_shares
from mge_ray.domain.generation import FailureKind
from mge_ray.domain.lease import DEFAULT_PRIORITY, read_lease
from mge_ray.domain.rates import Rates
from mge_ray.domain.retry import fraction

DEMAND_S = 1.0
"""How long a wish counts that is not repeated: whoever waits asks ten times a second."""
JITTER, LONGEST_JITTER_S = 0.25, 1.0
LONGEST_PAUSE_S = 300.0
PUSHES_BACK = frozenset(
    {FailureKind.RATE_LIMITED, FailureKind.RAMP_LIMITED, FailureKind.OVERLOADED, FailureKind.TIMEOUT}
)


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What one call says about the provider. Seconds and tokens; `failure` is None for an answer."""

    model_class: str
    call_id: str
    failure: FailureKind | None = None
    latency_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    retry_after_s: float | None = None
    rate_limits: Mapping[str, str] = field(default_factory=dict)


class SharedLeases:
    """A pool of leases that executions share fairly."""

    def __init__(self, limit: int, *, ttl_s: float) -> None:
        self.pool = LeasePool(limit, ttl_s)
        self._held: Counter[str] = Counter()
        self._asked: dict[str, tuple[float, Demand]] = {}

    def try_acquire(self, lease_ids: Sequence[str], *, now: float) -> list[str]:
        """Grant as many as fit, in order, all of one execution; a live id is granted again for free."""
        self.expire(now=now)
        return self._acquire(lease_ids, now=now, room=self.pool.limit)

    def _acquire(self, lease_ids: Sequence[str], *, now: float, room: int) -> list[str]:
        """Grant at most `room` new leases, and not another execution's part of them."""
        if not lease_ids:
            return []
        first = read_lease(lease_ids[0])
        fresh = [lease_id for lease_id in lease_ids if lease_id not in self.pool.expires_at]
        wanted = Demand(self._held[first.execution] + len(fresh), 2.0 ** (first.priority - DEFAULT_PRIORITY))
        self._asked[first.execution] = (now, wanted)
        most = min(room, self._share(first.execution, now, min(self.pool.limit, self.pool.in_use + room)))
        refused = set(fresh[most:])
        granted = self.pool.try_acquire([one for one in lease_ids if one not in refused], now=now)
        new = len(set(granted).intersection(fresh))
        if new:  # an entry of none would stay for ever
            self._held[first.execution] += new
        return granted

    def _share(self, execution: str, now: float, total: int) -> int:
        """Return how many more leases an execution may take of `total` without taking another's part."""
        self._asked = {name: one for name, one in self._asked.items() if one[0] >= now - DEMAND_S}
        demands = {name: demand for name, (_, demand) in self._asked.items()}
        content = sum(held for name, held in self._held.items() if name not in demands)
        share = fair_shares(max(0, total - content), demands)[execution]
        return max(0, math.ceil(share) - self._held[execution])

    def renew(self, lease_ids: Sequence[str], *, now: float) -> None:
        """Prolong leases; those that were lost are there again, also beyond the limit: their calls are under way."""
        self.expire(now=now)
        for lease_id in self.pool.renew(lease_ids, now=now):
            self.pool.register(lease_id, now=now)
            self._held[read_lease(lease_id).execution] += 1

    def release(self, lease_ids: Iterable[str]) -> None:
        """Give leases back; an unknown id changes nothing."""
        self._forget([lease_id for lease_id in lease_ids if lease_id in self.pool.expires_at])

    def expire(self, *, now: float) -> None:
        """Drop what was not renewed."""
        for lease_id in self.pool.expire(now=now):
            self._count_off(lease_id)

    def _forget(self, lease_ids: Sequence[str]) -> None:
        self.pool.release(lease_ids)
        for lease_id in lease_ids:
            self._count_off(lease_id)

    def _count_off(self, lease_id: str) -> None:
        execution = read_lease(lease_id).execution
        self._held[execution] -= 1
        if not self._held[execution]:
            del self._held[execution]


class Throttle(SharedLeases):
    """Leases for calls: the limit adapts, rates are kept, and bad minutes are waited out by all together.

    `cap` is the user's own upper bound; without one it is 500. `start` is how many may be in flight at first.
    """

    def __init__(self, cap: int | None = None, *, start: int = START, ttl_s: float) -> None:
        highest = cap or HIGHEST
        self.adaptive = AdaptiveLimit(highest, min(LOWEST, highest), float(min(start, highest)))
        self.rates = Rates()
        self.breaker = CircuitBreaker()
        self.paused_until = 0.0
        super().__init__(self.adaptive.limit, ttl_s=ttl_s)

    def try_acquire(self, lease_ids: Sequence[str], *, now: float) -> list[str]:
        """Grant as many as the provider bears now."""
        self.expire(now=now)
        self.pool.limit = self.adaptive.limit
        before = self.pool.in_use
        granted = self._acquire(lease_ids, now=now, room=self._room(now))
        started = self.pool.in_use - before
        if started:
            self.rates.started(started, now=now)
            self.breaker.started(now=now)
        return granted

    def _room(self, now: float) -> int:
        if now < self.paused_until:
            return 0
        room = self.rates.room(now=now, in_flight=self.pool.in_use)
        allowed = self.breaker.allowed(now=now)
        return int(min(room, float(self.pool.limit), math.inf if allowed is None else allowed))

    def observe(self, outcome: CallOutcome, *, now: float) -> None:
        """Learn from a call that has ended."""
        if outcome.failure is None:
            self.adaptive.answered(outcome.latency_s, now=now, in_use=self.pool.in_use)
            self.breaker.answered(began_at=now - outcome.latency_s)
            self.rates.answered(
                outcome.rate_limits,
                latency_s=outcome.latency_s,
                input_tokens=outcome.input_tokens,
                output_tokens=outcome.output_tokens,
                now=now,
            )
            return
        if outcome.failure in PUSHES_BACK and not self.breaker.is_open:  # one bad time is one reason to cut
            self.adaptive.pushed_back(now=now)
        if outcome.failure is FailureKind.OVERLOADED:
            self.breaker.overloaded(now=now)
        if outcome.retry_after_s is not None:
            wait_s = min(outcome.retry_after_s, LONGEST_PAUSE_S)
            jitter_s = min(JITTER * wait_s, LONGEST_JITTER_S) * fraction(outcome.call_id)
            self.paused_until = max(self.paused_until, now + wait_s + jitter_s)

    def view(self, name: str, *, now: float) -> ThrottleView:
        """Return how things stand."""
        self.expire(now=now)
        buckets = (self.rates.requests, self.rates.input_tokens, self.rates.output_tokens)
        per_minute = [bucket.limit if math.isfinite(bucket.limit) else None for bucket in buckets]
        return ThrottleView(
            name,
            self.adaptive.limit,
            self.adaptive.highest,
            self.pool.in_use,
            self.adaptive.slow_start,
            self.adaptive.pushed_back_total,
            self.breaker.is_open,
            max(0.0, self.paused_until - now),
            *per_minute,
        )

    def retune(self, cap: int) -> None:
        """Set another upper bound while running; what is in flight beyond it ends by itself."""
        self.adaptive.retune(cap)
        self.pool.limit = self.adaptive.limit


@dataclass(frozen=True, slots=True)
class ThrottleView:
    """How one model class is throttled now. Limits of requests and tokens are per minute; None where unknown."""

    model_class: str
    limit: int
    highest: int
    in_use: int
    slow_start: bool
    pushed_back: int
    breaker_open: bool
    paused_s: float
    requests_per_minute: float | None
    input_tokens_per_minute: float | None
    output_tokens_per_minute: float | None


def described(view: ThrottleView) -> str:
    """Return one line for people."""
    rates = {
        "requests": view.requests_per_minute,
        "input tokens": view.input_tokens_per_minute,
        "output tokens": view.output_tokens_per_minute,
    }
    known = ", ".join(f"{per_minute:,.0f} {name} a minute" for name, per_minute in rates.items() if per_minute)
    growing = "doubling" if view.slow_start else "growing by steps"
    name = view.model_class or "calls"
    parts = [
        f"{name}: {view.in_use} in flight, limit {view.limit} (at most {view.highest}), {growing}",
        f"pushed back {view.pushed_back} times" if view.pushed_back else "never pushed back",
        "the provider is overloaded, one call tries" if view.breaker_open else "",
        f"all wait for {view.paused_s:.0f} s" if view.paused_s else "",
        f"the provider allows {known}" if known else "",
    ]
    return "; ".join(filter(None, parts))


class Throttles:
    """All the leases of one engine: a throttle for each model class that is called, and one pool for checks."""

    def __init__(self, checks: int, cap: int | None = None, *, start: int = START, ttl_s: float) -> None:
        self.checks = SharedLeases(checks, ttl_s=ttl_s)
        self.calls: dict[str, Throttle] = {}
        self._cap, self._start, self._ttl_s = cap, start, ttl_s

    def of(self, name: str) -> Throttle:
        """Return a model class's throttle; one is made when it is first asked for."""
        if name not in self.calls:
            self.calls[name] = Throttle(self._cap, start=self._start, ttl_s=self._ttl_s)
        return self.calls[name]

    def try_acquire(self, pool: Pool, lease_ids: Sequence[str], *, now: float) -> list[str]:
        """Grant what may start now, in order."""
        if pool is Pool.EXECUTE:
            return self.checks.try_acquire(lease_ids, now=now)
        granted: set[str] = set()
        for name, ids in _by_class(lease_ids).items():
            granted.update(self.of(name).try_acquire(ids, now=now))
        return [lease_id for lease_id in lease_ids if lease_id in granted]

    def renew(self, pool: Pool, lease_ids: Sequence[str], *, now: float) -> None:
        """Prolong what is held, also what this object has never heard of."""
        if pool is Pool.EXECUTE:
            self.checks.renew(lease_ids, now=now)
            return
        for name, ids in _by_class(lease_ids).items():
            self.of(name).renew(ids, now=now)

    def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Give leases back."""
        if pool is Pool.EXECUTE:
            self.checks.release(lease_ids)
            return
        for name, ids in _by_class(lease_ids).items():
            self.of(name).release(ids)

    def observe(self, outcomes: Iterable[CallOutcome], *, now: float) -> None:
        """Learn from calls that have ended."""
        for outcome in outcomes:
            self.of(outcome.model_class).observe(outcome, now=now)

    def views(self, *, now: float) -> list[ThrottleView]:
        """Return how every model class is throttled now, by name."""
        return [throttle.view(name, now=now) for name, throttle in sorted(self.calls.items())]

    def in_use(self, *, now: float) -> dict[str, int]:
        """Return how many leases of each pool are live."""
        for leases in (self.checks, *self.calls.values()):
            leases.expire(now=now)
        calls = sum(throttle.pool.in_use for throttle in self.calls.values())
        return {Pool.GENERATE.value: calls, Pool.EXECUTE.value: self.checks.pool.in_use}

    def retune(self, cap: int) -> None:
        """Set another upper bound for every model class."""
        self._cap = cap
        for throttle in self.calls.values():
            throttle.retune(cap)


def _by_class(lease_ids: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for lease_id in lease_ids:
        found.setdefault(read_lease(lease_id).model_class, []).append(lease_id)
    return found
