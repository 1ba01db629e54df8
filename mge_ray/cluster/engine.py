"""The engine's actors, created once and found again: controller, gateways, coordinator."""

from __future__ import annotations

import contextlib
import time
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mge_ray.adapters.journal import shown_url
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

    One that runs other code than this program, or with another configuration, is replaced if it drives nothing.
    Raises SessionError if it drives something: what is asked for would not be applied; or if its journal is a file of
    another node.
    """
    actors = _actors(config)
    if other := _other_code(actors.coordinator):
        _end(actors, config, other)
        actors = _actors(config)
        if other := _other_code(actors.coordinator):
            raise SessionError(f"the cluster's nodes have {other}; install the same version on all")
    if other := _other_settings(actors.coordinator, config):
        _end(actors, config, other)
        actors = _actors(config)
    controller, gateways, coordinator = actors
    _check_node(coordinator, config)
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
    spread = {"scheduling_strategy": "SPREAD", "max_concurrency": CALLS_AT_ONCE}  # a node that dies takes few of them
    gateways = [_detached(LLMGatewayActor, name, **spread).remote(config) for name in names]
    where = _here() if config.db_url.startswith("sqlite") else {}
    coordinator: Handle = _detached(
        ExecutionCoordinatorActor, COORDINATOR, max_concurrency=CALLS_AT_ONCE, **where
    ).remote(config, controller, gateways)
    return _Actors(controller, gateways, coordinator)


def _other_code(coordinator: Handle) -> str:
    """Return what is to be said of an engine of another code than ours; empty for our own."""
    theirs, ours = _code_of(coordinator), code_version()
    return "" if theirs == ours else f"mge-ray {theirs}, while this program is {ours}"


def _other_settings(coordinator: Handle, config: EngineConfig) -> str:
    """Return what is to be said of an engine that runs with other settings; empty for ours."""
    running: EngineConfig = ray.get(coordinator.config.remote())
    theirs, ours = running.comparable(), config.comparable()
    differing = sorted(name for name in EngineConfig.model_fields if getattr(theirs, name) != getattr(ours, name))
    if config.takes_up and not (running.takes_up and running.engine_id == config.engine_id):
        differing.append("name")
    return f"other settings ({', '.join(differing)})" if differing else ""


def _check_node(coordinator: Handle, config: EngineConfig) -> None:
    """Raise SessionError if the coordinator's file is not the one that this program finds under the same path."""
    if not config.db_url.startswith("sqlite"):
        return
    where: str = ray.get(coordinator.node_id.remote())
    if where != ray.get_runtime_context().get_node_id():
        raise SessionError(
            f"the cluster's engine keeps its journal in the file {shown_url(config.db_url)} of another node; "
            "run this there, or use a PostgreSQL server for both (--db postgresql://...)"
        )


def _code_of(coordinator: Handle) -> str:
    try:
        code: str = ray.get(coordinator.code.remote())
    except RayTaskError:  # it is older than the question
        return "of an older version"
    return code


def _end(actors: _Actors, config: EngineConfig, other: str) -> None:
    """End an engine that differs in `other` and drives nothing; its executions are journalled. Raises SessionError.

    A service's engine is waited for by its replicas: only that service itself may replace it.
    """
    advice = "let its executions end or pause them, then try again"
    try:
        running: EngineConfig = ray.get(actors.coordinator.config.remote())
        if getattr(running, "takes_up", False) and not (config.takes_up and config.engine_id == running.engine_id):
            raise SessionError(
                f"the cluster's engine is that of the service {running.engine_id!r} and has {other}; use the same, "
                "`mge-ray submit` to the service, or another cluster"
            )
        driven: list[str] = ray.get(actors.coordinator.driven.remote())
        if driven:
            raise SessionError(f"the cluster's engine has {other}, and executes {', '.join(driven)}; {advice}")
        ray.get(actors.coordinator.close.remote())
    except RayTaskError:
        raise SessionError(f"the cluster's engine has {other}, and cannot be replaced; {advice}") from None
    for name in _named():  # it may have more gateways than we would
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name, NAMESPACE))
    deadline = time.monotonic() + END_PATIENCE_S
    while time.monotonic() < deadline and _named():
        time.sleep(0.05)


def _named() -> list[str]:
    """Return the names of the engine's actors that can still be found."""
    ours = (COORDINATOR, CONTROLLER, GATEWAY)
    named = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in named if one["namespace"] == NAMESPACE and one["name"].startswith(ours)]


def sandbox_level(asked_for: str | None) -> SandboxLevel:
    """Return the isolation that this cluster's workers give, found by trying to break out of it there."""
    probe: Any = ray.remote(num_cpus=1, max_retries=0)(_probe).options(name="sandbox level")
    level: SandboxLevel = ray.get(probe.remote(asked_for))
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
