"""What `status`, `list` and recovery read: short, read-only connections; nothing is run, nothing is written."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Row, bindparam, select, tuple_

from mge_ray.adapters.journal.database import reading
from mge_ray.adapters.journal.tables import SET_ASIDE, executions
from mge_ray.adapters.journal.tables import events as event_table
from mge_ray.adapters.journal.urls import shown_url
from mge_ray.domain.errors import MgeRayError, UnknownExecutionError
from mge_ray.domain.events import Event, ExecutionSettings, decode
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState, ExecutionStatus

# Owners say every few seconds that they live; two or three lost heartbeats are a lost owner.
HEARTBEAT_TIMEOUT_S = 10.0
MIN_PREFIX = 4
_SHOWN_CANDIDATES = 5
_HEX = frozenset("0123456789abcdef")
_UUID_GROUPS = (8, 12, 16, 20, 32)

_id = executions.c.execution_id
_STORED = select(*(column for column in executions.c if column.name != "plan"))
_LATEST = _STORED.order_by(executions.c.created_at.desc(), _id.desc())
_MATCHING = _STORED.where(_id.startswith(bindparam("prefix"))).order_by(executions.c.created_at.desc(), _id)
_PLAN = select(executions.c.plan).where(_id == bindparam("the_execution"))
_EVENTS = (
    select(event_table.c.seq, event_table.c.version, event_table.c.payload)
    .where(event_table.c.execution_id == bindparam("the_execution"), event_table.c.seq <= bindparam("upto"))
    .order_by(event_table.c.seq)
)


class UnreadableJournalError(MgeRayError):
    """A row of the journal that this version cannot make sense of; concerns one execution, not the others."""


@dataclass(frozen=True, slots=True)
class StoredExecution:
    """One execution as the database holds it. Times are seconds since the epoch.

    `problem` is empty, or says why `state` is only what the plain columns tell.
    """

    execution_id: UUID
    masterplan_id: UUID
    name: str
    status: ExecutionStatus
    reason: str
    state: ExecutionState
    settings_json: str
    epoch: int
    created_at: float
    heartbeat_at: float
    last_seq: int
    owner_host: str
    owner_pid: int
    control_address: str | None = None
    out_dir: str | None = None
    run_options: str | None = None
    tenant: str = ""
    problem: str = ""

    @property
    def settings(self) -> ExecutionSettings:
        """How the execution was started; raises UnreadableJournalError when another version wrote it differently."""
        try:
            return ExecutionSettings.model_validate_json(self.settings_json)
        except ValidationError as error:
            raise UnreadableJournalError(
                f"the settings of execution {self.execution_id} cannot be read by this mge-ray: {_first(error)}"
            ) from None

    @property
    def owner(self) -> str:
        """Which process runs it, or ran it last: `host:pid`."""
        return f"{self.owner_host}:{self.owner_pid}"

    @property
    def set_aside(self) -> bool:
        """Whether its journal could not be replayed when somebody wanted to go on with it; `reason` says why."""
        return self.reason.startswith(SET_ASIDE)

    @property
    def has_work(self) -> bool:
        """Whether somebody should be driving it: it runs, or waits for what is in flight."""
        if self.set_aside:
            return False
        runs = self.status in {ExecutionStatus.PENDING, ExecutionStatus.RUNNING}
        return runs or (self.status is ExecutionStatus.PAUSED and self.state.atoms_in_flight > 0)

    def driven(self, now: float) -> bool:
        """Return whether somebody drives it now: it has work, and its owner says that it lives."""
        return self.has_work and now - self.heartbeat_at <= HEARTBEAT_TIMEOUT_S

    def heard(self, now: float) -> bool:
        """Return whether its owner has said lately that it lives, whether or not it has work to do."""
        return now - self.heartbeat_at <= HEARTBEAT_TIMEOUT_S

    def interrupted(self, now: float) -> bool:
        """Return whether it should be running although its owner is silent: it waits for a resume."""
        should_run = self.status in {ExecutionStatus.PENDING, ExecutionStatus.RUNNING}
        return should_run and not self.set_aside and now - self.heartbeat_at > HEARTBEAT_TIMEOUT_S

    def told(self, now: float) -> ExecutionState:
        """Return `state`; of one that should be running and is not, with a reason that says so."""
        if self.reason or not self.interrupted(now):
            return self.state
        reason = f"interrupted: {self.owner}, which drove it, is silent; resume it"
        return self.state.model_copy(update={"reason": reason})


def list_executions(
    url: str, limit: int = 50, tenant: str | None = None, before: tuple[float, UUID] | None = None
) -> list[StoredExecution]:
    """Return executions, the latest first: all tenants' or one's.

    `before` is where the page before ended: `created_at` and id of its last execution. What was started since that page
    was read neither repeats nor hides any.
    """
    wanted = _LATEST.limit(limit)
    if tenant is not None:
        wanted = wanted.where(executions.c.tenant == tenant)
    if before is not None:
        created_at, last_id = before
        wanted = wanted.where(tuple_(executions.c.created_at, _id) < tuple_(created_at, str(last_id)))
    with reading(url) as connection:
        return [_stored(row) for row in connection.execute(wanted)]


def unfinished_of(url: str, control_address: str) -> list[StoredExecution]:
    """Return what has not ended of the owner that listens at this address, the oldest first."""
    ended = [status.value for status in ExecutionStatus if status.ended]
    columns = executions.c
    wanted = _STORED.where(columns.control_address == control_address, columns.status.not_in(ended))
    with reading(url) as connection:
        return [_stored(row) for row in connection.execute(wanted.order_by(columns.created_at, _id))]


def load_execution(url: str, execution_id_or_prefix: str | UUID) -> StoredExecution:
    """Return one execution by its id or by the first characters of it; raise UnknownExecutionError otherwise."""
    prefix = _canonical_prefix(str(execution_id_or_prefix))
    with reading(url) as connection:
        found = [_stored(row) for row in connection.execute(_MATCHING, {"prefix": prefix})]
    if not found:
        raise UnknownExecutionError(f"no execution {prefix!r} in {shown_url(url)}; `mge-ray list` shows what there is")
    if len(found) > 1:
        names = [str(one.execution_id) for one in found[:_SHOWN_CANDIDATES]]
        more = ["..."] if len(found) > _SHOWN_CANDIDATES else []
        raise UnknownExecutionError(
            f"{prefix!r} fits {len(found)} executions; give more of the id: {', '.join(names + more)}"
        )
    return found[0]


def load_plan_of(url: str, execution_id: UUID) -> Masterplan:
    """Return the plan that an execution runs."""
    with reading(url) as connection:
        packed = connection.execute(_PLAN, {"the_execution": str(execution_id)}).scalar()
    if packed is None:
        raise UnknownExecutionError(f"no execution {execution_id} in {shown_url(url)}")
    try:
        return Masterplan.model_validate_json(zlib.decompress(packed))
    except (zlib.error, ValueError, TypeError) as error:
        raise UnreadableJournalError(
            f"the plan of execution {execution_id} cannot be read by this mge-ray: {_first(error)}"
        ) from None


def load_events(url: str, execution_id: UUID, upto_seq: int | None = None) -> list[Event]:
    """Return an execution's events in order, all or up to a sequence number; raise for a gap or an unreadable one."""
    parameters = {"the_execution": str(execution_id), "upto": (1 << 62) if upto_seq is None else upto_seq}
    with reading(url) as connection:
        rows = connection.execute(_EVENTS, parameters).all()
    for expected, row in enumerate(rows, start=1):
        if row.seq != expected:
            raise UnreadableJournalError(f"execution {execution_id} has lost event {expected}: it cannot be replayed")
    return [decode(row.payload, version=row.version) for row in rows]


