"""TakingUp: how a coordinator gets back what it, or an engine of its name, was executing. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from uuid import UUID
from weakref import WeakValueDictionary

from mge_ray.adapters.journal import (
    NoDatabaseError,
    SchemaError,
    SqlJournal,
    StoredExecution,
    load_events,
    load_execution,
    load_plan_of,
    unfinished_of,
    upgrade,
)
from mge_ray.domain.errors import StateConflictError, UnknownExecutionError
from mge_ray.domain.events import ResumeRequested
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2, Watch
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.execution.requests import check_state

JOURNAL_POLL_S = 1.0
_log = logging.getLogger(__name__)


class TakingUp:
    """Takes executions up from the journal into a service, each by one caller at a time.

    `refresh` returns the gateways that live; `watch_for` who is told what an execution finishes;
    `set_aside` is told of one whose journal leads nowhere.
    """

    def __init__(
        self,
        journal: SqlJournal,
        service: ExecutionServiceV2,
        address: str,
        *,
        refresh: Callable[[], Awaitable[tuple[str, ...]]],
        watch_for: Callable[[UUID], Watch],
        set_aside: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._service = service
        self._address = address
        self._refresh = refresh
        self._watch_for = watch_for
        self._set_aside = set_aside
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def alone(self, execution_id: UUID) -> asyncio.Lock:
        """Return what lets one caller at a time start or take up an execution."""
        lock = self._locks.get(execution_id)
        if lock is None:
            lock = self._locks[execution_id] = asyncio.Lock()
        return lock

    async def exists(self, execution_id: UUID) -> bool:
        """Return whether an execution was created, here or by an earlier life that may have died of it."""
        if execution_id in self._service.execution_ids:
            return True
        try:
            await asyncio.to_thread(upgrade, self._journal.url)
            await asyncio.to_thread(load_execution, self._journal.url, execution_id)
        except (NoDatabaseError, UnknownExecutionError):
            return False
        return True

    async def after_a_death(self) -> None:
        """Take up what this engine was executing; return when all of it is here. Waits while the journal is away."""
        while not await self._all(of_the_silent=False):  # noqa: ASYNC110  # a database tells nobody that it is back
            await asyncio.sleep(JOURNAL_POLL_S)

    async def of_a_namesake(self) -> None:
        """Take up what an engine of this name was executing elsewhere, each when its owner has fallen silent.

        What a living namesake drives is waited for, and so is a journal that is away.
        """
        while not await self._all(of_the_silent=True):  # noqa: ASYNC110  # and the silent say nothing
            await asyncio.sleep(JOURNAL_POLL_S)

    async def _all(self, *, of_the_silent: bool) -> bool:
        """Take up what is unfinished; return whether nothing is to be waited for. Bad ones are set aside alone."""
        url, all_here = self._journal.url, True
        try:
            await asyncio.to_thread(upgrade, url)
            live = await self._refresh()
            for execution in await asyncio.to_thread(unfinished_of, url, self._address):
                if of_the_silent and execution.execution_id in self._service.execution_ids:
                    continue  # started or taken up here
                if of_the_silent and execution.heard(time.time()):
                    all_here = False
                else:
                    await self._take_up_or_set_aside(execution, live)
        except SchemaError:
            raise
        except JournalUnavailableError as error:
            _log.warning("recovery waits for the journal: %s", error)
            return False
        return all_here

    async def _take_up_or_set_aside(self, execution: StoredExecution, live: tuple[str, ...]) -> None:
        execution_id = execution.execution_id
        async with self.alone(execution_id):
            if execution_id in self._service.execution_ids and self._service.is_driven(execution_id):
                return  # taken up before the journal went away
            try:
                await self._take_up(execution, live)
            except JournalUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  # the border: one execution must not take the others with it
                _log.exception("execution set aside", extra={"execution_id": str(execution_id)})
                self._set_aside()
                await self._journal.set_aside(execution_id, str(error) or type(error).__name__)

    async def by_id(self, execution_id: UUID) -> ExecutionState:
        """Go on with an execution, whoever had it; raise StateConflictError if somebody else drives it."""
        async with self.alone(execution_id):
            if execution_id in self._service.execution_ids and self._service.is_driven(execution_id):
                return await self._service.resume_execution(execution_id)
            stored = await asyncio.to_thread(load_execution, self._journal.url, execution_id)
            if stored.status.ended:
                check_state(execution_id, stored.status, ResumeRequested)
            if stored.driven(time.time()):
                raise StateConflictError(f"execution {execution_id} is driven by {stored.owner}")
            await self._take_up(stored, await self._refresh())
            state = await self._service.get_execution_state(execution_id)
            if state.status is ExecutionStatus.PAUSED:
                return await self._service.resume_execution(execution_id)
            return state

    async def hold(self, execution_id: UUID) -> None:
        """Have an execution here to be steered, as the journal has it; raise StateConflictError if it is another's."""
        async with self.alone(execution_id):
            here = execution_id in self._service.execution_ids
            if here and self._service.is_driven(execution_id):
                return
            stored = await asyncio.to_thread(load_execution, self._journal.url, execution_id)
            if here and stored.last_seq == self._service.machine(execution_id).events_handled:
                return
            if stored.driven(time.time()):
                short = str(execution_id)[:8]
                raise StateConflictError(
                    f"execution {execution_id} is driven by another process, not by this engine; on a machine that "
                    f"reaches the journal, `mge-ray pause {short}` and the like reach it"
                )
            await self._take_up(stored, await self._refresh())

    async def _take_up(self, stored: StoredExecution, live: tuple[str, ...]) -> None:
        execution_id, url = stored.execution_id, self._journal.url
        plan = await asyncio.to_thread(load_plan_of, url, execution_id)
        events = await asyncio.to_thread(load_events, url, execution_id)
        await self._service.recover_execution(
            execution_id,
            plan,
            events,
            settings=stored.settings,
            live_gateways=live,
            watch=self._watch_for(execution_id),
        )
