"""Many who ask the same at once are one question that begins after them; an error is told to those who waited."""

from __future__ import annotations

import asyncio

import pytest

from mge_ray.cluster.shared_looks import KEPT, SharedLooks

APART_S = 0.01


class Asked:
    """Something that is asked and counts how often; it answers when the gate is open."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.begun = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.count += 1
        answer = self.count
        self.begun.release()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return answer


async def test_those_who_ask_at_once_share_one_question_whoever_leaves():
    looks, asked = SharedLooks(APART_S), Asked()
    waiting = [asyncio.create_task(looks.look("a", asked)) for _ in range(5)]
    await asked.begun.acquire()
    waiting[0].cancel()
    asked.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1, 1, 1]


async def test_a_question_that_has_begun_is_not_joined_the_next_one_is():
    looks, asked = SharedLooks(APART_S), Asked()
    first = asyncio.create_task(looks.look("a", asked))
    await asked.begun.acquire()
    later = [asyncio.create_task(looks.look("a", asked)) for _ in range(3)]
    await asked.begun.acquire()
    asked.gate.set()
    assert await asyncio.gather(first, *later) == [1, 2, 2, 2]
    assert await looks.look("a", asked) == 3, "an answer is nobody's who came after it"


async def test_questions_begin_apart_for_one_key_and_not_for_another():
    now, slept = 100.0, []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    looks, asked = SharedLooks(0.5, clock=lambda: now, sleep=sleep), Asked()
    asked.gate.set()
    assert (await looks.look("a", asked), await looks.look("b", asked)) == (1, 2)
    assert slept == []
    now = 100.2
    assert await looks.look("a", asked) == 3
    assert slept == [pytest.approx(0.3)]
    now = 101.0
    await looks.look("a", asked)
    assert len(slept) == 1


async def test_an_error_is_told_to_those_who_waited_and_not_kept():
    looks, asked = SharedLooks(APART_S), Asked()
    asked.error = ValueError("away")
    waiting = [asyncio.create_task(looks.look("a", asked)) for _ in range(2)]
    asked.gate.set()
    assert [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)] == [ValueError, ValueError]
    asked.error = None
    assert await looks.look("a", asked) == 2


async def test_it_remembers_a_bounded_number_of_keys():
    looks, asked = SharedLooks(APART_S), Asked()
    asked.gate.set()
    for key in range(KEPT + 5):
        await looks.look(key, asked)
    assert looks.remembered == KEPT
