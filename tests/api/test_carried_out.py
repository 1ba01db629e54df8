"""What changes something runs to its end, whoever waits for the answer; what only looks does not."""

from __future__ import annotations

import asyncio

import pytest

from mge_ray.api.carried_out import CarriedOut


class Work:
    """An app that works until its gate opens, then answers, and says what became of it."""

    def __init__(self) -> None:
        self.begun, self.gate, self.became = asyncio.Event(), asyncio.Event(), "nothing"

    async def __call__(self, scope, receive, send) -> None:
        del scope, receive
        self.begun.set()
        try:
            await self.gate.wait()
            await send({"type": "http.response.start", "status": 202, "headers": []})
            self.became = "done"
        except asyncio.CancelledError:
            self.became = "given up"
            raise


async def left(method: str) -> tuple[Work, list[str]]:
    """Send a request, leave while it is worked on, and let the work end."""
    work, answers = Work(), []

    async def send(message) -> None:
        answers.append(message["type"])

    request = asyncio.create_task(CarriedOut(work)({"type": "http", "method": method}, None, send))
    await work.begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    work.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    return work, answers


async def test_a_start_whose_client_has_left_is_carried_out_and_nobody_is_answered():
    work, answers = await left("POST")
    assert (work.became, answers) == ("done", [])


async def test_a_look_whose_client_has_left_is_given_up():
    work, answers = await left("GET")
    assert (work.became, answers) == ("given up", [])


async def test_who_waits_is_answered_and_told_what_went_wrong():
    work, answers = Work(), []

    async def send(message) -> None:
        answers.append(message["type"])

    work.gate.set()
    await CarriedOut(work)({"type": "http", "method": "POST"}, None, send)
    assert answers == ["http.response.start"]

    async def broken(scope, receive, send) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await CarriedOut(broken)({"type": "http", "method": "POST"}, None, send)
