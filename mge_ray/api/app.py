"""The FastAPI app: routes, health, metrics, the live page. Made anew in each replica, from ports."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import PlainTextResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mge_ray.api.auth import Authentication, needs
from mge_ray.api.bodies import BoundedBodies
from mge_ray.api.carried_out import CarriedOut
from mge_ray.api.control import add_changes, add_start, add_steering
from mge_ray.api.desk import Desk
from mge_ray.api.document import describe, problems
from mge_ray.api.following import add_following
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.looking import add_atoms, add_executions
from mge_ray.api.page import add_page
from mge_ray.api.ports import Executions, Starts, Tokens
from mge_ray.api.problems import install
from mge_ray.api.schemas import PREFIX
from mge_ray.api.whoami import add_whoami
from mge_ray.domain.access import Caller, Role

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DESCRIPTION = """Executes plans of LLM code generation on Ray: wide, within a hard budget, verified by running the code.

Send `Authorization: Bearer TOKEN`; `mge-ray token create` makes one. Errors are `application/problem+json` (RFC 9457).
While the engine restarts, requests are answered 503 with `Retry-After`."""
_SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def create_app(
    executions: Executions,
    starts: Starts,
    *,
    tokens: Tokens | None,
    version: str,
    limits: ServiceLimits | None = None,
) -> FastAPI:
    """Return the app. Without `tokens` whoever reaches it may do everything: only for loopback."""
    limits = limits or ServiceLimits()
    app = FastAPI(
        title="mge_ray execution API", version=version, description=DESCRIPTION, docs_url=None, redoc_url=None
    )  # FastAPI's own pages load their script from elsewhere; ours is in `page`
    authentication = Authentication(tokens, limits)
    install(app, retry_after_s=limits.retry_after_s)
    viewer, operator, admin = (Depends(needs(authentication, role)) for role in Role)
    desk, router = Desk(executions, tokens), APIRouter(prefix=PREFIX, tags=["execution"])
    add_start(router, desk, starts, limits, operator)
    add_steering(router, desk, operator)
    add_changes(router, desk, operator, admin)
    add_whoami(router, viewer)
    add_executions(router, desk, viewer)
    add_atoms(router, desk, viewer)
    add_following(router, desk, limits, viewer)
    app.include_router(router)
    _add_health(app, executions, viewer)
    add_page(app, asks_for_token=tokens is not None)
    app.add_middleware(BoundedBodies, most=limits.body_bytes)
    app.add_middleware(_SafeHeaders)
    app.add_middleware(CarriedOut)
    describe(app, asks_for_token=tokens is not None)
    return app


class _SafeHeaders:
    """Middleware that adds headers; streams pass through it as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, safely)


def _add_health(app: FastAPI, executions: Executions, viewer: Caller) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Whether this replica answers."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["health"], responses={503: problems()[503]})
    async def readyz() -> dict[str, str]:
        """Whether executions can be started now: engine and database answer."""
        await executions.ready()
        return {"status": "ready"}

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse, responses=problems())
    async def metrics(caller: Caller = viewer) -> Response:
        """Return the engine's metrics for Prometheus, the same from every replica."""
        del caller
        return Response(await executions.metrics_text(), headers={"Content-Type": METRICS_TYPE})
