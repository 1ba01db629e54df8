"""ConcurrencyController: the one place that says how much may be in flight, for everybody on the cluster."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError

from mge_ray.adapters.logs import configure_logs
from mge_ray.domain.adaptive import START
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.throttle import CallOutcome, Throttles, ThrottleView
from mge_ray.wiring.settings import EngineConfig

Handle = ActorHandle[Any]
_log = logging.getLogger(__name__)


class ConcurrencyController:
    """The engine's throttles as an actor. A lease not renewed in time is free again: dead holders cost nothing.

    A restart forgets what was learned; holders register again when they renew.
    """

    def __init__(self, config: EngineConfig, checks: int) -> None:
        configure_logs("controller", config.logs)
        self._told: dict[str, tuple[int, bool]] = {}
        self._throttles = Throttles(
            checks, config.generate_limit, start=config.generate_start or START, ttl_s=config.lease_ttl_s
        )

    def exchange(
        self,
        returned: Mapping[str, Sequence[str]],
        outcomes: Sequence[CallOutcome],
        pool: str,
        lease_ids: Sequence[str],
    ) -> list[str]:
        """Take leases back, learn from calls that ended, and grant others, in one message."""
        now = time.monotonic()
        for name, ids in returned.items():
            self.release(name, ids)
        self._learn(outcomes, now)
        return self._throttles.try_acquire(Pool(pool), lease_ids, now=now)

    def release(self, pool: str, lease_ids: Sequence[str]) -> None:
        """Give leases back."""
        self._throttles.release(Pool(pool), lease_ids)

    def observe(self, outcomes: Sequence[CallOutcome]) -> None:
        """Learn from calls that ended."""
        self._learn(outcomes, time.monotonic())

    def _learn(self, outcomes: Sequence[CallOutcome], now: float) -> None:
        """Learn from calls that ended, and log what that changed: a limit that was cut, a breaker that moved."""
        self._throttles.observe(outcomes, now=now)
        for name in dict.fromkeys(outcome.model_class for outcome in outcomes):
            view = self._throttles.of(name).view(name, now=now)
            seen = view.pushed_back, view.breaker_open
            if self._told.get(name, (0, False)) != seen:
                self._told[name] = seen
                fields = {"limit": view.limit, "in_flight": view.in_use, "pause_s": round(view.paused_s, 3)}
                extra = {"model_class": name, "breaker_open": view.breaker_open, **fields}
                _log.warning("throttle changed", extra=extra)

    def renew(self, held: Mapping[str, Sequence[str]]) -> None:
        """Prolong what is held; after a restart of this actor the holders register again."""
        for pool, lease_ids in held.items():
            self._throttles.renew(Pool(pool), lease_ids, now=time.monotonic())

    def retune(self, limit: int) -> None:
        """Set another upper bound for calls in flight, while running."""
        self._throttles.retune(limit)

    def views(self) -> list[ThrottleView]:
        """Return how every model class is throttled now."""
        return self._throttles.views(now=time.monotonic())

    def in_use(self) -> dict[str, int]:
        """Return how many leases of each pool are live."""
        return self._throttles.in_use(now=time.monotonic())


ConcurrencyControllerActor = ray.remote(num_cpus=0, max_restarts=-1)(ConcurrencyController)


class RayLeases:
    """The Leases port over the controller actor. While it or every gateway restarts, nothing is granted."""

    def __init__(self, controller: Handle, *, calls_possible: Callable[[], bool]) -> None:
        self._controller = controller
        self._calls_possible = calls_possible
        self._returned: dict[str, list[str]] = {}
        self._outcomes: list[CallOutcome] = []

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Return the ids that were granted, at once."""
        if pool is Pool.GENERATE and not self._calls_possible():
            return []
        outcomes, self._outcomes = self._outcomes, []
        try:
            granted: list[str] = await self._controller.exchange.remote(
                self._take(), outcomes, pool.value, list(lease_ids)
            )
        except ActorUnavailableError:
            return []
        return granted

    async def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Give leases back, with what is asked for next; one that gets lost is made good by its time to live."""
        if not self._returned:
            asyncio.get_running_loop().call_soon(self._send)
        self._returned.setdefault(pool.value, []).extend(lease_ids)

    async def observe(self, outcomes: Sequence[CallOutcome]) -> None:
        """Tell the controller of calls that have ended, with what is asked for next."""
        if not self._outcomes:
            asyncio.get_running_loop().call_soon(self._send)
        self._outcomes += _with_the_latest_headers(outcomes)

    def _send(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            self._controller.observe.remote(outcomes)
        for name, lease_ids in self._take().items():
            self._controller.release.remote(name, lease_ids)

    def _take(self) -> dict[str, list[str]]:
        returned, self._returned = self._returned, {}
        return returned

    async def retune(self, limit: int) -> None:
        """Set another upper bound for calls in flight, while running."""
        await self._controller.retune.remote(limit)

    async def views(self) -> list[ThrottleView]:
        """Return how every model class is throttled now."""
        views: list[ThrottleView] = await self._controller.views.remote()
        return views

    async def renew(self, held: Mapping[Pool, Sequence[str]]) -> None:
        """Prolong what is held."""
        self._controller.renew.remote({pool.value: list(lease_ids) for pool, lease_ids in held.items()})


def _with_the_latest_headers(outcomes: Sequence[CallOutcome]) -> list[CallOutcome]:
    """Leave out headers that a later answer's replace: they are most of the message."""
    seen: set[str] = set()
    kept = []
    for outcome in reversed(outcomes):
        kept.append(replace(outcome, rate_limits={}) if outcome.model_class in seen else outcome)
        if outcome.rate_limits:
            seen.add(outcome.model_class)
    return kept[::-1]
