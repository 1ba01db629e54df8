"""SingleFlight: equal requests that are in flight at the same time are one call (ADR 14).

Owns who takes part in a call and who pays for it. Making the call, and handing answers out, is the gateway's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from mge_ray.adapters.message_request import MessageRequest, content_hash
from mge_ray.domain.generation import Billing, CallFailure, Generation, Usage

Answer = Generation | CallFailure


@dataclass(slots=True)
class _Flight:
    """One call with its members, who came first first. `payer` is set when the answer is there."""

    content: str
    members: list[str] = field(default_factory=list)
    payer: str = ""
    task: asyncio.Task[Answer] | None = None


class SingleFlight:
    """Joins requests by content where they may be shared; each member has a task of its own.

    The first member that still waits when the answer comes pays. A call is cancelled with its last member.
    """

    def __init__(self, call: Callable[[MessageRequest], Awaitable[Answer]]) -> None:
        self._call = call
        self._by_content: dict[str, _Flight] = {}
        self._by_member: dict[str, _Flight] = {}

    def join(self, request: MessageRequest) -> asyncio.Task[Answer]:
        """Make the call, or take part in an equal one."""
        content = content_hash(request) if request.shareable else request.call_id
        flight = self._by_content.get(content)
        if flight is None:
            flight = self._by_content[content] = _Flight(content)
            flight.task = asyncio.create_task(self._fly(flight, request))
            flight.task.add_done_callback(partial(self._landed, flight))
        flight.members.append(request.call_id)
        self._by_member[request.call_id] = flight
        return asyncio.create_task(self._answer(flight, flight.task, request.call_id))

    def leave(self, call_id: str) -> None:
        """Take a member out; the others' call goes on."""
        flight = self._by_member.pop(call_id, None)
        if flight is not None:
            flight.members.remove(call_id)
            if not flight.members and flight.task is not None:
                flight.task.cancel()
                self._landed(flight)  # nobody may join what is being given up

    def close(self) -> None:
        """Give up every call."""
        for flight in self._by_content.values():
            if flight.task is not None:
                flight.task.cancel()

    async def _fly(self, flight: _Flight, request: MessageRequest) -> Answer:
        answer = await self._call(request)
        flight.payer = next(iter(flight.members), "")
        return answer

    def _landed(self, flight: _Flight, _task: asyncio.Task[Answer] | None = None) -> None:
        if self._by_content.get(flight.content) is flight:
            del self._by_content[flight.content]

    async def _answer(self, flight: _Flight, task: asyncio.Task[Answer] | None, call_id: str) -> Answer:
        assert task is not None  # noqa: S101  # a flight's task is made with it
        answer = await asyncio.shield(task)
        return answer if flight.payer == call_id else paid_by_another(answer)


def paid_by_another(answer: Answer) -> Answer:
    """Return the answer as it is booked by those who do not pay for it."""
    if isinstance(answer, Generation):
        return replace(answer, cost_usd=0.0, usage=Usage(), shared=True)
    return replace(answer, billing=Billing.NOT_BILLED, cost_usd=0.0, usage=Usage())
