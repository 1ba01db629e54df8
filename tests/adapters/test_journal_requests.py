"""What is asked of an execution's owner: the table, and the desk that looks at it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from alembic import command
from alembic.config import Config

from mge_ray.adapters.journal import (
    ControlRequest,
    SchemaError,
    SqlJournal,
    Standing,
    default_url,
    list_executions,
    move_request,
    open_requests,
    put_request,
    read_request,
    upgrade,
)
from mge_ray.adapters.journal.database import MIGRATIONS, locate, writer_engine
from mge_ray.cluster.request_desk import RequestDesk
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from tests.builders import plan, settings
from tests.engines import engine, until
from tests.fakes.llm import ScriptedClient

ID, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def url(tmp_path):
    return default_url(tmp_path)


@pytest.fixture
def journal_url(url):
    upgrade(url)
    return url


def test_open_requests_are_found_in_order_for_the_executions_that_are_looked_after(journal_url):
    first, second = (ControlRequest(ID, 1, verb, {"reason": "why"}, "ann") for verb in ("pause", "cancel"))
    for request in (first, ControlRequest(OTHER, 1, "pause"), second):
        put_request(journal_url, request)
    assert open_requests(journal_url, [ID]) == [first, second]
    assert open_requests(journal_url, []) == []


def test_a_request_is_taken_or_withdrawn_but_not_both(journal_url):
    request = ControlRequest(ID, 1, "pause")
    put_request(journal_url, request)
    assert move_request(journal_url, request.request_id, Standing.OPEN, Standing.TAKEN)
    assert not move_request(journal_url, request.request_id, Standing.OPEN, Standing.WITHDRAWN)
    assert move_request(journal_url, request.request_id, Standing.TAKEN, Standing.REFUSED, "no: \ud83d\0")
    assert open_requests(journal_url, [ID]) == []
    told = read_request(journal_url, request.request_id)
    assert (told.standing, told.answer) == (Standing.REFUSED, "no: \N{REPLACEMENT CHARACTER}")


def test_executions_of_the_former_schema_are_kept_by_the_upgrade(url):
    location = locate(url)
    location.path.parent.mkdir(parents=True)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with writer_engine(location).connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO executions VALUES "
            "(?, ?, 'old', x'00', '{}', 'paused', '', 1, 1.0, 1.0, '{}', 0, 'h', 1, NULL, NULL)",
            (str(ID), str(OTHER)),
        )
    with pytest.raises(SchemaError, match="`mge-ray run` or `resume` with this database upgrades it"):
        list_executions(url)
    upgrade(url)
    (kept,) = list_executions(url)
    assert (kept.execution_id, kept.name, kept.status, kept.run_options) == (ID, "old", ExecutionStatus.PAUSED, None)


async def test_the_desk_refuses_what_was_meant_for_another_owner_or_makes_no_sense(url):
    client, journal = ScriptedClient(), SqlJournal(url)
    client.gate.clear()
    service = ExecutionServiceV2(engine(client, journal=journal))
    execution_id = await service.start_plan(plan("a"), settings=settings())
    await until(lambda: client.in_flight)
    wishes = {
        "the execution has changed hands since": ControlRequest(execution_id, 7, "cancel"),
        "'explode' is not understood": ControlRequest(execution_id, 1, "explode"),
        "'pause' is not understood": ControlRequest(execution_id, 1, "pause", {"loudly": True}),
        "has no atom 'b'": ControlRequest(execution_id, 1, "approve", {"atom_id": "b", "by": "ann"}),
        "": ControlRequest(execution_id, 1, "cancel"),
    }
    for request in wishes.values():
        put_request(url, request)
    await RequestDesk(url, service).look()
    for answer, request in wishes.items():
        assert answer in read_request(url, request.request_id).answer
    assert (await service.get_execution_state(execution_id)).status is ExecutionStatus.CANCELLED
    await service.close()
    journal.close()


async def test_the_desk_goes_on_when_the_journal_is_away_for_a_moment(url, monkeypatch):
    looked = []

    class Away(RequestDesk):
        async def look(self):
            looked.append(1)
            raise SchemaError("away")

    monkeypatch.setattr("mge_ray.cluster.request_desk.LISTEN_EVERY_S", 0.0)
    listening = asyncio.ensure_future(Away(url, ExecutionServiceV2(engine())).listen())
    await until(lambda: len(looked) > 1)
    listening.cancel()
