"""Executions in real databases that were left behind: by an older mge-ray, by a torn write, by a database that went."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from contextlib import suppress
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from mge_ray.adapters.journal import (
    SchemaError,
    SqlJournal,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
    prune,
    upgrade,
)
from mge_ray.adapters.journal.database import MIGRATIONS, writer_engine
from mge_ray.adapters.journal.urls import locate
from mge_ray.domain.events import GenerationArrived
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.recovery import replay
from tests.builders import PASSED, failed, plan, settings
from tests.doors.test_db import write as write_execution
from tests.engines import service, until
from tests.fakes.llm import ScriptedClient

FIELDS_SINCE_0001 = ("priority", "forecast")
"""Of the settings; a journal of then does not have them."""
ATOMS = "a, b, a -> c, b -> d, c -> e"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database of each product."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    server, name = request.getfixturevalue("postgres_server"), f"journal_{uuid4().hex}"
    server.run(f"CREATE DATABASE {name}")
    return f"{server.url.removesuffix('/journal')}/{name}"


async def left_behind(url, *, killed=None):
    """Leave an execution in the middle of its second wave; return its id.

    With `killed`, that folder gets the files as a killed process leaves them: closing would empty the log.
    """
    journal, client = SqlJournal(url), ScriptedClient()
    held = ScriptedClient(gate=client.gate, on_call=lambda asked: asked.atom_id in "cd" and client.gate.clear())
    engine = service(held, journal=journal)
    execution_id = await engine.start_plan(plan(ATOMS), settings=settings())
    await until(lambda: {"c", "d"} <= set(held.atom_ids))
    await until(lambda: len(load_events(url, execution_id)) == engine.machine(execution_id).events_handled)
    await engine.close()
    if killed:
        for file in locate(url).path.parent.glob("journal.db*"):
            shutil.copy(file, killed / file.name)
    journal.close()
    return execution_id


async def resumed(url, execution_id):
    """Go on as `resume` does; return the machine at its end, and what was bought."""
    journal, client = SqlJournal(url), ScriptedClient()
    engine = service(client, journal=journal)
    events, stored = load_events(url, execution_id), load_execution(url, execution_id)
    await engine.recover_execution(execution_id, load_plan_of(url, execution_id), events, settings=stored.settings)
    state = await engine.wait(execution_id)
    await engine.close()
    journal.close()
    assert state.status is ExecutionStatus.COMPLETED
    machine = engine.machine(execution_id)
    assert replay(execution_id, machine.plan, load_events(url, execution_id)).snapshot() == machine.snapshot()
    return machine, client.atom_ids


def ids(url):
    return {stored.execution_id for stored in list_executions(url)}


def answered(url, execution_id):
    return {event.atom_id for event in load_events(url, execution_id) if isinstance(event, GenerationArrived)}


def downgrade(url, revision):
    """Make the database what an older mge-ray made of it: its tables, and its JSON without what came later."""
    engine = writer_engine(locate(url))
    with engine.connect() as connection, connection.begin():
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        rows = connection.execute(text("SELECT execution_id, settings FROM executions")).all()
        for execution_id, stored in rows:
            older = json.dumps({k: v for k, v in json.loads(stored).items() if k not in FIELDS_SINCE_0001})
            connection.execute(
                text("UPDATE executions SET settings = :older WHERE execution_id = :id"),
                {"older": older, "id": execution_id},
            )
            started = connection.execute(
                text("SELECT payload FROM events WHERE execution_id = :id AND seq = 1"), {"id": execution_id}
            ).scalar()
            event = json.loads(started)
            event["settings"] = json.loads(older)
            connection.execute(
                text("UPDATE events SET payload = :payload WHERE execution_id = :id AND seq = 1"),
                {"payload": json.dumps(event), "id": execution_id},
            )


async def test_an_unfinished_execution_of_the_first_schema_is_upgraded_and_resumed(url):
    execution_id = await left_behind(url)
    downgrade(url, "0001")
    with pytest.raises(SchemaError, match="older schema '0001'"):
        load_execution(url, execution_id)
    upgrade(url)
    before = answered(url, execution_id)
    machine, bought = await resumed(url, execution_id)
    assert before >= {"a", "b"}
    assert not before & set(bought)
    assert set(machine.accepted_codes()) == set("abcde")


async def test_every_write_torn_off_the_log_leaves_an_execution_that_can_be_resumed(tmp_path):
    killed = tmp_path / "killed"
    killed.mkdir()
    execution_id = await left_behind(f"sqlite:///{tmp_path}/journal.db", killed=killed)
    log = (killed / "journal.db-wal").read_bytes()
    found = []
    for part in range(20):
        torn = tmp_path / f"torn{part}.db"
        shutil.copy(killed / "journal.db", torn)
        torn.with_name(f"{torn.name}-wal").write_bytes(log[: len(log) - part * len(log) // 200 - (part > 0)])
        found.append(len(load_events(f"sqlite:///{torn}", execution_id)))
    assert found == sorted(found, reverse=True)
    assert found[0] > found[1] >= found[-1] > 0
    for part in (1, 19):
        torn_url = f"sqlite:///{tmp_path}/torn{part}.db"
        before = answered(torn_url, execution_id)
        machine, bought = await resumed(torn_url, execution_id)
        assert not before & set(bought)
        assert set(machine.accepted_codes()) == set("abcde")


def test_pruning_takes_out_what_ended_long_ago_and_nothing_else(url):
    completed, recent = (
        write_execution(url, days_ago=40, verdict=PASSED),
        write_execution(url, days_ago=5, verdict=PASSED),
    )
    broken = write_execution(url, days_ago=40, verdict=failed())
    paused, interrupted = write_execution(url, days_ago=40, pause=True), write_execution(url, days_ago=40)
    assert prune(url, older_than_days=30, keep_failed=True).executions == 1
    assert {recent, broken, paused, interrupted} <= ids(url)
    assert completed not in ids(url)
    assert load_events(url, completed) == []
    pruned = prune(url, older_than_days=30)
    assert (pruned.executions, broken in ids(url)) == (1, False)
    assert pruned.rows > 2
    assert {recent, paused, interrupted} <= ids(url)


async def test_a_server_that_stops_stops_the_buying_and_the_execution_goes_on_when_it_is_back(postgres_server):
    journal, client = SqlJournal(postgres_server.url), ScriptedClient()
    client.gate.clear()
    engine = service(client, journal=journal)
    try:
        execution_id = await engine.start_plan(plan(ATOMS), settings=settings())
        await until(lambda: client.in_flight == 2)
        await asyncio.to_thread(postgres_server.stop, signal.SIGQUIT)
        client.gate.set()
        await until(lambda: engine.trouble(execution_id))
        assert "check that the server runs" in engine.trouble(execution_id)
        assert client.atom_ids == ["a", "b"], "nothing is bought while nothing can be written"
    finally:
        await asyncio.to_thread(postgres_server.start)
    state = await engine.wait(execution_id)
    assert (state.status, engine.trouble(execution_id)) == (ExecutionStatus.COMPLETED, "")
    assert sorted(client.atom_ids) == list("abcde")
    assert len(load_events(postgres_server.url, execution_id)) == engine.machine(execution_id).events_handled
    await engine.close()
    journal.close()


async def test_a_full_disk_stops_the_buying_and_the_execution_goes_on_when_there_is_room(tiny_disk):
    url = f"sqlite:///{tiny_disk}/journal.db"
    journal, client = SqlJournal(url), ScriptedClient()
    client.gate.clear()
    engine = service(client, journal=journal)
    execution_id = await engine.start_plan(plan(ATOMS), settings=settings())
    await until(lambda: client.in_flight == 2)
    fill(tiny_disk / "ballast")
    client.default = f"good = {'x' * 20_000!r}\n"
    client.gate.set()
    await until(lambda: engine.trouble(execution_id))
    assert "free some disk space" in engine.trouble(execution_id)
    assert client.atom_ids == ["a", "b"], "nothing is bought while nothing can be written"
    (tiny_disk / "ballast").unlink()
    assert (await engine.wait(execution_id)).status is ExecutionStatus.COMPLETED
    assert sorted(client.atom_ids) == list("abcde")
    assert load_execution(url, execution_id).status is ExecutionStatus.COMPLETED
    await engine.close()
    journal.close()


def fill(path):
    """Write until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
