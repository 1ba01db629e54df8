"""CarriedOut: what a client has sent is carried out to its end, also when the client does not wait for the answer."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ONLY_LOOK = frozenset({"GET", "HEAD", "OPTIONS"})


class CarriedOut:
    """Middleware that lets requests which change something run on when the server gives them up.

    A server cancels a request whose client has gone. Half a body still starts nothing: its end is never received.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in _ONLY_LOOK:
            await self._app(scope, receive, send)
            return
        heard = True

        async def answer(message: Message) -> None:
            if heard:
                await send(message)

        async def carry_out() -> None:
            await self._app(scope, receive, answer)

        task = asyncio.create_task(carry_out())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            heard = False
            raise
