"""Routes that start and steer executions."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Header, Request, Response

from mge_ray.api.bodies import read_start
from mge_ray.api.desk import AtomIdPath, Desk, ExecutionId
from mge_ray.api.document import body_of, problems
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.ports import Starts
from mge_ray.api.problems import ProblemError
from mge_ray.api.schemas import (
    PREFIX,
    ApproveRequest,
    BudgetRequest,
    CancelRequest,
    ConcurrencyRequest,
    EditRequest,
    ExecutionStatusResponse,
    PauseRequest,
    RetryRequest,
    StartExecutionRequest,
    StartExecutionResponse,
)
from mge_ray.domain.access import Caller

MAX_KEY_CHARS = 255
CHANGING = problems(400, 403, 404, 409)
KEY_PATTERN = "^[ -~]+$"


def add_start(route: APIRouter, desk: Desk, starts: Starts, limits: ServiceLimits, operator: Any) -> None:  # noqa: ANN401
    """Add the route that starts executions, for an `operator` (a FastAPI dependency)."""
    executions, starting = desk.executions, asyncio.Semaphore(limits.starts_at_once)

    async def begin(body: bytes, caller: Caller, key: str | None) -> UUID:
        async with starting:
            plan, wish = await read_start(body)
            await executions.ready()
            execution_id = uuid4()
            if key is not None:
                digest = hashlib.sha256(body).hexdigest()
                execution_id, same = await starts.claim(caller.tenant, key, digest)
                if not same:
                    raise ProblemError(
                        409, "key-used", "this Idempotency-Key was used with another body; take a new one"
                    )
            return await executions.start(plan, wish.settings, tenant=caller.tenant, execution_id=execution_id)

    @route.post(
        "/start",
        status_code=202,
        response_model=StartExecutionResponse,
        responses=problems(400, 403, 409, 413),
        openapi_extra=body_of(StartExecutionRequest),
    )
    async def start(
        request: Request,
        response: Response,
        caller: Caller = operator,
        idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY_CHARS, pattern=KEY_PATTERN)] = None,
    ) -> StartExecutionResponse:
        """Start executing a masterplan; answered once its start is journalled.

        With an `Idempotency-Key`, the same key and body give the same execution; another body is a conflict.
        """
        body = await request.body()
        started = await begin(body, caller, idempotency_key)
        where = f"{PREFIX}/{started}"
        response.headers["Location"] = where
        return StartExecutionResponse(execution_id=started, status_url=where, events_url=f"{where}/events")


def add_steering(route: APIRouter, desk: Desk, operator: Any) -> None:  # noqa: ANN401
    """Add the routes that steer, for an `operator` (a FastAPI dependency)."""
    executions = desk.executions

    @route.post("/{execution_id}/pause", response_model=ExecutionStatusResponse, responses=CHANGING)
    async def pause(
        execution_id: ExecutionId, wish: PauseRequest | None = None, caller: Caller = operator
    ) -> ExecutionStatusResponse:
        """Stop dispatching. What is in flight finishes and is kept, or (`now`) is given up as unknown spend."""
        wish = wish or PauseRequest()
        acting = executions.pause(execution_id, reason=wish.reason, now=wish.now)
        return await desk.steered(caller, execution_id, acting)

    @route.post("/{execution_id}/resume", response_model=ExecutionStatusResponse, responses=CHANGING)
    async def resume(execution_id: ExecutionId, caller: Caller = operator) -> ExecutionStatusResponse:
        """Go on from where it stands."""
        return await desk.steered(caller, execution_id, executions.resume(execution_id))

    @route.post("/{execution_id}/cancel", response_model=ExecutionStatusResponse, responses=CHANGING)
    async def cancel(
        execution_id: ExecutionId, wish: CancelRequest | None = None, caller: Caller = operator
    ) -> ExecutionStatusResponse:
        """End it now: what is queued is dropped, what is in flight is given up as unknown spend."""
        reason = (wish or CancelRequest()).reason
        return await desk.steered(caller, execution_id, executions.cancel(execution_id, reason=reason))

    @route.post("/{execution_id}/retry", response_model=ExecutionStatusResponse, responses=CHANGING)
    async def retry(
        execution_id: ExecutionId, wish: RetryRequest | None = None, caller: Caller = operator
    ) -> ExecutionStatusResponse:
        """Grant failed atoms, all or those named, new attempts, and open what they blocked; it is paused then."""
        ids = (wish or RetryRequest()).atom_ids
        return await desk.steered(caller, execution_id, executions.retry(execution_id, ids))

    @route.post("/{execution_id}/concurrency", response_model=ExecutionStatusResponse, responses=CHANGING)
    async def concurrency(
        execution_id: ExecutionId, wish: ConcurrencyRequest, caller: Caller = operator
    ) -> ExecutionStatusResponse:
        """Bound its calls in flight anew, at once."""
        acting = executions.set_concurrency(execution_id, wish.limit, by=caller.name)
        return await desk.steered(caller, execution_id, acting)


def add_changes(route: APIRouter, desk: Desk, operator: Any, admin: Any) -> None:  # noqa: ANN401
    """Add the routes of what people change by hand; they are audited. Money needs an `admin`."""
    executions = desk.executions

    @route.post("/{execution_id}/budget", response_model=ExecutionStatusResponse, responses=CHANGING)
    async def budget(execution_id: ExecutionId, wish: BudgetRequest, caller: Caller = admin) -> ExecutionStatusResponse:
        """Set another hard limit; a paused execution stays paused. Audited."""
        acting = executions.set_budget(execution_id, wish.limit_usd, by=caller.name, reason=wish.reason)
        return await desk.steered(caller, execution_id, acting, "budget", wish.model_dump())

    @route.post(
        "/{execution_id}/atoms/{atom_id:path}/edit",
        response_model=ExecutionStatusResponse,
        responses=CHANGING,
    )
    async def edit(
        execution_id: ExecutionId, atom_id: AtomIdPath, wish: EditRequest, caller: Caller = operator
    ) -> ExecutionStatusResponse:
        """Give an atom code written by hand, if it passes its check; it is paused then. Audited."""
        acting = executions.edit(execution_id, atom_id, wish.code, by=caller.name)
        told = {"atom_id": atom_id, "code_sha256": hashlib.sha256(_bytes(wish.code)).hexdigest()}
        return await desk.steered(caller, execution_id, acting, "edit", told)

    @route.post(
        "/{execution_id}/atoms/{atom_id:path}/approve",
        response_model=ExecutionStatusResponse,
        responses=CHANGING,
    )
    async def approve(
        execution_id: ExecutionId,
        atom_id: AtomIdPath,
        wish: ApproveRequest | None = None,
        caller: Caller = operator,
    ) -> ExecutionStatusResponse:
        """Say that a person has looked at an atom's code, or that a failed one's is to be used. Audited."""
        wish = wish or ApproveRequest()
        acting = executions.approve(
            execution_id, atom_id, by=caller.name, note=wish.note, despite_failures=wish.despite_failures
        )
        told = {"atom_id": atom_id, **wish.model_dump()}
        return await desk.steered(caller, execution_id, acting, "approve", told)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
