from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mge_ray.adapters.journal import (
    ControlRequest,
    NoDatabaseError,
    SqlJournal,
    Standing,
    list_executions,
    load_events,
    load_execution,
    move_request,
    open_requests,
    put_request,
    read_request,
    upgrade,
)
from mge_ray.adapters.journal.database import writer_engine
from mge_ray.adapters.journal.urls import locate
from mge_ray.domain import events as e
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.ports import JournalUnavailableError

PLAN = Masterplan(name="p", atoms=(AtomicUnit(id="a", file="m.py", symbol="f"),))
SETTINGS = e.ExecutionSettings(policy=AttemptPolicy(model="m"))


async def append(journal: SqlJournal, execution_id: UUID, *reasons: str) -> None:
    state = ExecutionState(
        execution_id=execution_id,
        masterplan_id=PLAN.masterplan_id,
        status=ExecutionStatus.RUNNING,
        total_waves=1,
        atoms_total=1,
    )
    await journal.append(execution_id, 1, [e.PauseRequested(1.0, reason) for reason in reasons], state)


def reasons(url: str, execution_id: UUID) -> list[str]:
    return [event.reason for event in load_events(url, execution_id) if isinstance(event, e.PauseRequested)]


@pytest.fixture
def journal(postgres_server):
    journal = SqlJournal(postgres_server.url)
    yield journal
    journal.close()
    if postgres_server.process.poll() is not None:
        postgres_server.start()


async def test_requests_reach_the_owner_and_its_answer_whoever_asked(postgres_server, journal):
    execution_id = uuid4()
    epoch = await journal.create(execution_id, PLAN, SETTINGS)
    await journal.set_run_options(execution_id, epoch, '{"out": "/there"}')
    request = ControlRequest(execution_id, epoch, "pause", {"reason": "half \ud83d\0"}, "ann")
    put_request(postgres_server.url, request)
    (found,) = open_requests(postgres_server.url, [execution_id])
    assert (found, load_execution(postgres_server.url, execution_id).run_options) == (request, '{"out": "/there"}')
    assert move_request(postgres_server.url, request.request_id, Standing.OPEN, Standing.TAKEN)
    assert not move_request(postgres_server.url, request.request_id, Standing.OPEN, Standing.WITHDRAWN)
    assert read_request(postgres_server.url, request.request_id).standing is Standing.TAKEN


async def test_a_server_that_is_gone_is_said_clearly_and_writing_goes_on_when_it_is_back(postgres_server, journal):
    execution_id = uuid4()
    await journal.create(execution_id, PLAN, SETTINGS)
    await append(journal, execution_id, "before")
    postgres_server.stop(signal.SIGQUIT)
    with pytest.raises(JournalUnavailableError, match="check that the server runs") as caught:
        await append(journal, execution_id, "lost")
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(JournalUnavailableError, match="not available"):
        list_executions(postgres_server.url)
    postgres_server.start()
    await append(journal, execution_id, "after")
    assert reasons(postgres_server.url, execution_id) == ["before", "after"]


async def test_a_restart_between_two_appends_is_not_noticed(postgres_server, journal):
    execution_id = uuid4()
    await journal.create(execution_id, PLAN, SETTINGS)
    await append(journal, execution_id, "before")
    postgres_server.stop(signal.SIGINT)
    postgres_server.start()
    await append(journal, execution_id, "after")
    assert reasons(postgres_server.url, execution_id) == ["before", "after"]


@asynccontextmanager
async def proxy(server_port: int, *, armed: asyncio.Event) -> AsyncIterator[int]:
    """Pass everything on; when armed, pass one commit on and hang up before the server's answer arrives."""
    connections: list[asyncio.Task[None]] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        upstream, downstream = await asyncio.open_connection("127.0.0.1", server_port)
        answers = asyncio.ensure_future(pump(upstream, writer))
        while data := await reader.read(1 << 16):
            dying = b"COMMIT" in data and armed.is_set()
            if dying:
                answers.cancel()
                await asyncio.wait([answers])
            downstream.write(data)
            if dying:
                await upstream.read(1)  # the server has carried it out
                armed.clear()
                break
        answers.cancel()
        await asyncio.wait([answers])
        for stream in (downstream, writer):
            stream.close()
            with contextlib.suppress(ConnectionError):
                await stream.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        await asyncio.wait(connections)
    finally:
        server.close()
        await server.wait_closed()


async def test_a_commit_whose_answer_is_lost_is_not_written_twice(postgres_server):
    armed, execution_id = asyncio.Event(), uuid4()
    async with proxy(postgres_server.port, armed=armed) as port:
        journal = SqlJournal(postgres_server.url_through(port))
        await journal.create(uuid4(), PLAN, SETTINGS)
        armed.set()
        await journal.create(execution_id, PLAN, SETTINGS)
        assert not armed.is_set(), "the commit was not caught"
        await append(journal, execution_id, "first")
        armed.set()
        await append(journal, execution_id, "second")
        assert not armed.is_set(), "the commit was not caught"
        await append(journal, execution_id, "third")
        await asyncio.to_thread(journal.close)
    assert reasons(postgres_server.url, execution_id) == ["first", "second", "third"]
    assert load_execution(postgres_server.url, execution_id).last_seq == 3


async def test_a_writer_frozen_in_its_transaction_does_not_stop_a_take_over_for_ever(postgres_server, journal):
    execution_id = uuid4()
    await journal.create(execution_id, PLAN, SETTINGS)
    frozen = writer_engine(locate(postgres_server.url)).connect()
    held = text("SELECT 1 FROM executions WHERE execution_id = :id FOR UPDATE")
    frozen.execute(held, {"id": str(execution_id)})
    assert await journal.take_over(execution_id) == 2
    with pytest.raises(DBAPIError):
        frozen.execute(held, {"id": str(execution_id)})
    frozen.close()


async def test_several_that_upgrade_at_the_same_moment_do_not_hurt_each_other(postgres_server):
    postgres_server.run("CREATE DATABASE fresh")
    url = postgres_server.url.removesuffix("/journal") + "/fresh"
    await asyncio.gather(*(asyncio.to_thread(upgrade, url) for _ in range(3)))
    assert list_executions(url) == []


def test_a_server_without_a_journal_has_no_executions_yet(postgres_server):
    with pytest.raises(NoDatabaseError, match="no executions yet"):
        list_executions(postgres_server.url.removesuffix("/journal") + "/postgres")
