"""What every route needs: the caller's own executions, acts upon them, how states are shown."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path

from mge_ray.api.ports import Executions, Tokens
from mge_ray.api.schemas import ExecutionStatusResponse
from mge_ray.domain.access import Caller
from mge_ray.domain.errors import UnknownExecutionError
from mge_ray.domain.state import ExecutionState

MAX_PAGE = 1_000

ExecutionId = Annotated[UUID, Path(description="The execution's id.")]
AtomIdPath = Annotated[str, Path(max_length=128, description="The atom's id; its slashes are written as they are.")]


class Desk:
    """The executions as one caller may see and steer them."""

    def __init__(self, executions: Executions, tokens: Tokens | None) -> None:
        self.executions = executions
        self._tokens = tokens

    async def own(self, caller: Caller, execution_id: UUID) -> None:
        """Raise as for one that does not exist where the execution is another tenant's."""
        try:
            tenant = await self.executions.tenant_of(execution_id)
        except UnknownExecutionError:
            tenant = None
        if tenant != caller.tenant:  # in the same words: which ids exist is nobody else's business, nor where they lie
            raise UnknownExecutionError(f"no execution {execution_id} here")

    async def steered(
        self,
        caller: Caller,
        execution_id: UUID,
        acting: Coroutine[Any, Any, ExecutionState],
        verb: str = "",
        details: dict[str, Any] | None = None,
    ) -> ExecutionStatusResponse:
        """Act on the caller's own execution; with a `verb`, the audit gets to know."""
        try:
            await self.own(caller, execution_id)
        except BaseException:
            acting.close()
            raise

        state = await acting
        if verb and self._tokens is not None:
            await self._tokens.audit(caller, verb, execution_id, details or {})
        return shown(state)


def shown(state: ExecutionState) -> ExecutionStatusResponse:
    """Return a state as it goes over the wire."""
    return ExecutionStatusResponse.model_validate(state.model_dump())
