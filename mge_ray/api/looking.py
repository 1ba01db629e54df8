"""Routes that show executions, their waves, their atoms and their figures."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import StringConstraints

from mge_ray.api.cursors import read_cursor, written_cursor
from mge_ray.api.desk import MAX_PAGE, AtomIdPath, Desk, ExecutionId, shown
from mge_ray.api.document import problems
from mge_ray.api.schemas import (
    AtomListResponse,
    AttemptsResponse,
    ConcurrencyResponse,
    ExecutionListItem,
    ExecutionListResponse,
    ExecutionStatusResponse,
    MetricsResponse,
    ProgressResponse,
    WaveStatusResponse,
)
from mge_ray.domain.access import Caller
from mge_ray.domain.state import AtomState

SHOWING = problems(404)
MAX_NAMED = 400
"""Ids of atoms in one address, which Serve's proxy takes up to 64 KiB of."""
ShortText = Annotated[str, StringConstraints(max_length=128)]


def add_executions(route: APIRouter, desk: Desk, viewer: Any) -> None:  # noqa: ANN401
    """Add the routes that show executions and their waves, for a `viewer` (a FastAPI dependency)."""
    executions = desk.executions

    @route.get("", response_model=ExecutionListResponse, responses=problems(400))
    async def listed(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
        caller: Caller = viewer,
    ) -> ExecutionListResponse:
        """List the caller's executions, the latest first."""
        before = read_cursor(cursor) if cursor else None
        found = await executions.listed(caller.tenant, limit=limit, before=before)
        following = written_cursor(found[-1].created_at, found[-1].state.execution_id) if len(found) == limit else None
        items = [ExecutionListItem(created_at=one.created_at, execution=shown(one.state)) for one in found]
        return ExecutionListResponse(executions=items, next_cursor=following)

    @route.get("/concurrency", response_model=ConcurrencyResponse, responses=problems())
    async def throttling(caller: Caller = viewer) -> ConcurrencyResponse:
        """How calls are throttled now, for everybody on the engine."""
        del caller
        return ConcurrencyResponse(throttles=await executions.throttling())

    @route.get("/{execution_id}", response_model=ExecutionStatusResponse, responses=SHOWING)
    async def status(execution_id: ExecutionId, caller: Caller = viewer) -> Response:
        """How the execution stands."""
        await desk.own(caller, execution_id)
        state = shown(await executions.state(execution_id))  # the one route that many poll: written here, checked once
        return Response(state.model_dump_json(), media_type="application/json")

    @route.get("/{execution_id}/progress", response_model=ProgressResponse, responses=SHOWING)
    async def progress(execution_id: ExecutionId, caller: Caller = viewer) -> ProgressResponse:
        """Return the execution and every wave of it."""
        await desk.own(caller, execution_id)
        state, waves = await asyncio.gather(executions.state(execution_id), executions.waves(execution_id))
        return ProgressResponse(
            execution=shown(state), waves=[WaveStatusResponse.model_validate(one.model_dump()) for one in waves]
        )

    @route.get("/{execution_id}/waves/{wave_id}", response_model=WaveStatusResponse, responses=SHOWING)
    async def wave(
        execution_id: ExecutionId, wave_id: Annotated[int, Path(ge=1)], caller: Caller = viewer
    ) -> WaveStatusResponse:
        """How one wave stands; waves are numbered from 1."""
        await desk.own(caller, execution_id)
        found = await executions.wave(execution_id, wave_id)
        return WaveStatusResponse.model_validate(found.model_dump())

    @route.get("/{execution_id}/metrics", response_model=MetricsResponse, responses=SHOWING)
    async def metrics(execution_id: ExecutionId, caller: Caller = viewer) -> MetricsResponse:
        """Precision, cost, time and retries of one execution; Prometheus' own are at `/metrics`."""
        await desk.own(caller, execution_id)
        report = await executions.report(execution_id)
        succeeded = report.atoms_succeeded
        return MetricsResponse(
            execution_id=execution_id,
            simulated=report.simulated,
            precision_percent=report.precision_percent,
            atoms_total=report.atoms_total,
            atoms_succeeded=succeeded,
            atoms_failed=report.atoms_failed,
            atoms_blocked=report.atoms_blocked,
            attempts=report.attempts,
            retry_rate=report.retry_rate,
            success_after_retry=report.success_after_retry,
            total_cost_usd=report.total_cost_usd,
            unknown_cost_usd=report.unknown_cost_usd,
            cost_per_succeeded_atom_usd=report.total_cost_usd / succeeded if succeeded else None,
            total_time_seconds=report.total_time_seconds,
            check_seconds=report.check_seconds,
            atoms_reused=report.reuse.atoms_reused,
            report=report,
        )


def add_atoms(route: APIRouter, desk: Desk, viewer: Any) -> None:  # noqa: ANN401
    """Add the routes that show atoms, for a `viewer` (a FastAPI dependency)."""
    executions = desk.executions

    @route.get("/{execution_id}/atoms", response_model=AtomListResponse, responses=SHOWING)
    async def atoms(
        execution_id: ExecutionId,
        after: Annotated[int, Query(ge=0, le=1 << 31)] = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
        id: Annotated[list[ShortText], Query(max_length=MAX_NAMED)] = [],  # noqa: A002, B006  # its name on the wire; unchanged
        caller: Caller = viewer,
    ) -> AtomListResponse:
        """Atoms in the plan's order, or just those whose `id` is given (repeat it)."""
        await desk.own(caller, execution_id)
        rows, following = await executions.atom_rows(execution_id, ids=id or None, after=after, limit=limit)
        return AtomListResponse(atoms=rows, next_after=following)

    @route.get("/{execution_id}/atoms/{atom_id:path}/attempts", response_model=AttemptsResponse, responses=SHOWING)
    async def attempts(execution_id: ExecutionId, atom_id: AtomIdPath, caller: Caller = viewer) -> AttemptsResponse:
        """Return an atom's attempts with prompt, code and verdict."""
        await desk.own(caller, execution_id)
        return AttemptsResponse(atom_id=atom_id, attempts=await executions.attempts(execution_id, atom_id))

    @route.get("/{execution_id}/atoms/{atom_id:path}", response_model=AtomState, responses=SHOWING)
    async def atom(execution_id: ExecutionId, atom_id: AtomIdPath, caller: Caller = viewer) -> AtomState:
        """How one atom stands, with its code and what its last attempt was told."""
        await desk.own(caller, execution_id)
        return await executions.atom(execution_id, atom_id)
