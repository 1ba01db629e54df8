"""The routes of `/api/v2/execution`: who may, what is meant, what came of it. Each line of logic is a port's or a view's."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from mge_ray.api.auth import Authentication, needs
from mge_ray.api.bodies import read_start
from mge_ray.api.cursors import read_cursor, written_cursor
from mge_ray.api.feed import EventFeed
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.ports import Executions, Starts, Tokens
from mge_ray.api.problems import ProblemError
from mge_ray.api.schemas import (
    ApproveRequest,
    AtomListResponse,
    AttemptsResponse,
    BudgetRequest,
    CancelRequest,
    ConcurrencyRequest,
    ConcurrencyResponse,
    EditRequest,
    EventsResponse,
    ExecutionListItem,
    ExecutionListResponse,
    ExecutionStatusResponse,
    MetricsResponse,
    PauseRequest,
    Problem,
    ProgressResponse,
    RetryRequest,
    StartExecutionRequest,
    StartExecutionResponse,
    WaveStatusResponse,
)
from mge_ray.domain.access import Caller, Role
from mge_ray.domain.errors import UnknownExecutionError
from mge_ray.domain.state import AtomState, ExecutionState

PREFIX = "/api/v2/execution"
MAX_PAGE = 1_000
MAX_KEY_CHARS = 255
T = TypeVar("T")

ExecutionId = Annotated[UUID, Path(description="The execution's id.")]
AtomIdPath = Annotated[str, Path(max_length=128, description="The atom's id; its slashes are written as they are.")]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told = {"model": Problem, "content": {"application/problem+json": {}}}
    return dict.fromkeys((401, 403, 404, 422, 429, 503, *statuses), told)


class Routes:
    """The handlers over their ports; `router` has them at their paths."""

    def __init__(
        self,
        executions: Executions,
        authentication: Authentication,
        tokens: Tokens | None,
        starts: Starts,
        limits: ServiceLimits,
    ) -> None:
        self._executions, self._tokens, self._starts, self._limits = executions, tokens, starts, limits
        self._feed = EventFeed(executions, limits)
        self._starting = asyncio.Semaphore(limits.starts_at_once)
        self._packing = asyncio.Semaphore(limits.starts_at_once)
        self._kept: set[asyncio.Future[Any]] = set()
        self.router = APIRouter(prefix=PREFIX, tags=["execution"])
        viewer, operator, admin = (Depends(needs(authentication, role)) for role in Role)
        self._add_control(operator, admin)
        self._add_views(viewer)

    # ---- control --------------------------------------------------------------------------------------------------

    def _add_control(self, operator: Any, admin: Any) -> None:  # noqa: ANN401  # FastAPI's own kind
        route = self.router

        @route.post(
            "/start",
            status_code=202,
            response_model=StartExecutionResponse,
            responses=_problems(400, 409, 413),
            openapi_extra={
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": StartExecutionRequest.model_json_schema()}},
                }
            },
        )
        async def start(
            request: Request,
            response: Response,
            caller: Caller = operator,
            idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY_CHARS, min_length=1)] = None,
        ) -> StartExecutionResponse:
            """Start executing a masterplan; answered once its start is journalled.

            With an `Idempotency-Key`, the same key and body give the same execution; another body is a conflict.
            """
            body = await request.body()
            started = await self._shielded(self._start(body, caller, idempotency_key))
            where = f"{PREFIX}/{started}"
            response.headers["Location"] = where
            return StartExecutionResponse(execution_id=started, status_url=where, events_url=f"{where}/events")

        @route.post("/{execution_id}/pause", response_model=ExecutionStatusResponse, responses=_problems(400, 409))
        async def pause(
            execution_id: ExecutionId, wish: PauseRequest | None = None, caller: Caller = operator
        ) -> ExecutionStatusResponse:
            """Stop dispatching. What is in flight finishes and is kept, or (`now`) is given up as unknown spend."""
            wish = wish or PauseRequest()
            acting = self._executions.pause(execution_id, reason=wish.reason, now=wish.now)
            return await self._steered(caller, execution_id, acting)

        @route.post("/{execution_id}/resume", response_model=ExecutionStatusResponse, responses=_problems(400, 409))
        async def resume(execution_id: ExecutionId, caller: Caller = operator) -> ExecutionStatusResponse:
            """Go on from where it stands."""
            return await self._steered(caller, execution_id, self._executions.resume(execution_id))

        @route.post("/{execution_id}/cancel", response_model=ExecutionStatusResponse, responses=_problems(400, 409))
        async def cancel(
            execution_id: ExecutionId, wish: CancelRequest | None = None, caller: Caller = operator
        ) -> ExecutionStatusResponse:
            """End it now: what is queued is dropped, what is in flight is given up as unknown spend."""
            reason = (wish or CancelRequest()).reason
            return await self._steered(caller, execution_id, self._executions.cancel(execution_id, reason=reason))

        @route.post("/{execution_id}/retry", response_model=ExecutionStatusResponse, responses=_problems(400, 409))
        async def retry(
            execution_id: ExecutionId, wish: RetryRequest | None = None, caller: Caller = operator
        ) -> ExecutionStatusResponse:
            """Grant failed atoms, all or those named, new attempts, and open what they blocked; it is paused then."""
            ids = (wish or RetryRequest()).atom_ids
            return await self._steered(caller, execution_id, self._executions.retry(execution_id, ids))

        @route.post(
            "/{execution_id}/concurrency", response_model=ExecutionStatusResponse, responses=_problems(400, 409)
        )
        async def concurrency(
            execution_id: ExecutionId, wish: ConcurrencyRequest, caller: Caller = operator
        ) -> ExecutionStatusResponse:
            """Bound its calls in flight anew, at once."""
            acting = self._executions.set_concurrency(execution_id, wish.limit, by=caller.name)
            return await self._steered(caller, execution_id, acting)

        @route.post("/{execution_id}/budget", response_model=ExecutionStatusResponse, responses=_problems(400, 409))
        async def budget(
            execution_id: ExecutionId, wish: BudgetRequest, caller: Caller = admin
        ) -> ExecutionStatusResponse:
            """Set another hard limit; a paused execution stays paused. Audited."""
            acting = self._executions.set_budget(execution_id, wish.limit_usd, by=caller.name, reason=wish.reason)
            return await self._steered(caller, execution_id, acting, "budget", wish.model_dump())

        @route.post(
            "/{execution_id}/atoms/{atom_id:path}/edit",
            response_model=ExecutionStatusResponse,
            responses=_problems(400, 409),
        )
        async def edit(
            execution_id: ExecutionId, atom_id: AtomIdPath, wish: EditRequest, caller: Caller = operator
        ) -> ExecutionStatusResponse:
            """Give an atom code written by hand, if it passes its check; it is paused then. Audited."""
            acting = self._executions.edit(execution_id, atom_id, wish.code, by=caller.name)
            told = {"atom_id": atom_id, "code_sha256": hashlib.sha256(_bytes(wish.code)).hexdigest()}
            return await self._steered(caller, execution_id, acting, "edit", told)

        @route.post(
            "/{execution_id}/atoms/{atom_id:path}/approve",
            response_model=ExecutionStatusResponse,
            responses=_problems(400, 409),
        )
        async def approve(
            execution_id: ExecutionId,
            atom_id: AtomIdPath,
            wish: ApproveRequest | None = None,
            caller: Caller = operator,
        ) -> ExecutionStatusResponse:
            """Say that a person has looked at an atom's code, or that a failed one's is to be used. Audited."""
            wish = wish or ApproveRequest()
            acting = self._executions.approve(
                execution_id, atom_id, by=caller.name, note=wish.note, despite_failures=wish.despite_failures
            )
            told = {"atom_id": atom_id, **wish.model_dump()}
            return await self._steered(caller, execution_id, acting, "approve", told)

    async def _start(self, body: bytes, caller: Caller, key: str | None) -> UUID:
        async with self._starting:
            plan, wish = await read_start(body)
            await self._executions.ready()
            execution_id = uuid4()
            if key is not None:
                digest = hashlib.sha256(body).hexdigest()
                execution_id, same = await self._starts.claim(caller.tenant, key, digest)
                if not same:
                    raise ProblemError(
                        409, "key-used", "this Idempotency-Key was used with another body; take a new one"
                    )
            return await self._executions.start(plan, wish.settings, tenant=caller.tenant, execution_id=execution_id)

    async def _steered(
        self,
        caller: Caller,
        execution_id: UUID,
        acting: Awaitable[ExecutionState],
        verb: str = "",
        details: dict[str, Any] | None = None,
    ) -> ExecutionStatusResponse:
        """Let the engine act on the caller's own execution, to the end also if the caller goes away."""

        async def act() -> ExecutionState:
            state = await acting
            if verb and self._tokens is not None:
                await self._tokens.audit(caller, verb, execution_id, details or {})
            return state

        try:
            await self._own(caller, execution_id)
        except BaseException:
            acting.close()  # type: ignore[attr-defined]  # a coroutine that nobody will await
            raise
        return _shown(await self._shielded(act()))

    async def _shielded(self, acting: Awaitable[T]) -> T:
        """Wait for what is to be done in any case: a client that goes away does not undo it."""
        task = asyncio.ensure_future(acting)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        return await asyncio.shield(task)

    async def _own(self, caller: Caller, execution_id: UUID) -> None:
        """Raise as for one that does not exist where the execution is another tenant's."""
        if await self._executions.tenant_of(execution_id) != caller.tenant:
            raise UnknownExecutionError(f"no execution {execution_id} here")

    # ---- views ----------------------------------------------------------------------------------------------------

    def _add_views(self, viewer: Any) -> None:  # noqa: ANN401  # FastAPI's own kind
        route = self.router

        @route.get("", response_model=ExecutionListResponse, responses=_problems(400))
        async def listed(
            limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
            cursor: Annotated[str | None, Query(max_length=200)] = None,
            caller: Caller = viewer,
        ) -> ExecutionListResponse:
            """List the caller's executions, the latest first."""
            before = read_cursor(cursor) if cursor else None
            found = await self._executions.listed(caller.tenant, limit=limit, before=before)
            following = (
                written_cursor(found[-1].created_at, found[-1].state.execution_id) if len(found) == limit else None
            )
            items = [ExecutionListItem(created_at=one.created_at, execution=_shown(one.state)) for one in found]
            return ExecutionListResponse(executions=items, next_cursor=following)

        @route.get("/concurrency", response_model=ConcurrencyResponse, responses=_problems())
        async def throttling(caller: Caller = viewer) -> ConcurrencyResponse:
            """How calls are throttled now, for everybody on the engine."""
            del caller
            return ConcurrencyResponse(throttles=await self._executions.throttling())

        @route.get("/{execution_id}", response_model=ExecutionStatusResponse, responses=_problems())
        async def status(execution_id: ExecutionId, caller: Caller = viewer) -> ExecutionStatusResponse:
            """How the execution stands."""
            await self._own(caller, execution_id)
            return _shown(await self._executions.state(execution_id))

        @route.get("/{execution_id}/progress", response_model=ProgressResponse, responses=_problems())
        async def progress(execution_id: ExecutionId, caller: Caller = viewer) -> ProgressResponse:
            """The execution and every wave of it."""
            await self._own(caller, execution_id)
            state, waves = await asyncio.gather(
                self._executions.state(execution_id), self._executions.waves(execution_id)
            )
            return ProgressResponse(
                execution=_shown(state), waves=[WaveStatusResponse.model_validate(one.model_dump()) for one in waves]
            )

        @route.get("/{execution_id}/waves/{wave_id}", response_model=WaveStatusResponse, responses=_problems())
        async def wave(
            execution_id: ExecutionId, wave_id: Annotated[int, Path(ge=1)], caller: Caller = viewer
        ) -> WaveStatusResponse:
            """How one wave stands; waves are numbered from 1."""
            await self._own(caller, execution_id)
            found = await self._executions.wave(execution_id, wave_id)
            return WaveStatusResponse.model_validate(found.model_dump())

        @route.get("/{execution_id}/atoms", response_model=AtomListResponse, responses=_problems())
        async def atoms(
            execution_id: ExecutionId,
            after: Annotated[int, Query(ge=0, le=1 << 31)] = 0,
            limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
            id: Annotated[list[str] | None, Query(max_length=MAX_PAGE)] = None,  # noqa: A002  # its name on the wire
            caller: Caller = viewer,
        ) -> AtomListResponse:
            """Atoms in the plan's order, or just those whose `id` is given (repeat it)."""
            await self._own(caller, execution_id)
            rows, following = await self._executions.atom_rows(execution_id, ids=id, after=after, limit=limit)
            return AtomListResponse(atoms=rows, next_after=following)

        @route.get(
            "/{execution_id}/atoms/{atom_id:path}/attempts", response_model=AttemptsResponse, responses=_problems()
        )
        async def attempts(execution_id: ExecutionId, atom_id: AtomIdPath, caller: Caller = viewer) -> AttemptsResponse:
            """An atom's attempts with prompt, code and verdict."""
            await self._own(caller, execution_id)
            return AttemptsResponse(atom_id=atom_id, attempts=await self._executions.attempts(execution_id, atom_id))

        @route.get("/{execution_id}/atoms/{atom_id:path}", response_model=AtomState, responses=_problems())
        async def atom(execution_id: ExecutionId, atom_id: AtomIdPath, caller: Caller = viewer) -> AtomState:
            """How one atom stands, with its code and what its last attempt was told."""
            await self._own(caller, execution_id)
            return await self._executions.atom(execution_id, atom_id)

        @route.get("/{execution_id}/metrics", response_model=MetricsResponse, responses=_problems())
        async def metrics(execution_id: ExecutionId, caller: Caller = viewer) -> MetricsResponse:
            """Precision, cost, time and retries of one execution; Prometheus' own are at `/metrics`."""
            await self._own(caller, execution_id)
            report = await self._executions.report(execution_id)
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

        @route.get(
            "/{execution_id}/events",
            response_model=EventsResponse,
            responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **_problems()},
        )
        async def events(
            request: Request,
            execution_id: ExecutionId,
            after: Annotated[int, Query(ge=0, le=1 << 62)] = 0,
            limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 500,
            last_event_id: Annotated[str | None, Header(max_length=30)] = None,
            caller: Caller = viewer,
        ) -> Any:  # noqa: ANN401  # JSON or a stream
            """Journalled events by sequence number; with `Accept: text/event-stream`, followed as they happen.

            A stream goes on after `Last-Event-ID` and misses nothing. Besides the events, whose ids are their sequence
            numbers, it has `state` frames (no id) and one `end`.
            """
            await self._own(caller, execution_id)
            if "text/event-stream" not in request.headers.get("accept", ""):
                found = await self._executions.events(execution_id, after=after, limit=limit)
                return EventsResponse(events=found, next_after=found[-1].seq if found else after)
            if last_event_id is not None:
                if not last_event_id.isdecimal() or not last_event_id.isascii():
                    raise ProblemError(400, "bad-event-id", "Last-Event-ID is the number of an event of this stream")
                after = min(int(last_event_id), 1 << 62)
            if self._feed.streams >= self._limits.streams:
                raise ProblemError(429, "too-many-streams", "too many open streams here", {"Retry-After": "10"})
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            frames = self._feed.stream(execution_id, after)
            return StreamingResponse(frames, media_type="text/event-stream", headers=headers)

        @route.get(
            "/{execution_id}/output",
            response_class=Response,
            responses={200: {"content": {"application/zip": {}}}, **_problems()},
        )
        async def output(execution_id: ExecutionId, caller: Caller = viewer) -> Response:
            """The assembled project as a zip; while atoms are missing it says which in PARTIAL.md."""
            await self._own(caller, execution_id)
            async with self._packing:
                project = await self._executions.project(execution_id)
                packed = await asyncio.to_thread(_zip, project.files)
            name = "".join(ch if ch.isascii() and ch.isalnum() else "-" for ch in project.name)[:60] or "project"
            headers = {
                "Content-Disposition": f'attachment; filename="{name}.zip"',
                "X-Project-Partial": json.dumps(project.partial),
            }
            return Response(packed, media_type="application/zip", headers=headers)


def _shown(state: ExecutionState) -> ExecutionStatusResponse:
    return ExecutionStatusResponse.model_validate(state.model_dump())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _zip(files: dict[str, str]) -> bytes:
    """Return a zip that is the same for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), _bytes(files[path]), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
