"""ConcurrencyController: the one place that says how much may be in flight, for everybody on the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError

from mge_ray.domain.concurrency import LeasePool, Pool

Handle = ActorHandle[Any]


class ConcurrencyController:
    """Two pools of leases. A lease not renewed within its time to live is free again: dead holders cost nothing."""

    def __init__(self, limits: Mapping[str, int], ttl_s: float) -> None:
        self._pools = {Pool(name): LeasePool(limit, ttl_s) for name, limit in limits.items()}

    def exchange(self, returned: Mapping[str, Sequence[str]], pool: str, lease_ids: Sequence[str]) -> list[str]:
        """Take leases back and grant others, in one message; return the ids that were granted, at once."""
        for name, ids in returned.items():
            self.release(name, ids)
        return self._pools[Pool(pool)].try_acquire(lease_ids, now=time.monotonic())

    def release(self, pool: str, lease_ids: Sequence[str]) -> None:
        """Give leases back."""
        self._pools[Pool(pool)].release(lease_ids)

    def renew(self, held: Mapping[str, Sequence[str]]) -> None:
        """Prolong what is held; after a restart of this actor the holders register again what fits."""
        for pool, lease_ids in held.items():
            gone = self._pools[Pool(pool)].renew(lease_ids, now=time.monotonic())
            self._pools[Pool(pool)].try_acquire(gone, now=time.monotonic())

    def limits(self) -> dict[str, int]:
        """Return the limit of each pool."""
        return {pool.value: leases.limit for pool, leases in self._pools.items()}

    def in_use(self) -> dict[str, int]:
        """Return how many leases of each pool are live."""
        now = time.monotonic()
        for leases in self._pools.values():
            leases.expire(now=now)
        return {pool.value: leases.in_use for pool, leases in self._pools.items()}


ConcurrencyControllerActor = ray.remote(num_cpus=0, max_restarts=-1)(ConcurrencyController)


class RayLeases:
    """The Leases port over the controller actor. While it or every gateway restarts, nothing is granted."""

    def __init__(self, controller: Handle, *, calls_possible: Callable[[], bool]) -> None:
        self._controller = controller
        self._calls_possible = calls_possible
        self._returned: dict[str, list[str]] = {}

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Return the ids that were granted, at once."""
        if pool is Pool.GENERATE and not self._calls_possible():
            return []
        try:
            granted: list[str] = await self._controller.exchange.remote(self._take(), pool.value, list(lease_ids))
        except ActorUnavailableError:
            return []
        return granted

    async def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Give leases back, with what is asked for next; one that gets lost is made good by its time to live."""
        if not self._returned:
            asyncio.get_running_loop().call_soon(self._send)
        self._returned.setdefault(pool.value, []).extend(lease_ids)

    def _send(self) -> None:
        for name, lease_ids in self._take().items():
            self._controller.release.remote(name, lease_ids)

    def _take(self) -> dict[str, list[str]]:
        returned, self._returned = self._returned, {}
        return returned

    async def renew(self, held: Mapping[Pool, Sequence[str]]) -> None:
        """Prolong what is held."""
        self._controller.renew.remote({pool.value: list(lease_ids) for pool, lease_ids in held.items()})
