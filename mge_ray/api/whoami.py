"""The route that says who the caller is, so that a page or a script offers only what the token may do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from mge_ray.api.document import problems
from mge_ray.api.schemas import CallerResponse
from mge_ray.domain.access import Caller


def add_whoami(route: APIRouter, viewer: Any) -> None:  # noqa: ANN401
    """Add it, for a `viewer` (a FastAPI dependency); its path comes before those with an execution's id."""

    @route.get("/whoami", response_model=CallerResponse, responses=problems())
    async def whoami(caller: Caller = viewer) -> CallerResponse:
        """Who the token belongs to, and what it may do. Where none is asked for, everybody is an administrator."""
        return CallerResponse(name=caller.name, tenant=caller.tenant, role=caller.role)
