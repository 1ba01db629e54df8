"""The OpenAPI document: FastAPI's own, completed: problems by their media type, tokens, schemas that are referred to.

A test compares every answer with it, and `docs/api.md` is written from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from mge_ray.api.schemas import Problem, StartExecutionRequest

MEDIA_TYPE = "application/problem+json"
_REF = "#/components/schemas/{model}"
_PROBLEM = {"$ref": _REF.format(model=Problem.__name__)}
MEANINGS = {
    400: "The content makes no sense, or the execution's state does not allow it.",
    401: "No token, or one that is unknown, revoked or expired.",
    403: "The token's role may not do this.",
    404: "There is no such execution, wave or atom of this tenant.",
    409: "It is in conflict with something that happened before.",
    413: "The body is too large.",
    422: "The request's form is wrong; `errors` says where.",
    429: "Too many requests or streams; `Retry-After` says how long to wait.",
    503: "The engine or its journal is away for the moment; ask again after `Retry-After` seconds.",
}
EVERYWHERE = (401, 422, 429, 503)
"""Any route may answer these: who calls, the form of what is asked, how often, and whether somebody is at home."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI is told of refusals: those that every route has, and `statuses`."""
    return {status: _problem(status) for status in sorted({*EVERYWHERE, *statuses})}


def _problem(status: int) -> dict[str, Any]:
    told: dict[str, Any] = {"description": MEANINGS[status], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    if status in {429, 503}:
        told["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    return told


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI is told of a body that a route reads by itself; `describe` adds the schema."""
    content = {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI, *, asks_for_token: bool) -> None:
    """Make the app's document complete."""
    plain: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain(), asks_for_token=asks_for_token)
        assert app.openapi_schema is not None  # noqa: S101  # FastAPI keeps it there
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _complete(document: dict[str, Any], *, asks_for_token: bool) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (Problem, StartExecutionRequest):
        schema = model.model_json_schema(ref_template=_REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    if asks_for_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in ("/healthz", "/readyz"):
            document["paths"][path]["get"]["security"] = []
