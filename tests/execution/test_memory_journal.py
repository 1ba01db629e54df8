"""What the shared suite in tests/contracts does not ask: this journal is also read through itself."""

from uuid import UUID

import pytest

from mge_ray.domain.errors import StateConflictError, UnknownExecutionError
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.ports import JournalUnavailableError
from tests.builders import EXECUTION_ID, plan, settings
from tests.fakes.clock import ManualClock


async def opened(clock=None):
    journal = MemoryJournal(clock=(clock or ManualClock()).now)
    return journal, await journal.create(EXECUTION_ID, plan("a"), settings())


async def test_executions_are_listed_oldest_first_with_what_they_were_started_with():
    journal, _ = await opened()
    await journal.create(UUID(int=1), plan("b"), settings(max_concurrency=3))
    assert journal.executions() == [EXECUTION_ID, UUID(int=1)]
    assert journal.plan_of(UUID(int=1)).atoms[0].id == "b"
    assert journal.settings_of(UUID(int=1)).max_concurrency == 3
    journal.close()


async def test_a_heartbeat_is_the_last_sign_of_life():
    clock = ManualClock()
    journal, epoch = await opened(clock)
    clock.advance(5.0)
    await journal.heartbeat(EXECUTION_ID, epoch)
    assert journal.heartbeat_of(EXECUTION_ID) == 1_005.0


async def test_a_new_owner_listens_somewhere_else():
    journal, epoch = await opened()
    await journal.set_control_address(EXECUTION_ID, epoch, "engine:1")
    assert journal.control_address_of(EXECUTION_ID) == "engine:1"
    await journal.take_over(EXECUTION_ID)
    assert journal.control_address_of(EXECUTION_ID) is None


async def test_before_the_first_append_there_is_no_state():
    journal, _ = await opened()
    assert journal.state_of(EXECUTION_ID) is None


async def test_an_id_is_created_once_and_an_unknown_one_is_named():
    journal, _ = await opened()
    with pytest.raises(StateConflictError, match="exists already"):
        await journal.create(EXECUTION_ID, plan("a"), settings())
    with pytest.raises(UnknownExecutionError, match=str(UUID(int=404))):
        journal.events_of(UUID(int=404))


async def test_the_journal_of_an_execution_nobody_created_is_unavailable():
    journal, _ = await opened()
    with pytest.raises(JournalUnavailableError, match="has no execution"):
        await journal.heartbeat(UUID(int=404), 1)
