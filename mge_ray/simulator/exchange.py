"""One HTTP exchange: reading the request, answering it, and the ways of breaking a connection.

Owns everything that touches ASGI. A connection can only be broken properly where the server hands its transport over
in the ASGI state, as `server` does; elsewhere an unfinished response is simply left, and the server closes.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mge_ray.simulator.limits import Header
from mge_ray.simulator.messages import ApiError, error_body

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

TRANSPORT = "simulator.transport"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_JSON = (b"content-type", b"application/json")


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    """A request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str) -> None:
        self.request_id = request_id
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.delivered = False
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport | None = scope.get("state", {}).get(TRANSPORT)

    @property
    def connected(self) -> bool:
        """Whether the client still listens, as far as the operating system has told."""
        return self._transport is None or not self._transport.is_closing()

    async def body(self, limit: int) -> bytes:
        """Read the request to its end, or a client that is still sending would not see the refusal.

        Raises ApiError 413 beyond `limit` bytes, ClientGoneError.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            part: bytes = event.get("body", b"")
            size += len(part)
            if size <= limit:
                parts.append(part)
            if not event.get("more_body", False):
                break
        if size > limit:
            raise ApiError(413, "request_too_large", f"Request exceeds the maximum size of {limit} bytes")
        return b"".join(parts)

    async def gone_within(self, seconds: float) -> bool:
        """Wait, and say whether the client left meanwhile."""
        if seconds <= 0:
            return not self.connected
        try:
            await asyncio.wait_for(self._receive(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Send the status line and headers."""
        named = [(b"request-id", self.request_id.encode()), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the body; `delivered` notes whether the last one met a client that still listened."""
        if not more:
            # Asked before: after the last piece the server itself may close the connection.
            self.delivered = self.connected
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def reply(self, status: int, body: bytes, headers: list[Header]) -> None:
        """Send a whole response of known length."""
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(body, more=False)

    async def reply_json(self, status: int, body: dict[str, Any], headers: list[Header]) -> None:
        """Send a whole JSON response."""
        await self.reply(status, json.dumps(body, separators=(",", ":")).encode(), [_JSON, *headers])

    async def refuse(self, error: ApiError, headers: list[Header]) -> None:
        """Send an error, with retry-after where it has one."""
        if error.retry_after_s is not None:
            headers = [*headers, (b"retry-after", f"{error.retry_after_s:g}".encode())]
        await self.reply_json(error.status, error_body(error, self.request_id), headers)

    async def hang_up(self) -> None:
        """Close without finishing the response; what was written still arrives."""
        if self._transport is not None:
            self._transport.close()
            await self._receive()

    async def reset(self) -> None:
        """Close so that the client sees a connection reset."""
        if self._transport is not None:
            sock: socket.socket | None = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
            await self._receive()
