"""The engine's actors, created once and found again: controller, gateways, coordinator."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mge_ray.adapters.sandbox import SandboxLevel, probe_level
from mge_ray.cluster.atom_task import prepare_worker
from mge_ray.cluster.client import EngineClient
from mge_ray.cluster.concurrency_controller import ConcurrencyControllerActor, Handle
from mge_ray.cluster.coordinator import ExecutionCoordinatorActor
from mge_ray.cluster.llm_gateway import LLMGatewayActor
from mge_ray.cluster.session import CONTROLLER, COORDINATOR, GATEWAY, NAMESPACE, SessionError
from mge_ray.wiring.build import forget_secrets
from mge_ray.wiring.code_version import code_version
from mge_ray.wiring.settings import EngineConfig

CHECKS_PER_CPU = 16
"""One that runs, and some at hand: a turn of the dispatch loop takes longer than the smallest check."""
END_PATIENCE_S = 20.0
CALLS_AT_ONCE = 10_000
"""Ray's own limit for an async actor; ours are the leases."""


def open_engine(config: EngineConfig) -> EngineClient:
    """Return a client of this cluster's coordinator, created with `config` if there is none.

    One that runs other code than this program is replaced if it drives nothing. Raises SessionError if it drives
    something, or runs with another configuration: it would not be applied.
    """
    actors = _actors(config)
    if (theirs_is := _code_of(actors.coordinator)) != code_version():
        _end(actors, theirs_is)
        actors = _actors(config)
        if (theirs_is := _code_of(actors.coordinator)) != code_version():
            raise SessionError(
                f"the cluster's nodes have mge-ray {theirs_is}, this program is {code_version()}; "
                "install the same version on all"
            )
    controller, gateways, coordinator = actors
    running: EngineConfig = ray.get(coordinator.config.remote())
    theirs, ours = running.comparable(), config.comparable()
    differing = sorted(name for name in EngineConfig.model_fields if getattr(theirs, name) != getattr(ours, name))
    if differing:
        raise SessionError(f"the cluster's engine runs with other settings ({', '.join(differing)}); use the same")
    ray.get([controller.in_use.remote(), *(gateway.incarnation.remote() for gateway in gateways)])
    for _ in range(_cpus()):  # after the actors: each actor's start brings an idle worker, and the newest is used first
        prepare_worker.options(name="warm up").remote(config)
    return EngineClient(coordinator)


class _Actors(NamedTuple):
    controller: Handle
    gateways: list[Handle]
    coordinator: Handle


def _actors(config: EngineConfig) -> _Actors:
    checks = config.execute_limit or CHECKS_PER_CPU * _cpus()
    controller = _detached(ConcurrencyControllerActor, CONTROLLER).remote(config, checks)
    names = [f"{GATEWAY}_{number}" for number in range(config.gateways(_cpus()))]
    gateways = [_detached(LLMGatewayActor, name, max_concurrency=CALLS_AT_ONCE).remote(config) for name in names]
    where = _here() if config.db_url.startswith("sqlite") else {}
    coordinator: Handle = _detached(
        ExecutionCoordinatorActor, COORDINATOR, max_concurrency=CALLS_AT_ONCE, **where
    ).remote(config, controller, gateways)
    return _Actors(controller, gateways, coordinator)


def _code_of(coordinator: Handle) -> str:
    try:
        code: str = ray.get(coordinator.code.remote())
    except RayTaskError:  # it is older than the question
        return "of an older version"
    return code


def _end(actors: _Actors, code: str) -> None:
    """End an engine of other code that drives nothing; its executions are in the journal. Raises SessionError else."""
    advice = f"this program is {code_version()}; let its executions end or pause them, then try again"
    try:
        driven: list[str] = ray.get(actors.coordinator.driven.remote())
        if driven:
            raise SessionError(f"the cluster's engine runs mge-ray {code} and executes {', '.join(driven)}; {advice}")
        ray.get(actors.coordinator.close.remote())
    except RayTaskError:
        raise SessionError(f"the cluster's engine runs mge-ray {code}, which cannot be replaced; {advice}") from None
    for actor in (actors.coordinator, *actors.gateways, actors.controller):
        ray.kill(actor)
    deadline = time.monotonic() + END_PATIENCE_S
    while time.monotonic() < deadline and _named():
        time.sleep(0.05)


def _named() -> bool:
    """Return whether an actor of the engine can still be found by its name."""
    ours = (COORDINATOR, CONTROLLER, GATEWAY)
    named = ray.util.list_named_actors(all_namespaces=True)
    return any(one["namespace"] == NAMESPACE and one["name"].startswith(ours) for one in named)


def sandbox_level(asked_for: str | None) -> SandboxLevel:
    """Return the isolation that this cluster's workers give, found by trying to break out of it there."""
    level: SandboxLevel = ray.get(ray.remote(num_cpus=1, max_retries=0)(_probe).remote(asked_for))
    return level


def _cpus() -> int:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


def _probe(asked_for: str | None) -> SandboxLevel:
    forget_secrets()
    return SandboxLevel(asked_for) if asked_for else probe_level()


def _here() -> dict[str, Any]:
    """Return the options that keep an actor on this node, where its file is."""
    node_id = ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False)}


def _detached(actor: Any, name: str, **options: Any) -> Any:  # noqa: ANN401  # Ray's own types say no more
    """Return the actor class under a name that outlives its creator."""
    return actor.options(name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, **options)
