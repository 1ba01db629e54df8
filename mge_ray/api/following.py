"""Routes whose answers are no plain JSON: the events as they happen, and the project as a zip."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from mge_ray.api.desk import MAX_PAGE, Desk, ExecutionId
from mge_ray.api.document import problems
from mge_ray.api.feed import EventFeed
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.problems import ProblemError
from mge_ray.api.schemas import EventsResponse
from mge_ray.domain.access import Caller

_BINARY = {"type": "string", "format": "binary"}


def add_following(route: APIRouter, desk: Desk, limits: ServiceLimits, viewer: Any) -> None:  # noqa: ANN401
    """Add the routes, for a `viewer` (a FastAPI dependency)."""
    executions, feed, packing = desk.executions, EventFeed(desk.executions, limits), asyncio.Semaphore(1)

    @route.get(
        "/{execution_id}/events",
        response_model=EventsResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **problems(400, 404)},
    )
    async def events(  # noqa: PLR0917  # FastAPI passes them by name
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
        await desk.own(caller, execution_id)
        if "text/event-stream" not in request.headers.get("accept", ""):
            found = await executions.events(execution_id, after=after, limit=limit)
            return EventsResponse(events=found, next_after=found[-1].seq if found else after)
        if last_event_id is not None:
            if not last_event_id.isdecimal() or not last_event_id.isascii():
                raise ProblemError(400, "bad-event-id", "Last-Event-ID is the number of an event of this stream")
            after = min(int(last_event_id), 1 << 62)
        if feed.streams >= limits.streams:
            raise ProblemError(429, "too-many-streams", "too many open streams here", {"Retry-After": "10"})
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        frames = feed.stream(execution_id, after)
        return StreamingResponse(frames, media_type="text/event-stream", headers=headers)

    @route.get(
        "/{execution_id}/output",
        response_class=Response,
        responses={
            200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
            **problems(404),
        },
    )
    async def output(execution_id: ExecutionId, caller: Caller = viewer) -> Response:
        """Return the assembled project as a zip; while atoms are missing it says which in PARTIAL.md."""
        await desk.own(caller, execution_id)
        async with packing:
            project = await executions.project(execution_id)
            packed = await asyncio.to_thread(_zip, project.files)
        name = "".join(ch if ch.isascii() and ch.isalnum() else "-" for ch in project.name)[:60] or "project"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}.zip"',
            "X-Project-Partial": json.dumps(project.partial),
        }
        return Response(packed, media_type="application/zip", headers=headers)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _zip(files: dict[str, str]) -> bytes:
    """Return a zip that is the same for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), _bytes(files[path]), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
