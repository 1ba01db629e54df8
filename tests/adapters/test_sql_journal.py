from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from mge_ray.adapters import journal as package
from mge_ray.adapters.journal import (
    JournalUrlError,
    NoDatabaseError,
    SchemaError,
    SqlJournal,
    StoredExecution,
    UnreadableJournalError,
    default_url,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
    normalise_url,
    shown_url,
    upgrade,
)
from mge_ray.adapters.journal.tables import REVISIONS, VERSION_TABLE, metadata
from mge_ray.domain import events as e
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.errors import MgeRayError, UnknownExecutionError
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.ports import JournalUnavailableError

PLAN = Masterplan(name="p", atoms=(AtomicUnit(id="a", file="m.py", symbol="f"),))
SETTINGS = e.ExecutionSettings(policy=AttemptPolicy(model="m"))
REPOSITORY = Path(__file__).parents[2]

# A writer in a process of its own: one append after the other, each acknowledged on stdout when it is durable.
WRITER = """
    import asyncio, os, resource, sys
    from uuid import UUID
    sys.path.insert(0, os.getcwd())
    from tests.adapters.test_sql_journal import PLAN, SETTINGS, append
    from mge_ray.adapters.journal import SqlJournal
    from mge_ray.execution.ports import JournalUnavailableError

    async def main(url, execution_id, size):
        journal = SqlJournal(url)
        await journal.create(execution_id, PLAN, SETTINGS)
        {body}

    asyncio.run(main(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
"""
FOR_EVER = """
        number = 0
        while True:
            await append(journal, execution_id, *(f"{number}.{part}" for part in range(3)), padding=size)
            print(number, flush=True)
            number += 1
"""
UNTIL_THE_FILE_MAY_NOT_GROW = """
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        number = 0
        try:
            while number < 1000:
                await append(journal, execution_id, str(number), padding=size)
                number += 1
        except JournalUnavailableError as error:
            print(number, error, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await append(journal, execution_id, "afterwards")
        journal.close()
"""


async def append(journal: SqlJournal, execution_id: UUID, *reasons: str, padding: int = 0) -> None:
    state = ExecutionState(
        execution_id=execution_id,
        masterplan_id=PLAN.masterplan_id,
        status=ExecutionStatus.RUNNING,
        total_waves=1,
        atoms_total=1,
    )
    events = [e.PauseRequested(1.0, reason + " " * padding) for reason in reasons]
    await journal.append(execution_id, 1, events, state)


def reasons(url: str, execution_id: UUID) -> list[str]:
    return [event.reason.strip() for event in load_events(url, execution_id) if isinstance(event, e.PauseRequested)]


