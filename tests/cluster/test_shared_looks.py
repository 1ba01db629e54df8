"""Many who ask the same at once are one question; errors and those who leave are nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from mge_ray.cluster.shared_looks import KEPT, SharedLooks


class Asked:
    """Something that is asked and counts how often; it answers when the gate is open."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.count += 1
        answer = self.count
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return answer


async def test_who_asks_within_a_moment_gets_what_the_first_one_got():
    now = 0.0
    looks, asked = SharedLooks(0.1, clock=lambda: now), Asked()
    waiting = [asyncio.create_task(looks.look("a", asked)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    asked.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1, 1, 1]
    now = 0.05
    assert await looks.look("a", asked) == 1
    now = 0.1
    assert await looks.look("a", asked) == 2


async def test_a_question_that_takes_long_is_not_joined_by_those_who_ask_later():
    now = 0.0
    looks, asked = SharedLooks(0.1, clock=lambda: now), Asked()
    first = asyncio.create_task(looks.look("a", asked))
    await asyncio.sleep(0)
    now = 0.1
    second = asyncio.create_task(looks.look("a", asked))
    await asyncio.sleep(0)
    asked.gate.set()
    assert (await first, await second) == (1, 2)


async def test_an_error_is_told_to_those_who_waited_and_not_kept():
    looks, asked = SharedLooks(1_000.0), Asked()
    asked.error = ValueError("away")
    waiting = [asyncio.create_task(looks.look("a", asked)) for _ in range(2)]
    asked.gate.set()
    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [ValueError, ValueError]
    asked.error = None
    assert await looks.look("a", asked) == 2
    with pytest.raises(ValueError, match="gone"):
        await looks.look("b", failing)


async def failing():
    raise ValueError("gone")


async def test_it_keeps_a_bounded_number_of_answers():
    looks, asked = SharedLooks(1_000.0), Asked()
    asked.gate.set()
    for key in range(KEPT + 1):
        await looks.look(key, asked)
    assert await looks.look(0, asked) == KEPT + 2, "the oldest was forgotten"
    assert await looks.look(KEPT, asked) == KEPT + 1
