"""ExecutionCoordinator: the detached actor that holds executions and drives them.

The engine is ExecutionServiceV2, unchanged; this file gives it Ray's work and leases, the SQL journal, and the life of
an actor. A restart re-runs the constructor, which takes up what this engine was executing from the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import ray
from ray.exceptions import RayError

from mge_ray.adapters.journal import (
    SqlJournal,
    SqlReuseStore,
    SqlTenantBooks,
)
from mge_ray.adapters.logs import configure_logs
from mge_ray.adapters.prometheus_metrics import PrometheusMetrics
from mge_ray.adapters.tracing import open_traces
from mge_ray.cluster.atom_task import ClusterValidator
from mge_ray.cluster.concurrency_controller import Handle, RayLeases
from mge_ray.cluster.dispatch import RayWork
from mge_ray.cluster.llm_gateway import LLMGatewayPool
from mge_ray.cluster.memory import settle
from mge_ray.cluster.request_desk import RequestDesk
from mge_ray.cluster.taking_up import TakingUp
from mge_ray.domain.commands import Notice
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.progress import wave_state
from mge_ray.domain.state import AtomState, ExecutionState, ExecutionStatus, WaveState
from mge_ray.domain.throttle import ThrottleView
from mge_ray.execution.defaults import SystemClock
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2, Watch
from mge_ray.execution.ports import StaleEpochError
from mge_ray.execution.retry_orchestrator import RetryOrchestrator
from mge_ray.execution.reuse import CodeReuse
from mge_ray.execution.wave_executor import WaveExecutor
from mge_ray.pipeline.prompt import prefix_tokens
from mge_ray.pipeline.report import ExecutionReport, build_report
from mge_ray.pipeline.surroundings import atom_keys
from mge_ray.wiring.build import attempt_policy, forget_secrets, known_cost
from mge_ray.wiring.code_version import code_version
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig

NOTICES_KEPT = 2_000
T = TypeVar("T")
VIEWS_PATIENCE_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """One execution at a glance: its state, its current wave, and what finished since notice number `since`."""

    state: ExecutionState
    wave: WaveState | None
    notices: tuple[Notice, ...]
    next_notice: int
    trouble: str
    driving: bool


class ExecutionCoordinator:
    """Starts, steers and shows executions on the cluster."""

    def __init__(self, config: EngineConfig, controller: Handle, gateways: Sequence[Handle]) -> None:
        configure_logs("coordinator", config.logs)
        self._traces = open_traces()
        forget_secrets()
        self._config = config
        self._code = code_version()
        self._journal = SqlJournal(config.db_url, control_address=self._control_address)
        self._kept = SqlReuseStore(config.db_url)
        self._pool = LLMGatewayPool(gateways, config)
        self._metrics = PrometheusMetrics(cost_usd=known_cost(config))
        self._metrics.about(version=self._code, sandbox_level=config.sandbox_level or "")
        clock = SystemClock()
        orchestrator = RetryOrchestrator(
            self._pool, ClusterValidator(config), policy=attempt_policy(config, DEFAULT_MODEL, None)
        )
        self._leases = RayLeases(controller, calls_possible=lambda: self._pool.available)
        executor = WaveExecutor(
            orchestrator,
            config.generate_limit,
            journal=self._journal,
            leases=self._leases,
            traces_for=self._traces.of if self._traces else None,
            metrics_for=lambda machine: self._metrics.for_plan(str(machine.plan.masterplan_id)),
            clock=clock,
            work=lambda machine: RayWork(machine, self._pool, config, clock=clock),
            reuse=CodeReuse(self._kept, atom_keys),
            prefix_tokens=prefix_tokens,
        )
        self._service = ExecutionServiceV2(executor, SqlTenantBooks(config.db_url))
        self._notices: dict[UUID, deque[tuple[int, Notice]]] = {}
        self._told = 0
        self._waiting: asyncio.Task[None] | None = None
        self._taking_up = TakingUp(
            self._journal,
            self._service,
            self._control_address,
            refresh=self._pool.refresh,
            watch_for=self._watch,
            set_aside=self._metrics.quarantined,
        )
        settle()
        loop = asyncio.get_running_loop()
        self._ready = loop.create_task(self._begin())
        self._listening = loop.create_task(RequestDesk(config.db_url, self._service).listen())

    # ---- life -----------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        await self._pool.refresh()
        if self._config.driver_pid is not None:
            self._watch_driver(self._config.driver_pid)
        context = ray.get_runtime_context()
        if context.get_actor_id() is not None and context.was_current_actor_reconstructed:
            await self._taking_up.after_a_death()
        elif self._config.takes_up:  # nobody waits for it: a living namesake may go on for long
            self._waiting = asyncio.get_running_loop().create_task(self._taking_up.of_a_namesake())

    def _watch(self, execution_id: UUID) -> Watch:
        notices = self._notices[execution_id] = deque(maxlen=NOTICES_KEPT)

        def watch(notice: Notice) -> None:
            self._told += 1
            notices.append((self._told, notice))

        return watch

    def _watch_driver(self, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            asyncio.get_running_loop().create_task(self._stop_buying("its driver is gone"))
            return
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self._stopping = loop.create_task(self._stop_buying("its driver was killed"))

        loop.add_reader(pidfd, gone)

    async def _stop_buying(self, reason: str) -> None:
        for execution_id in self._service.execution_ids:
            state = await self._service.get_execution_state(execution_id)
            if state.status is ExecutionStatus.RUNNING:
                await self._service.pause_execution(execution_id, reason=reason)

    @property
    def _control_address(self) -> str:
        return f"engine:{self._config.engine_id}"

    async def config(self) -> EngineConfig:
        """Return what this engine was made with; a later caller's wishes are not applied silently."""
        return self._config

    async def code(self) -> str:
        """Return which code this process runs."""
        return self._code

    async def driven(self) -> list[str]:
        """Return the ids of the executions that are in flight or may still start something."""
        await self._ready
        return [str(one) for one in self._service.execution_ids if self._service.is_driven(one)]

    async def node_id(self) -> str:
        """Return the node this process runs on."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    async def pid(self) -> int:
        """Return this process's id."""
        return os.getpid()

    async def close(self) -> None:
        """Stop driving and close the journal."""
        self._listening.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
        await self._service.close()
        if self._traces:
            await asyncio.to_thread(self._traces.close)
        self._kept.close()
        self._journal.close()

    # ---- executions -----------------------------------------------------------------------------------------------

    async def start(
        self,
        plan: Masterplan,
        settings: ExecutionSettings,
        execution_id: UUID | None = None,
        run_options: str | None = None,
    ) -> UUID:
        """Start an execution; return its id once its start is journalled. `run_options` are kept for a resume.

        An id that exists is returned, and nothing is started: whoever asks with an id of its own may ask again.
        """
        await self._ready
        asked_for, execution_id = execution_id is not None, execution_id or uuid4()
        async with self._taking_up.alone(execution_id):
            if asked_for and await self._taking_up.exists(execution_id):
                return execution_id
            watch = self._watch(execution_id)
            await self._service.start_plan(plan, settings=settings, execution_id=execution_id, watch=watch)
            if run_options is not None:
                await self._journal.set_run_options(execution_id, 1, run_options)
        return execution_id

    async def take_up(self, execution_id: UUID) -> ExecutionState:
        """Go on with an execution from the journal, whoever had it; raise StateConflictError if somebody drives it."""
        await self._ready
        return await self._taking_up.by_id(execution_id)

    async def hold(self, execution_id: UUID) -> None:
        """Have an execution here to be steered, as the journal has it; raise StateConflictError if it is another's."""
        await self._ready
        await self._taking_up.hold(execution_id)

    async def view(
        self, execution_id: UUID, view: Callable[..., T], arguments: Sequence[Any], named: Mapping[str, Any]
    ) -> T:
        """Return what `view` makes of the execution's machine, which it only reads."""
        await self._ready
        return view(self._service.machine(execution_id), *arguments, **named)

    async def set_concurrency(self, execution_id: UUID, limit: int, by: str) -> ExecutionState:
        """Bound an execution's calls in flight anew, at once."""
        await self._ready
        return await self._service.change_concurrency(execution_id, limit, by=by)

    async def throttling(self) -> list[ThrottleView]:
        """Return how calls are throttled now, by model class."""
        return await self._service.throttling()

    async def pause(self, execution_id: UUID, reason: str = "requested", *, now: bool = False) -> ExecutionState:
        """Stop dispatching; what is in flight finishes and is kept, or (`now`) is given up."""
        await self._ready
        return await self._service.pause_execution(execution_id, reason=reason, now=now)

    async def resume(self, execution_id: UUID) -> ExecutionState:
        """Go on, also where somebody else has changed the execution since."""
        await self._ready
        try:
            return await self._service.resume_execution(execution_id)
        except StaleEpochError:
            return await self.take_up(execution_id)

    async def retry(self, execution_id: UUID, atom_ids: Sequence[str] = ()) -> ExecutionState:
        """Grant failed atoms, all or those named, new attempts; the execution is paused after that."""
        await self._ready
        return await self._service.retry_execution(execution_id, atom_ids)

    async def edit(self, execution_id: UUID, atom_id: str, code: str, by: str) -> ExecutionState:
        """Give an atom code written by hand, if it passes its check; the execution is paused after that."""
        await self._ready
        return await self._service.edit_atom(execution_id, atom_id, code, by=by)

    async def approve(
        self, execution_id: UUID, atom_id: str, by: str, note: str = "", *, despite_failures: bool = False
    ) -> ExecutionState:
        """Say that a person has looked at an atom's code, or that a failed one's is to be used."""
        await self._ready
        return await self._service.approve_atom(
            execution_id, atom_id, by=by, note=note, despite_failures=despite_failures
        )

    async def set_budget(self, execution_id: UUID, limit_usd: float, by: str, reason: str) -> ExecutionState:
        """Set another limit in US dollars; a paused execution stays paused."""
        await self._ready
        return await self._service.set_budget(execution_id, limit_usd, by=by, reason=reason)

    async def cancel(self, execution_id: UUID, reason: str = "requested") -> ExecutionState:
        """End the execution now."""
        await self._ready
        return await self._service.cancel_execution(execution_id, reason=reason)

    async def state(self, execution_id: UUID) -> ExecutionState:
        """Return how the execution stands."""
        await self._ready
        return await self._service.get_execution_state(execution_id)

    async def wave(self, execution_id: UUID, wave_id: int) -> WaveState:
        """Return how one wave stands."""
        await self._ready
        return await self._service.get_wave_status(execution_id, wave_id)

    async def atom(self, execution_id: UUID, atom_id: str) -> AtomState:
        """Return how one atom stands."""
        await self._ready
        return await self._service.get_atom_status(execution_id, atom_id)

    async def progress(self, execution_id: UUID, since: int = 0) -> Progress:
        """Return the execution at a glance."""
        await self._ready
        state = await self._service.get_execution_state(execution_id)
        machine = self._service.machine(execution_id)
        notices = [item for item in self._notices.get(execution_id, ()) if item[0] > since]
        return Progress(
            state=state,
            wave=wave_state(machine, state.current_wave) if state.current_wave else None,
            notices=tuple(notice for _, notice in notices),
            next_notice=notices[-1][0] if notices else since,
            trouble=self._service.trouble(execution_id),
            driving=self._service.is_driven(execution_id),
        )

    async def wait(self, execution_id: UUID) -> ExecutionState:
        """Return when nothing is in flight and nothing may start."""
        await self._ready
        return await self._service.wait(execution_id)

    async def report(self, execution_id: UUID) -> ExecutionReport:
        """Return what the execution came to."""
        await self._ready
        state = await self._service.get_execution_state(execution_id)
        report = build_report(self._service.machine(execution_id))
        return report.model_copy(update={"status": state.status.value, "reason": state.reason})

    async def accepted_codes(self, execution_id: UUID) -> dict[str, str]:
        """Return the accepted code of every atom that succeeded."""
        await self._ready
        return self._service.machine(execution_id).accepted_codes()

    async def snapshot(self, execution_id: UUID) -> tuple[int, dict[str, Any]]:
        """Return how many events have been handled, and the whole state they led to."""
        await self._ready
        machine = self._service.machine(execution_id)
        return machine.events_handled, machine.snapshot()

    async def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        with contextlib.suppress(RayError, asyncio.TimeoutError):  # it restarts: its last figures stand until then
            self._metrics.throttled(await asyncio.wait_for(self._leases.views(), VIEWS_PATIENCE_S))
        return self._metrics.text()


ExecutionCoordinatorActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(ExecutionCoordinator)