def writer(body: str, url: str, execution_id: UUID, size: int) -> subprocess.Popen[str]:
    program = textwrap.dedent(WRITER).format(body=textwrap.dedent(body).replace("\n", "\n    "))
    command = [sys.executable, "-c", program, url, str(execution_id), str(size)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/journal.db"


@pytest.fixture
async def journal(url):
    journal = SqlJournal(url)
    yield journal
    journal.close()


async def created(journal: SqlJournal) -> UUID:
    execution_id = uuid4()
    await journal.create(execution_id, PLAN, SETTINGS)
    return execution_id


class TestSurvives:
    def test_a_writer_killed_in_the_middle_leaves_a_prefix_with_everything_it_was_told_is_durable(self, url):
        execution_id = uuid4()
        process = writer(FOR_EVER, url, execution_id, 2_000)
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        acknowledged = max(map(int, out.split()), default=0)
        found = reasons(url, execution_id)
        assert len(found) >= 3 * (acknowledged + 1)
        assert found == [f"{index // 3}.{index % 3}" for index in range(len(found))]
        assert len(found) % 3 == 0, "an append is whole or not there"
        assert load_execution(url, execution_id).last_seq == len(found)

    def test_a_file_that_may_not_grow_stops_writing_with_advice_and_writing_goes_on_afterwards(self, url):
        execution_id = uuid4()
        process = writer(UNTIL_THE_FILE_MAY_NOT_GROW, url, execution_id, 20_000)
        out, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        written, _, message = out.partition(" ")
        assert "not available" in message
        assert "nothing was written" in message
        assert reasons(url, execution_id) == [*map(str, range(int(written))), "afterwards"]

    async def test_a_full_disk_stops_writing_with_advice_and_writing_goes_on_when_there_is_room(self, tiny_disk):
        url = f"sqlite:///{tiny_disk}/journal.db"
        journal = SqlJournal(url)
        execution_id = await created(journal)
        (tiny_disk / "ballast").write_bytes(bytes(1 << 20))
        written = 0
        message = ""
        while not message:
            try:
                await append(journal, execution_id, str(written), padding=20_000)
                written += 1
            except JournalUnavailableError as error:
                message = str(error)
        assert "free some disk space" in message
        with pytest.raises(JournalUnavailableError):
            await append(journal, execution_id, "still full", padding=20_000)
        (tiny_disk / "ballast").unlink()
        await append(journal, execution_id, "afterwards")
        assert reasons(url, execution_id) == [*map(str, range(written)), "afterwards"]
        journal.close()

    async def test_a_removed_file_is_noticed_and_writing_goes_on_when_it_is_put_back(self, journal, url, tmp_path):
        execution_id = await created(journal)
        await append(journal, execution_id, "before")
        (tmp_path / "elsewhere").mkdir()
        for file in tmp_path.glob("journal.db*"):
            file.rename(tmp_path / "elsewhere" / file.name)
        for _ in range(2):
            with pytest.raises(JournalUnavailableError, match="put the same file back"):
                await append(journal, execution_id, "lost")
        for file in (tmp_path / "elsewhere").iterdir():
            file.rename(tmp_path / file.name)
        await append(journal, execution_id, "after")
        assert reasons(url, execution_id) == ["before", "after"]

    async def test_nothing_is_written_to_a_file_that_has_taken_the_place_of_the_journal(self, journal, url, tmp_path):
        execution_id = await created(journal)
        (tmp_path / "novel").write_text("It was a dark and stormy night. " * 100)
        (tmp_path / "journal.db").rename(tmp_path / "original")
        (tmp_path / "novel").rename(tmp_path / "journal.db")
        with pytest.raises(JournalUnavailableError, match="removed or replaced while in use"):
            await append(journal, execution_id, "lost")
        (tmp_path / "original").replace(tmp_path / "journal.db")
        await append(journal, execution_id, "after")
        assert reasons(url, execution_id) == ["after"]

    async def test_a_value_the_database_refuses_fails_alone(self, journal, url):
        execution_id = await created(journal)
        refused = journal.append(
            execution_id, 1, [e.AtomTimedOut(float("nan"), "a")], load_execution(url, execution_id).state
        )
        outcomes = await asyncio.gather(
            append(journal, execution_id, "one"), refused, append(journal, execution_id, "two"), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), JournalUnavailableError, type(None)]
        assert reasons(url, execution_id) == ["one", "two"]

    async def test_a_cancelled_caller_does_not_disturb_the_others(self, journal, url):
        execution_id = await created(journal)
        doomed = asyncio.ensure_future(append(journal, execution_id, "maybe"))
        await asyncio.sleep(0)
        doomed.cancel()
        await append(journal, execution_id, "certain")
        assert reasons(url, execution_id)[-1] == "certain"


class TestSchema:
    def test_migrations_make_exactly_the_tables_that_are_read_and_written(self, url):
        upgrade(url)
        engine = create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, metadata) == []
        engine.dispose()

    def test_the_listed_revisions_are_those_of_the_migrations(self):
        config = Config()
        config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        shipped = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        assert tuple(reversed(shipped)) == REVISIONS

    def test_upgrading_twice_changes_nothing(self, url, tmp_path, capfd):
        upgrade(url)
        before = (tmp_path / "journal.db").read_bytes()
        upgrade(url)
        assert (tmp_path / "journal.db").read_bytes() == before
        assert capfd.readouterr() == ("", "")

    def test_processes_that_upgrade_at_the_same_moment_do_not_hurt_each_other(self, url):
        program = (
            "import sys; from mge_ray.adapters.journal import upgrade; "
            "print('ready', flush=True); sys.stdin.readline(); upgrade(sys.argv[1])"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, url],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        assert [process.stdout.readline() for process in processes] == ["ready\n", "ready\n"]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            _, errors = process.communicate(timeout=30)
            assert (process.returncode, errors) == (0, "")
        assert list_executions(url) == []

    def test_threads_that_upgrade_at_the_same_moment_do_not_hurt_each_other(self, tmp_path):
        async def both() -> None:
            await asyncio.gather(*(asyncio.to_thread(upgrade, f"sqlite:///{tmp_path}/{n % 2}.db") for n in range(4)))

        asyncio.run(both())
        assert list_executions(f"sqlite:///{tmp_path}/0.db") == []

    async def test_a_schema_newer_than_this_program_is_refused_for_reading_and_writing(self, url, tmp_path):
        upgrade(url)
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
        connection.close()
        journal = SqlJournal(url)
        for attempt in (lambda: list_executions(url), lambda: upgrade(url)):
            with pytest.raises(SchemaError, match="'9999', newer than this mge-ray"):
                attempt()
        with pytest.raises(SchemaError, match="newer than this mge-ray"):
            await created(journal)
        journal.close()

    async def test_an_event_of_a_newer_version_is_refused_by_name(self, journal, url, tmp_path):
        execution_id = await created(journal)
        await append(journal, execution_id, "one", "two")
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            connection.execute("UPDATE events SET version = 99 WHERE seq = 2")
        connection.close()
        assert len(load_events(url, execution_id, upto_seq=1)) == 1
        with pytest.raises(MgeRayError, match="event version 99"):
            load_events(url, execution_id)


