"""Errors on the wire: RFC 9457 problem details. The one place that maps what the engine raises to status codes."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mge_ray.api.document import MEDIA_TYPE
from mge_ray.api.schemas import Problem
from mge_ray.domain.errors import (
    BudgetError,
    EngineUnavailableError,
    MgeRayError,
    PlanError,
    StateConflictError,
    UnknownExecutionError,
    UnknownPriceError,
)
from mge_ray.execution.ports import JournalUnavailableError, StaleEpochError
from mge_ray.execution.requests import EditRefusedError

PROBLEMS = "https://mge-ray.invalid/problems/"
"""Names of problems, not addresses: nothing is fetched from there."""
MAX_ERRORS = 20
MAX_DETAIL_CHARS = 1_000
AWAY = "the journal is away for the moment; nothing was changed; ask again in a few seconds"
_log = logging.getLogger(__name__)


class ProblemError(MgeRayError):
    """A refusal that belongs to the API itself."""

    def __init__(self, status: int, name: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.headers = headers or {}


# The first class that fits decides.
STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownExecutionError, 404, "unknown"),
    (EditRefusedError, 400, "code-refused"),
    (StaleEpochError, 409, "changed-hands"),
    (StateConflictError, 400, "bad-state"),
    (EngineUnavailableError, 503, "engine-restarting"),
    (JournalUnavailableError, 503, "journal-away"),
    (PlanError, 400, "bad-plan"),
    (BudgetError, 400, "budget"),
    (UnknownPriceError, 400, "unknown-price"),
    (MgeRayError, 409, "refused"),
)


def install(app: FastAPI, *, retry_after_s: int) -> None:
    """Make every error of the app a problem."""

    async def expected(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, ProblemError):
            return problem(request, error.status, error.name, str(error), error.headers)
        status, name = next((status, name) for kind, status, name in STATUSES if isinstance(error, kind))
        wait = {"Retry-After": str(retry_after_s)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        detail = AWAY if isinstance(error, JournalUnavailableError) else str(error)  # its own words say where it lies
        return problem(request, status, name, detail, wait)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # it is registered for that
        return invalid_request(request, error.errors())

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for that
        name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        return problem(request, error.status_code, name, str(error.detail), dict(error.headers or {}))

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(request, 500, "internal", "an error of the service's own; its log says more")

    app.add_exception_handler(MgeRayError, expected)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def problem(
    request: Request,
    status: int,
    name: str,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    errors: list[dict[str, Any]] | None = None,
) -> JSONResponse:
    """Return a response that says what is wrong, where, and what to do."""
    body = Problem(
        type=PROBLEMS + name,
        title=name.replace("-", " "),
        status=status,
        detail=_clean(detail),
        instance=_clean(request.url.path),
        errors=errors or [],
    )
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


def invalid_request(request: Request, found: Any) -> JSONResponse:  # noqa: ANN401  # pydantic's list of errors
    """Return what is wrong with a request's form, place by place; what was sent is not repeated."""
    errors = [{"loc": [_clean(str(part)) for part in one["loc"]], "msg": _clean(str(one["msg"]))} for one in found]
    first = errors[0] if errors else {"loc": [], "msg": "the request cannot be read"}
    detail = f"{'.'.join(first['loc'])}: {first['msg']}"
    return problem(request, 422, "invalid-request", detail, errors=errors[:MAX_ERRORS])


def _clean(text: str) -> str:
    """Return text that every JSON reader takes: no lone surrogates, bounded."""
    return text.encode("utf-8", "replace").decode()[:MAX_DETAIL_CHARS]
