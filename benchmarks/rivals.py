"""Other controllers for the throttle's benchmark on Ray: the engine finds them under its own controller's name.

Nothing of the program leads here: an engine takes the controller that it finds, and only a benchmark puts one there.
"""

from __future__ import annotations

from typing import cast

import ray
from throttle import Fixed, Oracle

from mge_ray.cluster.concurrency_controller import ConcurrencyController
from mge_ray.cluster.session import CONTROLLER, NAMESPACE
from mge_ray.domain.throttle import Throttle, Throttles
from mge_ray.wiring.settings import EngineConfig

CHECKS = 64
Rival = Fixed | Oracle


class RivalThrottles(Throttles):
    """Throttles whose calls one rival decides on; checks are leased as always."""

    def __init__(self, rival: Rival, *, ttl_s: float) -> None:
        super().__init__(CHECKS, ttl_s=ttl_s)
        self._rival = rival

    def of(self, name: str) -> Throttle:  # noqa: ARG002  # there is one model
        """Return the rival."""
        return cast("Throttle", self._rival)


class RivalController(ConcurrencyController):
    """The controller with another throttle."""

    def __init__(self, rival: Rival, config: EngineConfig) -> None:
        super().__init__(config, CHECKS)
        self._throttles = RivalThrottles(rival, ttl_s=config.lease_ttl_s)


def rival(name: str, allowed_per_minute: float) -> Rival | None:
    """Return who is meant: None for `adaptive`, the engine's own. Raises SystemExit for a name that is none."""
    if name == "adaptive":
        return None
    if name == "oracle":
        return Oracle(allowed_per_minute)
    kind, _, limit = name.partition(":")
    if kind != "fixed" or not limit.isdecimal() or not int(limit):
        raise SystemExit(f"{name!r} is none of adaptive, fixed:N and oracle")
    return Fixed(int(limit))


def install(chosen: Rival, config: EngineConfig) -> None:
    """Start it where the engine looks for its controller."""
    actor = ray.remote(num_cpus=0)(RivalController)
    handle = actor.options(name=CONTROLLER, namespace=NAMESPACE, lifetime="detached").remote(chosen, config)
    ray.get(handle.in_use.remote())