def _canonical_prefix(text: str) -> str:
    digits = text.strip().lower().removeprefix("urn:uuid:").replace("-", "")
    if len(digits) < MIN_PREFIX or len(digits) > _UUID_GROUPS[-1] or not _HEX.issuperset(digits):
        raise UnknownExecutionError(
            f"{text[:60]!r} is not an execution id; give a UUID or at least its first {MIN_PREFIX} characters"
        )
    parts = [digits[start:end] for start, end in zip((0, *_UUID_GROUPS), _UUID_GROUPS, strict=False)]
    return "-".join(part for part in parts if part)


def _stored(row: Row[Any]) -> StoredExecution:
    state, problem = _state(row)
    return StoredExecution(
        execution_id=UUID(row.execution_id),
        masterplan_id=UUID(row.masterplan_id),
        name=row.name,
        status=ExecutionStatus(row.status),
        reason=row.reason,
        state=state,
        settings_json=row.settings,
        epoch=row.epoch,
        created_at=row.created_at,
        heartbeat_at=row.heartbeat_at,
        last_seq=row.last_seq,
        owner_host=row.owner_host,
        owner_pid=row.owner_pid,
        control_address=row.control_address,
        out_dir=row.out_dir,
        run_options=row.run_options,
        tenant=row.tenant,
        problem=problem,
    )


def _state(row: Row[Any]) -> tuple[ExecutionState, str]:
    try:
        return ExecutionState.model_validate_json(row.state), ""
    except ValidationError as error:
        known = ExecutionState(
            execution_id=UUID(row.execution_id),
            masterplan_id=UUID(row.masterplan_id),
            name=row.name,
            status=ExecutionStatus(row.status),
            reason=row.reason,
            total_waves=0,
            atoms_total=0,
        )
        return known, f"its stored state cannot be read by this mge-ray: {_first(error)}"


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return (str(error) or type(error).__name__).splitlines()[0]
