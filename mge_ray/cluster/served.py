"""ServedExecutions: the API's executions, over the coordinator and the journal. Lives in every replica, holds nothing.

What the coordinator holds is asked of it; what it does not hold is read from the journal, and replayed where a row does
not say enough. Nothing here waits for a coordinator that restarts: the client is told to come again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from ray.exceptions import RayError, RayTaskError

from mge_ray.adapters.journal import (
    StoredExecution,
    event_page,
    list_executions,
    load_events,
    load_execution,
    load_plan_of,
)
from mge_ray.adapters.ruff_format import format_project
from mge_ray.api.ports import Executions, ListedExecution, Project
from mge_ray.api.schemas import StartSettings
from mge_ray.cluster.concurrency_controller import Handle
from mge_ray.cluster.shared_looks import SharedLooks
from mge_ray.domain.errors import EngineUnavailableError, MgeRayError, StateConflictError, UnknownExecutionError
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.progress import atom_state, wave_state
from mge_ray.domain.state import AtomState, ExecutionState, WaveState
from mge_ray.domain.throttle import ThrottleView
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.execution.recovery import replay
from mge_ray.pipeline import views
from mge_ray.pipeline.partial import mark_partial
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.views import AtomRow, AttemptView
from mge_ray.pipeline.wire import WireEvent, on_the_wire
from mge_ray.pipeline.workspace import assemble
from mge_ray.wiring.service import ServiceConfig, execution_settings

REPLAYS_KEPT = 4
OWNERS_KEPT = 10_000
LOOKS_APART_S = 0.05
"""A hundred clients that poll are at most twenty questions a second of a replica then."""
P = ParamSpec("P")
T = TypeVar("T")


class ServedExecutions(Executions):
    """The executions of one journal, those of `coordinator` among them."""

    def __init__(self, config: ServiceConfig, coordinator: Callable[[], Handle]) -> None:
        self._config = config
        self._url = config.engine.db_url
        self._find = coordinator
        self._handle: Handle | None = None
        self._states: SharedLooks[ExecutionState] = SharedLooks(LOOKS_APART_S)
        self._owners: OrderedDict[UUID, str] = OrderedDict()
        self._replays: OrderedDict[UUID, tuple[int, ExecutionMachine]] = OrderedDict()

    async def ready(self) -> None:
        """Return if the engine and the database answer."""
        await self._call("driven")
        await asyncio.to_thread(list_executions, self._url, 1)

    async def start(self, plan: Masterplan, choices: StartSettings, *, tenant: str, execution_id: UUID) -> UUID:
        """Start executing a plan; the same id gives the same execution."""
        settings = execution_settings(self._config, choices, tenant)
        with suppress(UnknownExecutionError):
            return (await self._stored(execution_id)).execution_id
        try:
            started: UUID = await self._call("start", plan, settings, execution_id)
        except StateConflictError:  # the same start came first, through another replica
            return (await self._stored(execution_id)).execution_id
        return started

    async def tenant_of(self, execution_id: UUID) -> str:
        """Return whose execution it is."""
        known = self._owners.get(execution_id)
        if known is None:
            known = self._owners[execution_id] = (await self._stored(execution_id)).tenant
            if len(self._owners) > OWNERS_KEPT:
                self._owners.popitem(last=False)
        return known

    async def listed(self, tenant: str, *, limit: int, before: tuple[float, UUID] | None) -> list[ListedExecution]:
        """Return a tenant's executions, the latest first."""
        found = await asyncio.to_thread(list_executions, self._url, limit, tenant=tenant, before=before)
        now = time.time()
        return [ListedExecution(one.told(now), one.created_at) for one in found]

    # ---- views ----------------------------------------------------------------------------------------------------

    async def state(self, execution_id: UUID) -> ExecutionState:
        """Return how the execution stands, not before this was asked."""
        return await self._states.look(execution_id, lambda: self._state(execution_id))

    async def _state(self, execution_id: UUID) -> ExecutionState:
        try:
            state: ExecutionState = await self._call("state", execution_id)
        except UnknownExecutionError:
            return (await self._stored(execution_id)).told(time.time())
        if state.status.ended:  # told once it is journalled: whoever follows the events has the last one by then
            state = state.model_copy(update={"status": (await self._stored(execution_id)).status})
        return state

    async def waves(self, execution_id: UUID) -> list[WaveState]:
        """Return how every wave stands."""
        return await self._view(execution_id, views.waves)

    async def wave(self, execution_id: UUID, wave_id: int) -> WaveState:
        """Return how one wave stands."""
        return await self._view(execution_id, wave_state, wave_id)

    async def atom(self, execution_id: UUID, atom_id: str) -> AtomState:
        """Return how one atom stands."""
        return await self._view(execution_id, atom_state, atom_id)

    async def atom_rows(
        self, execution_id: UUID, *, ids: Sequence[str] | None, after: int, limit: int
    ) -> tuple[list[AtomRow], int | None]:
        """Return atoms in the plan's order and where the next page begins, or just those named."""
        return await self._view(execution_id, views.atom_rows, ids, after, limit)

    async def attempts(self, execution_id: UUID, atom_id: str) -> list[AttemptView]:
        """Return an atom's attempts, the first one first."""
        return await self._view(execution_id, views.atom_attempts, atom_id)

    async def report(self, execution_id: UUID) -> ExecutionReport:
        """Return what the execution has come to."""
        return await self._view(execution_id, views.report)

    async def project(self, execution_id: UUID) -> Project:
        """Return the project assembled from what was accepted so far."""
        codes, report = await self._view(execution_id, views.accepted)
        return await asyncio.to_thread(self._assembled, execution_id, codes, report)

    def _assembled(self, execution_id: UUID, codes: dict[str, str], report: ExecutionReport) -> Project:
        plan = load_plan_of(self._url, execution_id)
        files = mark_partial(plan, codes, assemble(plan, codes), report)
        return Project(plan.name, format_project(plan, codes, files).files, report.partial)

    async def events(self, execution_id: UUID, *, after: int, limit: int) -> list[WireEvent]:
        """Return journalled events after a sequence number, in order."""
        return await asyncio.to_thread(self._events, execution_id, after, limit)

    def _events(self, execution_id: UUID, after: int, limit: int) -> list[WireEvent]:
        return [on_the_wire(seq, event) for seq, event in event_page(self._url, execution_id, after, limit)]

    async def throttling(self) -> list[ThrottleView]:
        """Return how calls are throttled now, by model class."""
        throttles: list[ThrottleView] = await self._call("throttling")
        return throttles

    async def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        text: bytes = await self._call("metrics_text")
        return text

    # ---- verbs ----------------------------------------------------------------------------------------------------

    async def pause(self, execution_id: UUID, *, reason: str, now: bool) -> ExecutionState:
        """Stop dispatching."""
        return await self._steer(execution_id, "pause", reason, now=now)

    async def resume(self, execution_id: UUID) -> ExecutionState:
        """Go on from where it stands."""
        return await self._steer(execution_id, "resume")

    async def cancel(self, execution_id: UUID, *, reason: str) -> ExecutionState:
        """End the execution now."""
        return await self._steer(execution_id, "cancel", reason)

    async def retry(self, execution_id: UUID, atom_ids: Sequence[str]) -> ExecutionState:
        """Grant failed atoms new attempts."""
        return await self._steer(execution_id, "retry", tuple(atom_ids))

    async def edit(self, execution_id: UUID, atom_id: str, code: str, *, by: str) -> ExecutionState:
        """Give an atom code written by hand."""
        return await self._steer(execution_id, "edit", atom_id, code, by)

    async def approve(
        self, execution_id: UUID, atom_id: str, *, by: str, note: str, despite_failures: bool
    ) -> ExecutionState:
        """Say that a person has looked at an atom's code."""
        return await self._steer(execution_id, "approve", atom_id, by, note, despite_failures=despite_failures)

    async def set_budget(self, execution_id: UUID, limit_usd: float, *, by: str, reason: str) -> ExecutionState:
        """Set another hard limit."""
        return await self._steer(execution_id, "set_budget", limit_usd, by, reason)

    async def set_concurrency(self, execution_id: UUID, limit: int, *, by: str) -> ExecutionState:
        """Set another bound for calls in flight."""
        return await self._steer(execution_id, "set_concurrency", limit, by)

    # ---- small parts ----------------------------------------------------------------------------------------------

    async def _steer(self, execution_id: UUID, verb: str, *arguments: object, **named: object) -> ExecutionState:
        await self._call("hold", execution_id)
        state: ExecutionState = await self._call(verb, execution_id, *arguments, **named)
        return state

    async def _view(
        self,
        execution_id: UUID,
        view: Callable[Concatenate[ExecutionMachine, P], T],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        """Look at the machine where it is, or at a replay of the journal."""
        try:
            seen: T = await self._call("view", execution_id, view, arguments, named)
        except UnknownExecutionError:
            stored = await self._stored(execution_id)
            return view(await asyncio.to_thread(self._replayed, stored), *arguments, **named)
        return seen

    def _replayed(self, stored: StoredExecution) -> ExecutionMachine:
        execution_id = stored.execution_id
        last_seq, machine = self._replays.pop(execution_id, (-1, None))
        if machine is None or last_seq != stored.last_seq:
            events = load_events(self._url, execution_id, stored.last_seq)
            machine = replay(execution_id, load_plan_of(self._url, execution_id), events)
        self._replays[execution_id] = stored.last_seq, machine
        while len(self._replays) > REPLAYS_KEPT:
            self._replays.popitem(last=False)
        return machine

    async def _stored(self, execution_id: UUID) -> StoredExecution:
        return await asyncio.to_thread(load_execution, self._url, execution_id)

    async def _call(self, method: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401  # callers know
        try:
            if self._handle is None:
                self._handle = self._find()
            return await getattr(self._handle, method).remote(*arguments, **named)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, JournalUnavailableError | MgeRayError):
                raise cause from None
            raise
        except (RayError, ValueError) as error:  # ValueError: no actor of that name
            self._handle = None
            raise EngineUnavailableError("the engine is restarting; ask again in a few seconds") from error
