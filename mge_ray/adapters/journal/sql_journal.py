"""SqlJournal: the journal port on SQLite and PostgreSQL. Owns statements and epochs; `group_writer` owns commits."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, overload
from uuid import UUID

from sqlalchemy import Connection, Update, bindparam, delete, insert, select, update

from mge_ray.adapters.journal.group_writer import GroupWriter, Outcome, Request
from mge_ray.adapters.journal.tables import SET_ASIDE, executions
from mge_ray.adapters.journal.tables import events as event_table
from mge_ray.adapters.journal.urls import locate
from mge_ray.domain.errors import MgeRayError, StateConflictError, UnknownExecutionError
from mge_ray.domain.events import EVENT_VERSION, Event, ExecutionSettings, encode
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.ports import Journal, JournalUnavailableError, StaleEpochError

_id = executions.c.execution_id
_POSITIONS = select(_id, executions.c.epoch, executions.c.last_seq).order_by(_id).with_for_update()
_POSITIONS_OF_MANY = _POSITIONS.where(_id.in_(bindparam("ids", expanding=True)))
_POSITION_OF_ONE = _POSITIONS.where(_id == bindparam("ids"))
_UPDATE_STATE = (
    update(executions)
    .where(_id == bindparam("the_execution"))
    .values({name: bindparam(name) for name in ("status", "reason", "state", "last_seq", "heartbeat_at")})
)
_INSERT_EVENTS = insert(event_table)
_DELETE_AFTER = delete(event_table).where(
    event_table.c.execution_id == bindparam("the_execution"), event_table.c.seq > bindparam("the_seq")
)
_MAKER = select(*(executions.c[name] for name in ("created_at", "owner_host", "owner_pid", "epoch", "last_seq"))).where(
    _id == bindparam("the_execution")
)
_EXISTS = select(executions.c.epoch).where(_id == bindparam("the_execution"))
_OF_EPOCH = update(executions).where(_id == bindparam("the_execution"), executions.c.epoch == bindparam("the_epoch"))
_HEARTBEAT = _OF_EPOCH.values(heartbeat_at=bindparam("heartbeat_at"))
_SET_ADDRESS = _OF_EPOCH.values(control_address=bindparam("control_address"))
_SET_REASON = _OF_EPOCH.values(reason=bindparam("reason"))
_SET_OPTIONS = _OF_EPOCH.values(run_options=bindparam("run_options"))


@dataclass(slots=True)
class _Append(Request):
    execution_id: str
    epoch: int
    rows: list[dict[str, Any]]  # of the event table; `seq` is filled in by the writer
    state: dict[str, Any]


@dataclass(slots=True)
class _Act(Request):
    act: Callable[[Connection], Outcome]


class SqlJournal(Journal):
    """The journal in a SQL database. The file, its folder and the tables are made by the first write.

    `url` is what `normalise_url` accepts. Every method may be called from any event loop; `close` from anywhere.
    `control_address` is written with each epoch: an owner that dies right after it is found by its next life.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time, control_address: str | None = None) -> None:
        location = locate(url)
        self.url = location.text
        self._clock = clock
        self._owner = {"owner_host": socket.gethostname(), "owner_pid": os.getpid()}
        self._control_address = control_address
        self._writer = GroupWriter(location, self._apply, self._committed)
        # Where executions stood before a commit whose end is not known: a commit can fail after it was carried out.
        self._unconfirmed: dict[str, tuple[int, int]] = {}

    async def create(
        self, execution_id: UUID, plan: Masterplan, settings: ExecutionSettings, *, out_dir: str | None = None
    ) -> int:
        """Record a new execution and return its epoch; raise StateConflictError for an id that is taken."""
        packed = await asyncio.to_thread(_packed, plan)  # seconds for the largest plans
        now = self._clock()
        row = {
            "execution_id": str(execution_id),
            "masterplan_id": str(plan.masterplan_id),
            "name": _storable(plan.name),
            "plan": packed,
            "settings": settings.model_dump_json(),
            "epoch": 1,
            "created_at": now,
            "heartbeat_at": now,
            "last_seq": 0,
            "control_address": self._control_address,
            "out_dir": out_dir,
            "tenant": settings.tenant,
            **_state_columns(_initial_state(execution_id, plan, settings)),
            **self._owner,
        }
        return await self._writer.write(_Act(lambda connection: _create(connection, row)))

    async def take_over(self, execution_id: UUID) -> int:
        """Return a new epoch and become the owner; appends of older epochs raise StaleEpochError from now on."""
        the_id, now = str(execution_id), self._clock()
        values = {"heartbeat_at": now, "control_address": self._control_address, **self._owner}
        return await self._writer.write(_Act(lambda connection: _take_over(connection, the_id, values)))

    async def append(self, execution_id: UUID, epoch: int, events: Sequence[Event], state: ExecutionState) -> None:
        """Write events and the state they lead to; return when they are durable.

        Raises StaleEpochError and JournalUnavailableError; what raised is not in the journal,
        or is removed from it by this writer's next append.
        """
        the_id = str(execution_id)
        rows = [
            {
                "execution_id": the_id,
                "seq": 0,
                "at": event.at,
                "kind": event.kind,
                "atom_id": _storable(getattr(event, "atom_id", None)),
                "version": EVENT_VERSION,
                "payload": encode(event),
            }
            for event in events
        ]
        await self._writer.write(_Append(the_id, epoch, rows, _state_columns(state)))

    async def heartbeat(self, execution_id: UUID, epoch: int) -> None:
        """Say that the execution's owner is alive; raise StaleEpochError when it is the owner no more."""
        await self._write_of_epoch(_HEARTBEAT, execution_id, epoch, heartbeat_at=self._clock())

    async def set_control_address(self, execution_id: UUID, epoch: int, address: str | None) -> None:
        """Say where the execution's owner listens for pause and cancel."""
        await self._write_of_epoch(_SET_ADDRESS, execution_id, epoch, control_address=address)

    async def set_run_options(self, execution_id: UUID, epoch: int, options: str) -> None:
        """Keep what the run was told (JSON), for whoever resumes it."""
        await self._write_of_epoch(_SET_OPTIONS, execution_id, epoch, run_options=options)

    async def set_aside(self, execution_id: UUID, why: str) -> None:
        """Say that the execution's journal leads nowhere: nobody has it until it is resumed. Its events are kept."""
        epoch = await self.take_over(execution_id)
        await self.set_control_address(execution_id, epoch, None)
        await self._write_of_epoch(_SET_REASON, execution_id, epoch, reason=_storable(f"{SET_ASIDE}{why}"))

    def close(self) -> None:
        """Write what waits, then let go of the database. Closing twice changes nothing."""
        self._writer.close()

    async def _write_of_epoch(self, statement: Update, execution_id: UUID, epoch: int, **values: object) -> None:
        parameters = {"the_execution": str(execution_id), "the_epoch": epoch, **values}

        def act(connection: Connection) -> Outcome:
            if connection.execute(statement, parameters).rowcount == 1:
                return epoch
            return _refusal(str(execution_id), epoch, _epoch_now(connection, str(execution_id)))

        await self._writer.write(_Act(act))

    def _apply(self, connection: Connection, group: Sequence[Request]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for kind, members in groupby(group, key=type):
            if kind is _Append:
                outcomes += self._append_all(connection, [one for one in members if isinstance(one, _Append)])
            else:
                outcomes += [one.act(connection) for one in members if isinstance(one, _Act)]
        return outcomes

    def _append_all(self, connection: Connection, appends: Sequence[_Append]) -> Sequence[Outcome]:
        positions = _positions(connection, {append.execution_id for append in appends})
        now, rows = self._clock(), []
        states: dict[str, dict[str, Any]] = {}
        outcomes: list[Outcome] = []
        for append in appends:
            the_id = append.execution_id
            epoch, last_seq = positions.get(the_id, (None, 0))
            if epoch != append.epoch:
                outcomes.append(_refusal(the_id, append.epoch, epoch))
                continue
            if the_id not in states:
                last_seq = self._drop_unconfirmed(connection, the_id, epoch, last_seq)
            for seq, row in enumerate(append.rows, start=last_seq + 1):
                row["seq"] = seq
            rows += append.rows
            positions[the_id] = (epoch, last_seq := last_seq + len(append.rows))
            states[the_id] = {
                "the_execution": the_id,
                "last_seq": last_seq,
                "heartbeat_at": now,
                **append.state,
            }
            outcomes.append(last_seq)
        if states:
            connection.execute(_UPDATE_STATE, list(states.values()))
        if rows:
            connection.execute(_INSERT_EVENTS, rows)
        return outcomes

    def _drop_unconfirmed(self, connection: Connection, the_id: str, epoch: int, last_seq: int) -> int:
        """Make true what a failed append has told its caller: that nothing was written."""
        known = self._unconfirmed.get(the_id)
        if known is None or known[0] != epoch or known[1] >= last_seq:
            self._unconfirmed[the_id] = (epoch, last_seq)
            return last_seq
        connection.execute(_DELETE_AFTER, {"the_execution": the_id, "the_seq": known[1]})
        return known[1]

    def _committed(self, group: Sequence[Request]) -> None:
        for request in group:
            if isinstance(request, _Append):
                self._unconfirmed.pop(request.execution_id, None)


def _create(connection: Connection, row: dict[str, Any]) -> Outcome:
    found = connection.execute(_MAKER, {"the_execution": row["execution_id"]}).one_or_none()
    if found is None:
        connection.execute(insert(executions), row)
    elif any(row[name] != value for name, value in found._mapping.items()):  # noqa: SLF001  # public, in spite of its name
        return StateConflictError(f"execution {row['execution_id']} exists already; resume it, or start a new one")
    return 1  # also for our own row, when the answer to its commit was lost


def _take_over(connection: Connection, the_id: str, values: dict[str, Any]) -> Outcome:
    connection.execute(update(executions).where(_id == the_id).values(epoch=executions.c.epoch + 1, **values))
    epoch = _epoch_now(connection, the_id)
    return UnknownExecutionError(f"the journal has no execution {the_id}") if epoch is None else epoch


def _positions(connection: Connection, ids: set[str]) -> dict[str, tuple[int, int]]:
    """Return epoch and last sequence number of each, holding the rows until the transaction ends."""
    if len(ids) == 1:
        found = connection.execute(_POSITION_OF_ONE, {"ids": next(iter(ids))})
    else:
        found = connection.execute(_POSITIONS_OF_MANY, {"ids": sorted(ids)})
    return {the_id: (epoch, last_seq) for the_id, epoch, last_seq in found}


def _epoch_now(connection: Connection, the_id: str) -> int | None:
    epoch: int | None = connection.execute(_EXISTS, {"the_execution": the_id}).scalar()
    return epoch


def _refusal(the_id: str, epoch: int, epoch_now: int | None) -> MgeRayError:
    if epoch_now is None:
        return JournalUnavailableError(
            f"the journal has no execution {the_id} any more: its database was replaced; put the old one back"
        )
    return StaleEpochError(
        f"execution {the_id} was taken over by another process (epoch {epoch_now}; this one holds {epoch})"
    )


def _initial_state(execution_id: UUID, plan: Masterplan, settings: ExecutionSettings) -> ExecutionState:
    return ExecutionState(
        execution_id=execution_id,
        masterplan_id=plan.masterplan_id,
        name=plan.name,
        status=ExecutionStatus.PENDING,
        total_waves=len(plan.waves),
        atoms_total=len(plan.atoms),
        budget_usd=settings.budget_usd,
        simulated=settings.simulated,
    )


def _state_columns(state: ExecutionState) -> dict[str, Any]:
    return {"status": state.status.value, "reason": _storable(state.reason), "state": state.model_dump_json()}


@overload
def _storable(text: str) -> str: ...
@overload
def _storable(text: str | None) -> str | None: ...
def _storable(text: str | None) -> str | None:
    """Return the text without what PostgreSQL text cannot hold; the whole of it is in the JSON, escaped."""
    return text and text.replace("\0", "").encode("utf-8", "replace").decode()


def _packed(plan: Masterplan) -> bytes:
    return zlib.compress(plan.model_dump_json().encode(), level=6)
