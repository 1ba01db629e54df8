"""`mge-ray db`: a journal is backed up while it is written, put back, and relieved of what ended long ago."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid

import pytest

from mge_ray.adapters.journal import (
    ControlRequest,
    SqlJournal,
    UpkeepError,
    back_up,
    default_url,
    list_executions,
    load_events,
    put_request,
    restore,
)
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.retry import AttemptPolicy
from tests.builders import PASSED, Driven, plan

DAY_S = 86_400.0


def write(url, *, days_ago, verdict=None, pause=False):
    """Write an execution of one atom: ended as the verdict says, paused, or left while it ran; return its id."""
    at = time.time() - days_ago * DAY_S
    run = Driven(ExecutionMachine(uuid.uuid4(), plan("a")), now=at)
    run.start(policy=AttemptPolicy(model="m", max_attempts=1))
    if verdict is not None:
        run.attempt("a", verdict)
    if pause:
        run.pause()

    async def store():
        journal = SqlJournal(url, clock=lambda: at)
        epoch = await journal.create(run.machine.execution_id, run.machine.plan, run.machine.settings)
        await journal.append(run.machine.execution_id, epoch, run.events, execution_state(run.machine))
        journal.close()

    asyncio.run(store())
    put_request(url, ControlRequest(run.machine.execution_id, 1, "pause"))
    return run.machine.execution_id


@pytest.fixture
def url(tmp_path):
    return default_url(tmp_path)


def ids(url):
    return {stored.execution_id for stored in list_executions(url)}


def test_a_backup_is_whole_while_others_write_and_brings_back_what_it_held(cli, url, tmp_path):
    kept = write(url, days_ago=1)
    writer = sqlite3.connect(tmp_path / ".mge" / "journal.db")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE executions SET name = 'not committed'")
    ran = cli("db", "backup", "safe/journal.backup")
    assert ran.code == 0, ran.err
    writer.rollback()
    writer.close()
    events = load_events(url, kept)
    later = write(url, days_ago=0.5)
    assert ids(url) == {kept, later}
    ran = cli("db", "restore", "safe/journal.backup")
    assert ran.code == 0, ran.err
    assert (ids(url), load_events(url, kept)) == ({kept}, events)
    assert [stored.name for stored in list_executions(url)] == ["plan"]
    (former,) = (tmp_path / ".mge").glob("journal.db.before-restore-*")
    assert str(former) in ran.out
    assert ids(f"sqlite:///{former}") == {kept, later}


def test_a_backup_replaces_no_file(cli, url, tmp_path):
    write(url, days_ago=1)
    (tmp_path / "taken").write_text("mine")
    ran = cli("db", "backup", "taken")
    assert (ran.code, "exists already" in ran.err, (tmp_path / "taken").read_text()) == (2, True, "mine")


def test_nothing_is_backed_up_where_there_is_no_journal(cli, tmp_path):
    assert "no executions yet" in cli("db", "backup", "file").err
    assert "no executions yet" in cli("db", "prune", "--older-than", "1").err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_journal_is_not_restored(cli, url, tmp_path):
    kept = write(url, days_ago=1)
    (tmp_path / "novel").write_text("It was a dark and stormy night. " * 100)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE novels (title TEXT)").connection.close()
    for name in ("novel", "other.db", "missing"):
        assert cli("db", "restore", name).code == 2
    assert ids(url) == {kept}


def test_a_damaged_backup_is_not_restored(url, tmp_path):
    kept = write(url, days_ago=1)
    back_up(url, tmp_path / "backup")
    data = bytearray((tmp_path / "backup").read_bytes())
    data[5_000 : len(data) - 1] = bytes(len(data) - 5_001)
    (tmp_path / "backup").write_bytes(data)
    with pytest.raises(UpkeepError):
        restore(tmp_path / "backup", url)
    assert ids(url) == {kept}


def test_a_full_disk_keeps_the_journal_as_it_was_and_leaves_no_half_backup(cli, url, tiny_disk):
    kept = write(url, days_ago=1)
    (tiny_disk / "ballast").write_bytes(bytes(3 * 2**20 - 8192))
    ran = cli("db", "backup", str(tiny_disk / "backup"))
    assert (ran.code, "could not be copied" in ran.err) == (2, True), ran
    assert [file.name for file in tiny_disk.iterdir()] == ["ballast"]
    assert ids(url) == {kept}


def test_a_journal_is_not_restored_from_itself(cli, url):
    kept = write(url, days_ago=1)
    assert "is the journal itself" in cli("db", "restore", ".mge/journal.db").err
    assert ids(url) == {kept}


def test_nothing_is_restored_under_somebody_who_works(cli, url, tmp_path):
    back_up_of = write(url, days_ago=1)
    back_up(url, tmp_path / "backup")
    busy = write(url, days_ago=0)
    ran = cli("db", "restore", "backup")
    assert (ran.code, f"works on execution {busy}" in ran.err) == (2, True)
    assert ids(url) == {back_up_of, busy}


def test_a_backup_goes_to_an_empty_place(url, tmp_path):
    kept = write(url, days_ago=1)
    back_up(url, tmp_path / "backup")
    elsewhere = f"sqlite:///{tmp_path}/new/place.db"
    assert restore(tmp_path / "backup", elsewhere) is None
    assert ids(elsewhere) == {kept}


def test_pruning_gives_the_space_back(cli, url, tmp_path):
    for _ in range(30):
        write(url, days_ago=40, verdict=PASSED)
    before = (tmp_path / ".mge" / "journal.db").stat().st_size
    assert "30 executions" in cli("db", "prune", "--older-than", "30").out
    assert (tmp_path / ".mge" / "journal.db").stat().st_size < before


@pytest.mark.parametrize(("verb", "tool"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_a_postgresql_journal_is_left_to_its_own_tools_without_showing_its_password(cli, verb, tool):
    ran = cli("db", verb, "file", "--db", "postgresql://ann:secret@db.example/journal")
    assert (ran.code, tool in ran.err, "secret" in ran.err) == (2, True, False)
    assert "postgresql://ann@db.example/journal" in ran.err