class TestReading:
    async def test_an_execution_is_found_by_its_id_or_the_beginning_of_it(self, journal, url):
        execution_id = await created(journal)
        for name in (
            execution_id,
            str(execution_id),
            execution_id.hex,
            str(execution_id).upper(),
            execution_id.hex[:4],
        ):
            assert load_execution(url, name).execution_id == execution_id
        assert load_execution(url, execution_id.hex[:11]).execution_id == execution_id

    async def test_a_beginning_that_fits_several_names_them(self, journal, url):
        ids = [UUID(f"abcd000{n}-0000-4000-8000-000000000000") for n in range(2)]
        for execution_id in ids:
            await journal.create(execution_id, PLAN, SETTINGS)
        with pytest.raises(UnknownExecutionError, match="fits 2 executions") as caught:
            load_execution(url, "abcd")
        assert all(str(execution_id) in str(caught.value) for execution_id in ids)
        assert load_execution(url, "abcd0001").execution_id == ids[1]

    @pytest.mark.parametrize("name", ["", "abc", "%%%%", "nothex", "a" * 33, "abcd'--"])
    async def test_what_cannot_be_an_id_is_refused(self, journal, url, name):
        await created(journal)
        with pytest.raises(UnknownExecutionError, match="is not an execution id"):
            load_execution(url, name)

    async def test_an_unknown_id_says_where_to_look(self, journal, url):
        await created(journal)
        with pytest.raises(UnknownExecutionError, match="`mge-ray list`"):
            load_execution(url, uuid4())
        with pytest.raises(UnknownExecutionError):
            load_plan_of(url, uuid4())

    async def test_an_owner_that_has_been_silent_for_long_leaves_an_interrupted_execution(self, url):
        now = 1_000.0
        journal = SqlJournal(url, clock=lambda: now)
        execution_id = await created(journal)
        stored = load_execution(url, execution_id)
        assert (stored.created_at, stored.heartbeat_at) == (now, now)
        assert not stored.interrupted(now + 9)
        assert stored.interrupted(now + 11)
        assert stored.told(now + 9) == stored.state
        assert stored.told(now + 11).reason.startswith("interrupted: ")
        now += 10
        await journal.heartbeat(execution_id, 1)
        assert not load_execution(url, execution_id).interrupted(1_011)
        journal.close()

    async def test_an_execution_that_has_ended_is_never_interrupted(self, journal, url):
        execution_id = await created(journal)
        ended = load_execution(url, execution_id).state.model_copy(update={"status": ExecutionStatus.COMPLETED})
        await journal.append(execution_id, 1, [], ended)
        stored = load_execution(url, execution_id)
        assert stored.status is ExecutionStatus.COMPLETED
        assert not stored.interrupted(stored.heartbeat_at + 1e6)

    async def test_a_stored_execution_knows_its_owner_and_its_folder(self, journal, url):
        execution_id = uuid4()
        await journal.create(execution_id, PLAN, SETTINGS, out_dir="/srv/out")
        stored = load_execution(url, execution_id)
        assert isinstance(stored, StoredExecution)
        assert stored.owner.endswith(f":{os.getpid()}")
        assert (stored.epoch, stored.out_dir, stored.settings, stored.problem) == (1, "/srv/out", SETTINGS, "")
        assert stored.state.status is ExecutionStatus.PENDING
        assert stored.state.atoms_total == 1

    async def test_one_unreadable_execution_does_not_hide_the_others(self, journal, url, tmp_path):
        broken, whole = await created(journal), await created(journal)
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            connection.execute(
                "UPDATE executions SET state = '{', settings = '{}', plan = X'78' WHERE execution_id = ?", [str(broken)]
            )
        connection.close()
        found = {one.execution_id: one for one in list_executions(url)}
        assert found[whole].problem == ""
        assert "cannot be read" in found[broken].problem
        assert found[broken].name == PLAN.name
        with pytest.raises(UnreadableJournalError, match="settings of execution"):
            _ = found[broken].settings
        with pytest.raises(UnreadableJournalError, match="plan of execution"):
            load_plan_of(url, broken)

    async def test_a_lost_event_is_noticed(self, journal, url, tmp_path):
        execution_id = await created(journal)
        await append(journal, execution_id, "one", "two", "three")
        with sqlite3.connect(tmp_path / "journal.db") as connection:
            connection.execute("DELETE FROM events WHERE seq = 2")
        connection.close()
        with pytest.raises(UnreadableJournalError, match="has lost event 2"):
            load_events(url, execution_id)

    async def test_reading_changes_nothing_and_does_not_wait_for_the_writer(self, journal, url, tmp_path):
        execution_id = await created(journal)
        blocker = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        assert load_execution(url, execution_id).last_seq == 0
        assert time.monotonic() - started < 2
        blocker.execute("ROLLBACK")
        blocker.close()


