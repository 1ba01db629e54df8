"""Bodies from outside: bounded while they arrive, read as JSON off the loop, checked before anything is started."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mge_ray.api.problems import ProblemError, problem
from mge_ray.api.schemas import StartExecutionRequest
from mge_ray.domain.errors import PlanError
from mge_ray.domain.plan import MAX_ATOMS, Masterplan
from mge_ray.pipeline.plan_file import parse_fields


class BoundedBodies:
    """Middleware that refuses bodies of more than `most` bytes, announced or not, without keeping them."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not (announced.isascii() and announced.isdigit()) or int(announced[:20]) > self._most:
            await self._refuse(scope, receive, send)
            return
        seen, begun = 0, False

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            if seen <= self._most or begun:  # else it is an answer to half a body
                begun = True
                await send(message)

        with contextlib.suppress(_TooLargeError):
            await self._app(scope, bounded, watched)
        if seen > self._most and not begun:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is larger than {self._most} bytes"
        await problem(Request(scope), 413, "too-large", detail, {"Connection": "close"})(scope, receive, send)


class _TooLargeError(Exception):
    """A body that has grown beyond its bound."""


async def read_start(body: bytes) -> tuple[Masterplan, StartExecutionRequest]:
    """Return the checked plan of a start and how it is to run. Raises what is wrong with either, before a start."""
    return await asyncio.to_thread(_read_start, body)


def _read_start(body: bytes) -> tuple[Masterplan, StartExecutionRequest]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "bad-json", f"the body is no JSON: {error}") from None
    if isinstance(data, Mapping) and isinstance(data.get("atoms"), Mapping) and len(data["atoms"]) > MAX_ATOMS:
        raise PlanError(f"the plan has {len(data['atoms'])} atoms; {MAX_ATOMS} is the most")
    try:
        request = StartExecutionRequest.model_validate(data)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None
    return _plan_of(request), request


def _plan_of(request: StartExecutionRequest) -> Masterplan:
    fields: dict[str, Any] = {
        "name": request.name or f"masterplan {request.masterplan_id or UUID(int=0)}",
        "description": request.description,
        "atoms": [{"id": atom_id, **atom} for atom_id, atom in request.atoms.items()],
        "files": request.files,
    }
    for atom_id, atom in request.atoms.items():
        if atom.get("id", atom_id) != atom_id:
            raise PlanError(f"atoms: {atom_id!r} holds the atom {atom['id']!r}; keys are ids")
    if request.masterplan_id is not None:
        fields["masterplan_id"] = request.masterplan_id
    if request.execution_plan:
        fields["execution_plan"] = list(request.execution_plan)
    if request.acceptance_tests:
        fields["acceptance_tests"] = list(request.acceptance_tests)
    if request.validation:
        fields["validation"] = request.validation
    return parse_fields(fields)
