"""How an answer that exists, and is billed, travels: whole, or lost in one of five ways.

Requests that are not streamed have no stream to end early or to be overloaded: these two faults truncate them.
"""

import json
from dataclasses import dataclass
from typing import Any

from mge_ray.simulator import streaming
from mge_ray.simulator.exchange import Exchange
from mge_ray.simulator.kinds import TransportFault
from mge_ray.simulator.limits import Header
from mge_ray.simulator.messages import ApiError, Reply, message_body
from mge_ray.simulator.promptcache import InputUsage

OVERLOADED = ApiError(529, "overloaded_error", "Overloaded")
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything a response is made of."""

    id: str
    model: str
    reply: Reply
    usage: InputUsage
    streamed: bool

    def as_json(self) -> dict[str, Any]:
        """Write the whole message."""
        return message_body(self.id, self.model, self.reply, self.usage)

    def opening(self) -> bytes:
        """Write the events before the text."""
        return streaming.opening(self.id, self.model, self.reply, self.usage)


async def deliver(exchange: Exchange, answer: Answer, headers: list[Header]) -> None:
    """Send all of it."""
    if not answer.streamed:
        await exchange.reply_json(200, answer.as_json(), headers)
        return
    await exchange.begin(200, [_EVENT_STREAM, *headers])
    await exchange.write(answer.opening())
    for delta in streaming.deltas(answer.reply):
        await exchange.write(delta)
    await exchange.write(streaming.closing(answer.reply, answer.usage), more=False)


async def lose(
    exchange: Exchange, answer: Answer, fault: TransportFault, headers: list[Header], *, stall_s: float
) -> None:
    """Send some of it, or none, and break off."""
    if fault is TransportFault.RESET:
        await exchange.reset()
    elif fault is TransportFault.STALL:
        if not await exchange.gone_within(stall_s):
            await exchange.hang_up()
    elif answer.streamed:
        await _break_stream(exchange, answer, fault, headers)
    else:
        await _truncate(exchange, answer, headers)


async def _truncate(exchange: Exchange, answer: Answer, headers: list[Header]) -> None:
    body = json.dumps(answer.as_json()).encode()
    promised = (b"content-length", b"%d" % len(body))
    await exchange.begin(200, [(b"content-type", b"application/json"), promised, *headers])
    await exchange.write(body[: len(body) // 2])
    await exchange.hang_up()


async def _break_stream(exchange: Exchange, answer: Answer, fault: TransportFault, headers: list[Header]) -> None:
    first, *rest = streaming.deltas(answer.reply)
    await exchange.begin(200, [_EVENT_STREAM, *headers])
    await exchange.write(answer.opening() + first)
    if fault is TransportFault.EARLY_END:
        await exchange.write(b"".join(rest), more=False)
    elif fault is TransportFault.STREAM_OVERLOAD:
        await exchange.write(streaming.error_event(OVERLOADED), more=False)
    else:
        torn = b"".join(rest)
        await exchange.write(torn[: len(torn) // 2 + 1])
        await exchange.hang_up()
