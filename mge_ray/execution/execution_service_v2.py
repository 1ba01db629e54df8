"""ExecutionServiceV2: starts, pauses, resumes, cancels and shows executions.

Each execution is driven in the background by the WaveExecutor. What a method returns from is journalled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID, uuid4

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.commands import Notice
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import MgeRayError, StateConflictError, UnknownExecutionError
from mge_ray.domain.events import (
    BudgetRaised,
    CancelRequested,
    CodeEdited,
    ConcurrencyChanged,
    CoordinatorRestarted,
    Event,
    ExecutionSettings,
    ExecutionStarted,
    HaltRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
)
from mge_ray.domain.generation import whole
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import ExecutionWave, Masterplan, checked_plan
from mge_ray.domain.progress import atom_state, execution_state, wave_state
from mge_ray.domain.state import AtomState, ExecutionState, ExecutionStatus, WaveState
from mge_ray.domain.throttle import ThrottleView
from mge_ray.domain.validation import ValidationResult
from mge_ray.execution.ports import Candidate, QuotesCalls, TenantBooks
from mge_ray.execution.recovery import replay
from mge_ray.execution.requests import EditRefusedError, approval, candidate_of, check_atom, check_state
from mge_ray.execution.run import ExecutionRun
from mge_ray.execution.tenancy import Tenancy
from mge_ray.execution.wave_executor import TURN_S, WaveExecutor

Watch = Callable[[Notice], None]


class ExecutionServiceV2:
    """The executions of one process. Unknown ids raise UnknownExecutionError, impossible wishes StateConflictError."""

    def __init__(self, wave_executor: WaveExecutor, tenants: TenantBooks | None = None) -> None:
        """Take the engine; without `tenants`, no limit of a tenant is asked for."""
        self.wave_executor = wave_executor
        self._tenancy = Tenancy(tenants)
        self._runs: dict[UUID, ExecutionRun] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    # ---- control --------------------------------------------------------------------------------------------------

    async def start_execution(
        self,
        masterplan_id: UUID,
        execution_plan: Sequence[ExecutionWave],
        atoms: Mapping[str, AtomicUnit],
        *,
        files: Mapping[str, str] | None = None,
        settings: ExecutionSettings | None = None,
    ) -> UUID:
        """Start executing `atoms` in the waves of `execution_plan`; return the execution's id at once.

        `files` is the skeleton with its tests. Raises PlanError for a plan that cannot be executed as written.
        """
        fields = {
            "masterplan_id": masterplan_id,
            "name": f"masterplan {masterplan_id}",
            "atoms": tuple(atoms.values()),
            "execution_plan": tuple(execution_plan),
            "files": dict(files if files is not None else self.wave_executor.retry_orchestrator.files),
        }
        plan = checked_plan(fields)
        return await self.start_plan(plan, settings=settings)

    async def start_plan(
        self,
        plan: Masterplan,
        *,
        settings: ExecutionSettings | None = None,
        execution_id: UUID | None = None,
        watch: Watch | None = None,
    ) -> UUID:
        """Start executing a checked plan; return the execution's id once its start is journalled.

        Raises BudgetError, and nothing has begun, for a budget, or what is left of the tenant's, that not one call
        fits into.
        """
        settings = settings or self.wave_executor.settings()
        account = await self._tenancy.account(settings.tenant)
        tenant_usd = account.limit_usd if account else None
        self._expect_quotes(settings.budget_usd, settings.atom_budget_usd, tenant_usd)
        execution_id = execution_id or uuid4()
        machine = ExecutionMachine(execution_id, plan)
        run = self.wave_executor.new_run(machine, settings)
        run.watch, run.account = watch, account
        run.feed([self._started(run, settings)])
        if _has_limit(settings) or tenant_usd is not None:
            run.expect_affordable()
        run.epoch = await self.wave_executor.journal.create(execution_id, plan, settings)
        self._hold(run)
        started = run.durable()
        self._drive(execution_id)
        await self._done(execution_id, started)
        return execution_id

    async def recover_execution(
        self,
        execution_id: UUID,
        plan: Masterplan,
        events: Iterable[Event],
        *,
        live_gateways: Iterable[str] = (),
        settings: ExecutionSettings | None = None,
        watch: Watch | None = None,
    ) -> ExecutionState:
        """Go on with an execution from its journal. Raises ReplayError if the journal leads nowhere.

        `settings` are those it was created with; they matter where the process died before the start was journalled.
        """
        machine = replay(execution_id, plan, events)
        settings = machine.settings or settings or self.wave_executor.settings()
        run = self.wave_executor.new_run(machine, settings)
        run.watch = watch
        run.told_cost_usd = machine.money.spent_usd
        run.told_unanswered = dict(machine.calls_without_answer)
        run.account = await self._tenancy.account(settings.tenant)
        self._hold(run)
        if not machine.status.ended:
            run.epoch = await self.wave_executor.journal.take_over(execution_id)
            if machine.status is ExecutionStatus.PENDING:
                run.request(self._started(run, settings))
            else:
                run.request(CoordinatorRestarted(self._now(), tuple(live_gateways)))
            self._drive(execution_id)
        return self._view(run)

    async def pause_execution(
        self, execution_id: UUID, *, reason: str = "requested", now: bool = False
    ) -> ExecutionState:
        """Stop dispatching; what is in flight finishes and is kept, or (`now`) is given up: calls as unknown spend.

        Pausing a paused execution changes nothing.
        """
        run = self._run(execution_id)
        if now and (run.machine.status is not ExecutionStatus.PAUSED or run.machine.in_flight):
            await self._send(execution_id, HaltRequested(self._now(), whole(reason)))
        elif run.machine.status is not ExecutionStatus.PAUSED:
            await self._send(execution_id, PauseRequested(self._now(), whole(reason)))
        return self._view(run)

    async def resume_execution(self, execution_id: UUID) -> ExecutionState:
        """Go on from where the execution stands, also after its journal was away. A running one just runs on."""
        run = self._run(execution_id)
        if run.account is not None:
            await self._tenancy.account(run.account.tenant)
        if run.machine.status is not ExecutionStatus.RUNNING:
            await self._send(execution_id, ResumeRequested(self._now()))
        elif not self.is_driven(execution_id):  # it stopped without having been asked to: its journal was away
            self._drive(execution_id)
        return self._view(run)

    async def cancel_execution(self, execution_id: UUID, *, reason: str = "requested") -> ExecutionState:
        """End the execution now: what is queued is dropped, what is in flight is given up as unknown spend."""
        run = self._run(execution_id)
        if run.machine.status is not ExecutionStatus.CANCELLED:
            await self._send(execution_id, CancelRequested(self._now(), whole(reason)))
        return self._view(run)

    async def change_concurrency(self, execution_id: UUID, limit: int, *, by: str) -> ExecutionState:
        """Bound an execution's calls in flight anew, at once; the engine's bound is the greatest of its executions'."""
        run = self._run(execution_id)
        check_state(execution_id, run.machine.status, ConcurrencyChanged)
        await self._send(execution_id, ConcurrencyChanged(self._now(), limit, by))
        await self._retune(limit)
        return self._view(run)

    async def throttling(self) -> list[ThrottleView]:
        """Return how calls are throttled now, by model class."""
        return await self.wave_executor.leases.views()

    async def _retune(self, limit: int) -> None:
        running = (run.machine.settings for run in self._runs.values() if not run.machine.status.ended)
        limits = [one.max_concurrency for one in running if one]
        await self.wave_executor.leases.retune(max(limits, default=limit))  # it may have ended meanwhile

    async def retry_execution(self, execution_id: UUID, atom_ids: Iterable[str] = ()) -> ExecutionState:
        """Grant failed atoms, all or those named, new attempts, and open what they blocked; it is paused after that."""
        run, wanted = self._run(execution_id), tuple(atom_ids)
        check_state(execution_id, run.machine.status, RetryRequested)
        for atom_id in wanted:
            check_atom(run.machine.atom(atom_id), RetryRequested)
        await self._send(execution_id, RetryRequested(self._now(), wanted))
        return self._view(run)

    async def edit_atom(self, execution_id: UUID, atom_id: str, code: str, *, by: str) -> ExecutionState:
        """Give an atom code written by hand, if it passes its check; the execution is paused after that.

        Raises EditRefusedError, and changes nothing, if it does not pass.
        """
        run, code = self._run(execution_id), whole(code)
        check_state(execution_id, run.machine.status, CodeEdited)
        check_atom(run.machine.atom(atom_id), CodeEdited)
        candidate = candidate_of(run.machine, atom_id, code)
        verdict = await self._judge(candidate)
        if not verdict.passed:
            raise EditRefusedError(atom_id, verdict)
        if candidate != candidate_of(run.machine, atom_id, code):
            raise StateConflictError(f"what atom {atom_id!r} rests on has changed meanwhile; edit it again")
        await self._send(execution_id, CodeEdited(self._now(), atom_id, code, by, verdict))
        return self._view(run)

    async def approve_atom(
        self, execution_id: UUID, atom_id: str, *, by: str, note: str = "", despite_failures: bool = False
    ) -> ExecutionState:
        """Say that a person has looked at an atom's code; with `despite_failures`, that a failed one's is to be used.

        The latter opens the execution again, paused.
        """
        run = self._run(execution_id)
        event = approval(run.machine, atom_id, at=self._now(), by=by, note=note, despite_failures=despite_failures)
        await self._send(execution_id, event)
        return self._view(run)

    async def set_budget(self, execution_id: UUID, limit_usd: float, *, by: str, reason: str) -> ExecutionState:
        """Set another limit, not below what is committed; journalled with who and why. A paused one stays paused."""
        run = self._run(execution_id)
        self._expect_quotes(limit_usd)
        await self._send(execution_id, BudgetRaised(self._now(), limit_usd, by, reason))
        return self._view(run)

    async def look_at_tenants(self) -> None:
        """Notice limits of tenants that were changed since; raises JournalUnavailableError."""
        await self._tenancy.look()

    async def wait(self, execution_id: UUID) -> ExecutionState:
        """Return when nothing is in flight and nothing may start: ended, paused, or without its journal."""
        run = self._run(execution_id)
        task = self._tasks.get(execution_id)
        if task is not None:
            await asyncio.wait([task])
        return self._view(run)

    async def close(self) -> None:
        """Stop driving, at once; what is journalled is kept."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # ---- views ----------------------------------------------------------------------------------------------------

    async def get_execution_state(self, execution_id: UUID) -> ExecutionState:
        """Return how the execution stands."""
        return self._view(self._run(execution_id))

    async def get_wave_status(self, execution_id: UUID, wave_id: int) -> WaveState:
        """Return how one wave stands."""
        return wave_state(self._run(execution_id).machine, wave_id)

    async def get_atom_status(self, execution_id: UUID, atom_id: str) -> AtomState:
        """Return how one atom stands."""
        return atom_state(self._run(execution_id).machine, atom_id)

    def machine(self, execution_id: UUID) -> ExecutionMachine:
        """Return the machine itself, to be read only: reports and output are made from it."""
        return self._run(execution_id).machine

    def trouble(self, execution_id: UUID) -> str:
        """Return why nothing is being bought although it should, or the empty string."""
        run, task = self._run(execution_id), self._tasks.get(execution_id)
        if task is not None and task.done() and not task.cancelled() and task.exception():
            return str(task.exception())
        return run.trouble

    def is_driven(self, execution_id: UUID) -> bool:
        """Return whether something is in flight or may still start."""
        task = self._tasks.get(execution_id)
        return task is not None and not task.done()

    def epoch(self, execution_id: UUID) -> int:
        """Return the epoch in which this service writes the execution; 0 while it has had no reason to."""
        return self._run(execution_id).epoch

    @property
    def execution_ids(self) -> tuple[UUID, ...]:
        """Return the executions known here, oldest first."""
        return tuple(self._runs)

    # ---- small parts ----------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self.wave_executor.clock.now()

    def _run(self, execution_id: UUID) -> ExecutionRun:
        try:
            return self._runs[execution_id]
        except KeyError:
            raise UnknownExecutionError(f"no execution {execution_id} here") from None

    def _view(self, run: ExecutionRun) -> ExecutionState:
        state = execution_state(run.machine, now=self._now())
        trouble = self.trouble(run.machine.execution_id)
        if not trouble:
            return state
        stopped = self._tasks[run.machine.execution_id].done() and not state.status.ended
        status = ExecutionStatus.PAUSED if stopped else state.status
        return state.model_copy(update={"status": status, "reason": trouble})

    def _started(self, run: ExecutionRun, settings: ExecutionSettings) -> ExecutionStarted:
        dearest_usd = run.dearest_first_call_usd(settings.policy) if _has_limit(settings) else 0.0
        return ExecutionStarted(self._now(), settings, dearest_usd)

    def _hold(self, run: ExecutionRun) -> None:
        machine = run.machine
        execution_id = machine.execution_id
        self._runs[execution_id] = run
        if run.account is not None:
            began_at = self._now() if machine.started_at is None else machine.started_at
            run.account.hold(execution_id, machine.money, began_at=began_at, moves=lambda: self.is_driven(execution_id))

    def _drive(self, execution_id: UUID) -> None:
        run = self._runs[execution_id]
        self._tasks[execution_id] = asyncio.create_task(self.wave_executor.drive(run), name=f"drive {execution_id}")

    async def _send(self, execution_id: UUID, event: Event) -> None:
        run, task = self._run(execution_id), self._tasks.get(execution_id)
        if run.machine.status is not ExecutionStatus.PENDING:  # one that is about to start takes its requests in turn
            check_state(execution_id, run.machine.status, type(event))
        if not run.epoch:  # it had ended when it was taken up, so nobody has asked for its epoch yet
            run.epoch = await self.wave_executor.journal.take_over(execution_id)
        request = run.request(event)
        if task is None or task.done():
            self._drive(execution_id)
        await self._done(execution_id, request)

    async def _done(self, execution_id: UUID, request: asyncio.Future[None]) -> None:
        """Wait until a request is durable, or the drive that should make it so has failed."""
        task = self._tasks[execution_id]
        await asyncio.wait([request, task], return_when=asyncio.FIRST_COMPLETED)
        if request.done():
            error = request.exception()
            if isinstance(error, MgeRayError):
                raise StateConflictError(f"execution {execution_id}: {error}") from error
            return
        request.cancel()
        failure = None if task.cancelled() else task.exception()
        raise failure or StateConflictError(f"execution {execution_id} ended before the request was heard")

    async def _judge(self, candidate: Candidate) -> ValidationResult:
        """Judge code that did not come from a call, in its turn: a check needs a lease whoever wrote the code."""
        leases, lease_ids = self.wave_executor.leases, [f"by hand:{uuid4()}"]
        while True:
            if await leases.try_acquire(Pool.EXECUTE, lease_ids):
                break
            await asyncio.sleep(TURN_S)
        try:
            return await self.wave_executor.retry_orchestrator.validate(candidate)
        finally:
            await leases.release(Pool.EXECUTE, lease_ids)

    def _expect_quotes(self, *limits_usd: float | None) -> None:
        client = self.wave_executor.retry_orchestrator.llm_client
        if any(limit is not None for limit in limits_usd) and not isinstance(client, QuotesCalls):
            raise StateConflictError("a budget needs a client that can quote calls (max_cost_usd); this one cannot")


def _has_limit(settings: ExecutionSettings) -> bool:
    return settings.budget_usd is not None or settings.atom_budget_usd is not None
