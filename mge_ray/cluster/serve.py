"""The service on Ray Serve: the app, handed to a deployment whose replicas hold nothing (ADR 16).

`run_service` is what `mge-ray serve` calls; `build` is what `serve run serve_app:app` and a Serve config file call.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from mge_ray.adapters.journal import normalise_url, upgrade
from mge_ray.adapters.logs import configure_logs
from mge_ray.adapters.service_tables import SqlStarts, SqlTokens
from mge_ray.api.app import create_app
from mge_ray.api.limits import ServiceLimits
from mge_ray.cluster.client import EngineClient
from mge_ray.cluster.concurrency_controller import Handle
from mge_ray.cluster.engine import open_engine, sandbox_level
from mge_ray.cluster.served import ServedExecutions
from mge_ray.cluster.session import COORDINATOR, NAMESPACE
from mge_ray.domain.errors import MgeRayError
from mge_ray.wiring.build import forget_secrets
from mge_ray.wiring.service import ServiceConfig
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL, EngineConfig

APP = "mge_ray"
REPLICAS = 2
REQUESTS_AT_ONCE = 1_000
"""Of one replica; every open stream is one. Ray's own default is 5."""
PIN = 0.001
QUIET = LoggingConfig(enable_access_log=False)
"""No line for each request in the logs of proxy and replica; what stands in front of a service writes its own."""


class ServiceError(MgeRayError):
    """A service that cannot begin as asked."""


class ServeArgs(BaseModel):
    """What a Serve config file may say under `args`; everything has a default, taken from the environment where named.

    `database` ($MGE_RAY_DB) is a URL, or the absolute path of a file on the node that serves; `base_url`
    ($ANTHROPIC_BASE_URL) a server that speaks the Messages API, `simulated` if that is `mge-ray simulate`; `engine` the
    name under which executions are taken up again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str | None = None
    base_url: str | None = None
    simulated: bool = False
    engine: str = "service"
    model: str = DEFAULT_MODEL
    escalation_model: str = DEFAULT_ESCALATION_MODEL
    max_concurrency: int = 100
    prices: tuple[str, ...] = ()
    temperature: bool | None = None
    replicas: int = REPLICAS
    auth: bool = True
    sandbox: str | None = None
    limits: ServiceLimits = ServiceLimits()


def build(args: ServeArgs) -> Application:
    """Return the application for Serve; the engine is made on this cluster, or found there."""
    url = _database(args.database or os.environ.get("MGE_RAY_DB"))
    engine = EngineConfig(
        engine_id=args.engine,
        db_url=url,
        base_url=args.base_url or os.environ.get("ANTHROPIC_BASE_URL"),
        simulated=args.simulated,
        prices=args.prices,
        require_price=True,
        sampling=args.temperature,
        generate_limit=args.max_concurrency,
        sandbox_level=sandbox_level(args.sandbox).value,
        takes_up=True,
    )
    upgrade(url)
    open_engine(engine)
    config = ServiceConfig(
        engine=engine, model=args.model, escalation_model=args.escalation_model, auth=args.auth, limits=args.limits
    )
    return application(config, args.replicas)


def _database(told: str | None) -> str:
    if not told or ("://" not in told and not told.startswith("/")):
        raise ServiceError(
            "say where the journal is: `database` or $MGE_RAY_DB, a postgresql:// URL or an absolute path"
        )
    return normalise_url(told if "://" in told else f"sqlite:///{told}")


def run_service(config: ServiceConfig, *, host: str, port: int, replicas: int) -> EngineClient:
    """Serve on the cluster that this process has joined; return once requests are answered."""
    upgrade(config.engine.db_url)
    engine = open_engine(config.engine)
    serve.start(
        http_options=HTTPOptions(host=host, port=port), proxy_location=ProxyLocation.HeadOnly, logging_config=QUIET
    )
    serve.run(application(config, replicas), name=APP, route_prefix="/")
    return engine


def stop_service() -> None:
    """Take the application off the cluster; the engine and what it executes stay."""
    serve.delete(APP)


def application(config: ServiceConfig, replicas: int) -> Application:
    """Return the Serve application: `replicas` processes, on this node where the journal is a file on it."""

    def make() -> FastAPI:
        return replica_app(config)

    options: dict[str, Any] = {"num_cpus": 0}
    if config.engine.db_url.startswith("sqlite"):
        options["resources"] = {_this_node(): PIN}
    make_deployment = serve.deployment(
        name="api",
        num_replicas=replicas,
        max_ongoing_requests=REQUESTS_AT_ONCE,
        ray_actor_options=options,
        logging_config=QUIET,
    )
    deployed: Application = make_deployment(serve.ingress(make)()).bind()
    return deployed


def replica_app(config: ServiceConfig) -> FastAPI:
    """Return the app of one replica."""
    configure_logs("serve", config.engine.logs)
    forget_secrets()
    url = config.engine.db_url
    return create_app(
        ServedExecutions(config, _coordinator),
        SqlStarts(url),
        tokens=SqlTokens(url) if config.auth else None,
        version=version("mge-ray"),
        limits=config.limits,
    )


def _coordinator() -> Handle:
    """Return the engine's coordinator; raises ValueError where there is none."""
    handle: Handle = ray.get_actor(COORDINATOR, namespace=NAMESPACE)
    return handle


def _this_node() -> str:
    """Return the resource that only this node has."""
    here = ray.get_runtime_context().get_node_id()
    address = next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here)  # type: ignore[no-untyped-call]
    return f"node:{address}"
