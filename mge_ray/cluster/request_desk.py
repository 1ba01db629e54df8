"""RequestDesk: carries out what is asked of this engine's executions through the journal. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import UUID

from mge_ray.adapters.journal import ControlRequest, Standing, move_request, open_requests
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.throttle import described
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2

LISTEN_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class RequestDesk:
    """Looks for requests and for changed limits of tenants, while something is driven: others are changed elsewhere."""

    def __init__(self, url: str, service: ExecutionServiceV2) -> None:
        self._url = url
        self._service = service

    async def listen(self) -> None:
        """Look once a second, for ever. A journal that is away is looked at again."""
        while True:
            await asyncio.sleep(LISTEN_EVERY_S)
            try:
                await self.look()
            except MgeRayError as error:
                _log.warning("requests could not be read: %s", error)

    async def look(self) -> None:
        """Carry out what is asked now."""
        service = self._service
        driven = [execution_id for execution_id in service.execution_ids if service.is_driven(execution_id)]
        if driven:
            await service.look_at_tenants()
            for request in await asyncio.to_thread(open_requests, self._url, driven):
                await self._take(request)

    async def _take(self, request: ControlRequest) -> None:
        """Take one request, unless it was withdrawn, and answer it."""
        if not await self._move(request.request_id, Standing.OPEN, Standing.TAKEN):
            return
        try:
            answer = await self._carry_out(request)
        except (MgeRayError, KeyError, TypeError) as error:
            refusal = str(error) if isinstance(error, MgeRayError) else f"{request.verb!r} is not understood: {error}"
            await self._move(request.request_id, Standing.TAKEN, Standing.REFUSED, refusal)
        else:
            await self._move(request.request_id, Standing.TAKEN, Standing.DONE, answer)

    async def _carry_out(self, request: ControlRequest) -> str:
        """Do it; return what is to be told."""
        execution_id, arguments, service = request.execution_id, request.arguments, self._service
        if request.epoch != service.epoch(execution_id):
            raise MgeRayError("the execution has changed hands since; ask again")
        verbs: dict[str, Any] = {
            "pause": service.pause_execution,
            "cancel": service.cancel_execution,
            "approve": service.approve_atom,
            "concurrency": self._concurrency,
            "budget": service.set_budget,
        }
        answer = await verbs[request.verb](execution_id, **arguments)
        return answer if isinstance(answer, str) else ""

    async def _concurrency(self, execution_id: UUID, limit: int | None = None, by: str = "") -> str:
        if limit is not None:
            await self._service.change_concurrency(execution_id, limit, by=by)
        return "\n".join(map(described, await self._service.throttling())) or "no call has been made yet"

    async def _move(self, request_id: UUID, before: Standing, after: Standing, answer: str = "") -> bool:
        return await asyncio.to_thread(move_request, self._url, request_id, before, after, answer)
