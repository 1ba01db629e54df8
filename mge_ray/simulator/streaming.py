"""A message as server-sent events, in the order the SDK expects them.

Owns the events; when they are sent, and where a fault breaks them off, is left to `app`.
"""

import json
from collections.abc import Iterator
from typing import Any

from mge_ray.simulator.messages import ApiError, Reply, message_body, stop_details, usage_body
from mge_ray.simulator.promptcache import InputUsage

_PIECES = 4
"""Writes per answer: enough to be a stream, few enough to stay cheap at hundreds of answers a second."""


def event(kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - any JSON
    """Write one server-sent event."""
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def opening(message_id: str, model: str, reply: Reply, usage: InputUsage) -> bytes:
    """Write everything before the text: the message without content, output or stop reason."""
    message = message_body(message_id, model, reply, usage)
    message.update(content=[], stop_reason=None, stop_details=None, usage=usage_body(usage, 1))
    start = event("message_start", message=message)
    if not reply.text:
        return start
    return start + event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + event("ping")


def deltas(reply: Reply) -> Iterator[bytes]:
    """Yield the text in a few pieces."""
    step = max(1, -(-len(reply.text) // _PIECES))
    for start in range(0, len(reply.text), step):
        delta = {"type": "text_delta", "text": reply.text[start : start + step]}
        yield event("content_block_delta", index=0, delta=delta)


def closing(reply: Reply, usage: InputUsage) -> bytes:
    """Write stop reason and final usage; a stream that ends without them is broken."""
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": None, "stop_details": stop_details(reply)}
    end = event("content_block_stop", index=0) if reply.text else b""
    return (
        end + event("message_delta", delta=delta, usage=usage_body(usage, reply.output_tokens)) + event("message_stop")
    )


def error_event(error: ApiError) -> bytes:
    """Write a refusal in the middle of a stream, whose status was 200 long ago."""
    return event("error", error={"type": error.kind, "message": error.message})