class TestNothingThere:
    def test_no_database_means_no_executions_yet_and_none_is_made(self, url, tmp_path):
        with pytest.raises(NoDatabaseError, match=r"no executions yet \(no database at .*journal\.db\)"):
            list_executions(url)
        assert list(tmp_path.iterdir()) == []

    def test_a_database_without_a_journal_means_no_executions_yet(self, url, tmp_path):
        (tmp_path / "journal.db").touch()
        with pytest.raises(NoDatabaseError, match="no executions yet"):
            list_executions(url)

    @pytest.mark.parametrize("read", [list_executions, upgrade])
    def test_a_file_that_is_no_database_is_left_as_it_is(self, url, tmp_path, read):
        (tmp_path / "journal.db").write_text("It was a dark and stormy night. " * 100)
        with pytest.raises(JournalUnavailableError, match="something else or damaged") as caught:
            read(url)
        assert "\n" not in str(caught.value)
        assert (tmp_path / "journal.db").read_text().startswith("It was a dark")

    @pytest.mark.parametrize("read", [list_executions, upgrade])
    def test_a_folder_in_the_place_of_the_file_is_named(self, tmp_path, read):
        with pytest.raises(JournalUnavailableError, match="check that the path names a file"):
            read(f"sqlite:///{tmp_path}")

    def test_a_file_in_the_place_of_the_folder_is_named(self, tmp_path):
        (tmp_path / "taken").touch()
        with pytest.raises(JournalUnavailableError, match="taken"):
            upgrade(f"sqlite:///{tmp_path}/taken/journal.db")


class TestUrls:
    @pytest.mark.parametrize("name", ["plain", "with space", "odd?#%41&+é", "quo'te\"d"])
    async def test_the_default_journal_works_in_folders_of_any_name(self, tmp_path, name):
        url = default_url(tmp_path / name)
        assert normalise_url(url) == url
        journal = SqlJournal(url)
        execution_id = await created(journal)
        journal.close()
        assert load_execution(url, execution_id).execution_id == execution_id
        assert (tmp_path / name / ".mge" / "journal.db").exists()

    def test_paths_become_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert normalise_url("sqlite:///runs/j.db") == f"sqlite:///{tmp_path}/runs/j.db"
        assert normalise_url("sqlite+pysqlite:////var/j.db") == "sqlite:////var/j.db"

    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
    def test_postgresql_goes_through_psycopg(self, scheme):
        assert normalise_url(f"{scheme}://u:p@h:5433/d?sslmode=require") == (
            "postgresql+psycopg://u:p@h:5433/d?sslmode=require"
        )

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "journal.db",
            "sqlite://",
            "sqlite:///",
            "sqlite:///:memory:",
            "sqlite:///file:x?mode=memory&uri=true",
            "sqlite:////tmp/x.db?mode=ro",
            "mysql://u:secret@h/d",
            "postgresql+psycopg2://u:secret@h/d",
            "postgresql://u:secret@h:port/d",
            "postgres:/u:secret@h/d",
            "://u:secret@h",
        ],
    )
    def test_other_urls_are_refused_with_advice_and_without_their_password(self, text):
        with pytest.raises(JournalUrlError, match=r"give |write ") as caught:
            normalise_url(text)
        assert "secret" not in str(caught.value)

    def test_a_shown_url_has_no_password(self):
        shown = shown_url("postgresql://u:se%40cret@h/d?password=secret&sslpassword=secret")
        assert shown == "postgresql://u:***@h/d"
