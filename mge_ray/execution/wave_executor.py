"""WaveExecutor: the loop between the machine and the world.

Each turn: take what has happened, let the machine decide, get leases and reservations for what could start, write the
journal, and only then act. The same loop drives asyncio tasks in a library and Ray tasks on a cluster; only the Work
port below it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from structlog.contextvars import bound_contextvars

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.commands import (
    Accept,
    Execute,
    Generate,
    Release,
)
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.events import (
    AtomTimedOut,
    ExecutionSettings,
    ExecutionStarted,
    LeaseGranted,
    PauseRequested,
)
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import ExecutionWave, Masterplan, checked_plan
from mge_ray.domain.progress import execution_state
from mge_ray.execution.affording import affordable, end_the_too_dear, out_of_money
from mge_ray.execution.async_work import AsyncWork
from mge_ray.execution.defaults import LocalLeases, NoMetrics, SystemClock
from mge_ray.execution.facts import JournalAway
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.observing import call_outcomes
from mge_ray.execution.ports import Clock, Journal, JournalUnavailableError, Leases, Metrics, Traces, Work
from mge_ray.execution.priming import PromptPriming
from mge_ray.execution.results import ExecutionResult, result_of
from mge_ray.execution.retry_orchestrator import RetryOrchestrator
from mge_ray.execution.reuse import CodeReuse
from mge_ray.execution.run import ExecutionRun
from mge_ray.execution.telling import tell, tell_at_once, tell_left

TURN_S = 0.1
"""The longest a turn waits, so that requests from outside are answered within it."""

RENEW_EVERY_S = 5.0
HEARTBEAT_EVERY_S = 2.0
JOURNAL_PATIENCE_S = 20.0
CHECKS_ASKED_FOR_AT_ONCE = 32
PRICED_ANEW_A_TURN = 8
"""Of the calls that do not fit: answers that came meanwhile may have taught a lower price."""


class WaveExecutor:
    """Executes waves, plans and whole executions, at most `max_concurrency` calls at a time."""

    def __init__(
        self,
        retry_orchestrator: RetryOrchestrator,
        max_concurrency: int = 100,
        *,
        journal: Journal | None = None,
        leases: Leases | None = None,
        metrics: Metrics | None = None,
        metrics_for: Callable[[ExecutionMachine], Metrics] | None = None,
        traces_for: Callable[[ExecutionMachine], Traces] | None = None,
        clock: Clock | None = None,
        work: Callable[[ExecutionMachine], Work] | None = None,
        journal_patience_s: float = JOURNAL_PATIENCE_S,
        reuse: CodeReuse | None = None,
        prefix_tokens: Callable[[Masterplan], int] | None = None,
    ) -> None:
        """Take the ports; those not given live in this process and keep everything in memory.

        Without `reuse` nothing is taken over from earlier executions; without `prefix_tokens` (the length of what all
        prompts of a plan share) no call goes ahead of others.
        """
        self.retry_orchestrator = retry_orchestrator
        self.max_concurrency = max_concurrency
        self.journal: Journal = journal or MemoryJournal()
        self.clock = clock or SystemClock()
        self.leases = leases or LocalLeases(max_concurrency, clock=self.clock)
        everybodys = metrics or NoMetrics()
        self._metrics_for = metrics_for or (lambda _machine: everybodys)
        self._traces_for = traces_for
        self._work = work
        self._journal_patience_s = journal_patience_s
        self._reuse = reuse
        self._prefix_tokens = prefix_tokens

    # ---- the seed's methods ---------------------------------------------------------------------------------------

    async def execute_wave(
        self,
        wave_atoms: Sequence[AtomicUnit],
        all_atoms: Mapping[str, AtomicUnit],
        accepted: Mapping[str, str] | None = None,
    ) -> dict[str, ExecutionResult]:
        """Execute atoms that do not depend on each other; return what became of each, by id.

        `accepted` holds the code of atoms of earlier waves. One atom's failure is that atom's alone.
        """
        codes = dict(accepted or {})
        known = {**all_atoms, **{atom.id: atom for atom in wave_atoms}}
        unknown = {atom.id: dep for atom in wave_atoms if (dep := _first_unknown(atom, known)) is not None}
        runnable = [atom for atom in wave_atoms if atom.id not in unknown]
        results = {
            atom_id: ExecutionResult(
                atom_id=atom_id, success=False, error=f"atom {atom_id!r} rests on {dep!r}, which is unknown"
            )
            for atom_id, dep in unknown.items()
        }
        if runnable:
            machine = await self._run_alone(runnable, known, codes)
            results |= {atom_id: result_of(record) for atom_id, record in machine.atoms.items()}
        return {atom.id: results[atom.id] for atom in wave_atoms}

    async def execute_plan(
        self, execution_plan: Sequence[ExecutionWave], atoms: Mapping[str, AtomicUnit]
    ) -> dict[str, ExecutionResult]:
        """Execute waves one after the other; dependents of a failed atom are blocked, unrelated ones go on.

        Raises PlanError if the waves do not hold each atom once, after its dependencies.
        """
        waves, files = tuple(execution_plan), self.retry_orchestrator.files
        plan = checked_plan({"name": "plan", "atoms": tuple(atoms.values()), "execution_plan": waves, "files": files})
        machine = await self._run_here(plan)
        return {atom_id: result_of(record) for atom_id, record in machine.atoms.items()}

    async def execute_atom(self, atom: AtomicUnit, dependencies: Sequence[AcceptedAtom]) -> AtomRecord:
        """Execute one atom whose dependencies are at hand; return its record."""
        known = {atom.id: atom} | {dependency.atom.id: dependency.atom for dependency in dependencies}
        codes = {dependency.atom.id: dependency.code for dependency in dependencies if dependency.code is not None}
        machine = await self._run_alone([atom], known, codes)
        record = machine.atoms[atom.id]
        record.cause = record.cause or machine.reason
        return record

    # ---- one execution --------------------------------------------------------------------------------------------

    def settings(self) -> ExecutionSettings:
        """Return the settings of an execution that names none."""
        reuse = self._reuse.settings if self._reuse else None
        policy = self.retry_orchestrator.policy
        return ExecutionSettings(policy=policy, max_concurrency=self.max_concurrency, reuse=reuse)

    def new_run(self, machine: ExecutionMachine, settings: ExecutionSettings) -> ExecutionRun:
        """Return a run whose work is the production side if there is one, else asyncio."""
        work: Work = (
            self._work(machine)
            if self._work is not None
            else AsyncWork(
                self.retry_orchestrator,
                machine.plan,
                machine.accepted_codes,
                clock=self.clock,
                call_timeout_s=settings.call_timeout_s,
            )
        )
        run = self._run_of(machine, work)
        run.reuse = self._reuse.of(machine, settings) if self._reuse else None
        if settings.prime_prompt_cache and self._prefix_tokens is not None:
            run.priming = PromptPriming(self._prefix_tokens(machine.plan))
        return run

    def _run_of(self, machine: ExecutionMachine, work: Work) -> ExecutionRun:
        run = ExecutionRun(machine, work, self._metrics_for(machine))
        run.traces = self._traces_for(machine) if self._traces_for else None
        return run

    async def drive(self, run: ExecutionRun) -> None:
        """Drive one execution until nothing is in flight and nothing may start.

        Raises JournalUnavailableError when the journal stays away for too long, StaleEpochError when another process
        has taken over; nothing is bought after either.
        """
        with bound_contextvars(execution_id=str(run.machine.execution_id)):
            try:
                await self._drive(run)
            except BaseException as error:
                tell_left(run, error)
                raise

    async def _drive(self, run: ExecutionRun) -> None:
        run.work.fence(run.epoch)
        next_renewal = next_heartbeat = self.clock.now()
        while True:
            now = self.clock.now()
            self._take_requests(run)
            run.feed([AtomTimedOut(now, atom_id) for atom_id in run.machine.overdue(now=now)])
            if not run.trouble:
                await self._release(run)
                await self._start_what_can(run)
            await self._write(run)
            if not run.trouble:
                await self._release(run)
                _act(run)
            tell(run)
            settled = run.machine.settled and not run.unwritten and not run.requests
            if run.reuse:
                await run.reuse.flush(now, last=settled)
            if settled and not run.requests:
                return
            if now >= next_renewal:
                await self.leases.renew(run.machine.held_leases())
                next_renewal = now + RENEW_EVERY_S
            if now >= next_heartbeat:
                await self._beat(run)
                next_heartbeat = now + HEARTBEAT_EVERY_S
            events = await run.work.wait_any(self._patience_s(run, now))
            if outcomes := call_outcomes(run.machine, events):
                await self.leases.observe(outcomes)
            run.priming.landed(events, now=self.clock.now())
            run.feed(events)

    def _take_requests(self, run: ExecutionRun) -> None:
        requests, run.requests = run.requests, []
        for event, future in requests:
            if future.cancelled():
                continue
            refused = run.try_feed(event)
            if refused is None:
                run.answered.append(future)
            else:
                future.set_exception(refused)

    async def _start_what_can(self, run: ExecutionRun) -> None:
        await self._start_checks(run)
        if await self._take_over(run):
            await self._start_calls(run)

    async def _take_over(self, run: ExecutionRun) -> bool:
        """Take what was bought before, wave after wave; return whether the rest may be bought."""
        try:
            while run.reuse and (hits := await run.reuse.look_up(self.clock.now())):
                run.feed(hits)
        except JournalUnavailableError:  # it is asked again next turn, before anything is bought
            return False
        return True

    async def _start_checks(self, run: ExecutionRun) -> None:
        machine = run.machine
        ready = machine.ready(Pool.EXECUTE, now=self.clock.now(), limit=CHECKS_ASKED_FOR_AT_ONCE)
        if ready:
            await self._lease(run, Pool.EXECUTE, {machine.lease(Pool.EXECUTE, name).id: (name, 0.0) for name in ready})

    async def _start_calls(self, run: ExecutionRun) -> None:
        machine, now = run.machine, self.clock.now()
        settings = machine.settings or self.settings()
        places = settings.max_concurrency - machine.flying[Pool.GENERATE]
        ready = machine.ready(Pool.GENERATE, now=now, limit=places) if places > 0 else []
        if end_the_too_dear(run, ready, now):
            return  # what is left is looked at in the next turn
        wanted, refused = affordable(run, run.priming.chosen([run.offer(atom_id) for atom_id in ready], now=now))
        for atom_id in refused[:PRICED_ANEW_A_TURN]:
            run.offers.pop(atom_id)
        if wanted:
            await self._lease(run, Pool.GENERATE, wanted)
        elif refused and not machine.in_flight:
            reason = out_of_money(run, run.offer(refused[0]).usd)
            if reason:
                run.feed([PauseRequested(now, reason)])

    async def _lease(self, run: ExecutionRun, pool: Pool, wanted: Mapping[str, tuple[str, float]]) -> None:
        """Ask for leases; what is granted is an intent to act on an atom, with its reservation in US dollars."""
        granted = await self.leases.try_acquire(pool, list(wanted))
        now, unused = self.clock.now(), []
        for lease_id in granted:
            atom_id, usd = wanted[lease_id]
            if usd and not run.tenant_affords(usd):  # another execution of the tenant has reserved meanwhile
                unused.append(lease_id)
                continue
            gateway = run.work.gateway_for(atom_id) if pool is Pool.GENERATE else ""
            run.feed([LeaseGranted(now, pool, atom_id, lease_id, usd, gateway)])
            run.offers.pop(atom_id, None)
        if unused:
            await self.leases.release(pool, unused)

    async def _write(self, run: ExecutionRun) -> None:
        if not run.unwritten:
            return
        machine = run.machine
        try:
            await self.journal.append(machine.execution_id, run.epoch, run.unwritten, execution_state(machine))
        except JournalUnavailableError as error:
            self._endure(run, error)
            return
        written, run.unwritten, run.trouble = run.unwritten, [], ""
        if run.reuse:
            run.reuse.note(written)
        answered, run.answered = run.answered, []
        for future in answered:
            if not future.done():
                future.set_result(None)

    async def _beat(self, run: ExecutionRun) -> None:
        try:
            await self.journal.heartbeat(run.machine.execution_id, run.epoch)
        except JournalUnavailableError as error:
            self._endure(run, error)
        else:
            run.trouble = run.trouble if run.unwritten else ""

    def _endure(self, run: ExecutionRun, error: JournalUnavailableError) -> None:
        """Buy nothing while the journal is away; raise when that has lasted too long and nothing is in flight."""
        now = self.clock.now()
        if not run.trouble:
            run.trouble_since = now
            tell_at_once(run, JournalAway())
        run.trouble = str(error)
        if now - run.trouble_since >= self._journal_patience_s and not _submitted(run):
            raise error

    async def _release(self, run: ExecutionRun) -> None:
        """Give leases back as soon as their work has landed: no harm comes of it before the journal is written."""
        released: dict[Pool, list[str]] = {}
        for command in run.held:
            if isinstance(command, Release):
                released.setdefault(command.pool, []).append(command.lease_id)
        run.held = [command for command in run.held if not isinstance(command, Release)]
        for pool, lease_ids in released.items():
            await self.leases.release(pool, lease_ids)

    def _patience_s(self, run: ExecutionRun, turn_began_at: float) -> float:
        wake = run.machine.next_wake()
        if wake is None or wake <= turn_began_at:  # what is awake already waits for a lease, money or a resume
            return TURN_S
        return min(TURN_S, max(0.001, wake - self.clock.now()))

    # ---- running in this process ----------------------------------------------------------------------------------

    async def _run_alone(
        self, atoms: Sequence[AtomicUnit], known: Mapping[str, AtomicUnit], codes: Mapping[str, str]
    ) -> ExecutionMachine:
        stripped = tuple(atom.model_copy(update={"depends_on": (), "tests": ()}) for atom in atoms)
        files = self.retry_orchestrator.files
        plan = checked_plan({"name": "wave", "atoms": stripped, "files": files})
        machine = ExecutionMachine(uuid4(), plan)
        settings = self.settings()
        work = AsyncWork(
            self.retry_orchestrator,
            plan,
            lambda: {**codes, **machine.accepted_codes()},
            clock=self.clock,
            atoms=known,
            call_timeout_s=settings.call_timeout_s,
        )
        return await self._run_machine(self._run_of(machine, work), settings)

    async def _run_here(self, plan: Masterplan) -> ExecutionMachine:
        settings = self.settings()
        return await self._run_machine(self.new_run(ExecutionMachine(uuid4(), plan), settings), settings)

    async def _run_machine(self, run: ExecutionRun, settings: ExecutionSettings) -> ExecutionMachine:
        run.epoch = await self.journal.create(run.machine.execution_id, run.machine.plan, settings)
        run.feed([ExecutionStarted(self.clock.now(), settings)])
        await self.drive(run)
        return run.machine


def _first_unknown(atom: AtomicUnit, known: Mapping[str, AtomicUnit]) -> str | None:
    """Return an id in the atom's dependency closure that `known` does not have."""
    queue = list(dict.fromkeys(atom.depends_on))
    for atom_id in queue:
        if atom_id not in known:
            return atom_id
        queue += [further for further in known[atom_id].depends_on if further not in queue]
    return None


def _act(run: ExecutionRun) -> None:
    commands, run.held = run.held, []
    for command in commands:
        if run.reuse and isinstance(command, Execute):
            run.reuse.checking(command.atom_id)
        if isinstance(command, Generate):
            run.priming.began(command, now=run.machine.last_at)
        run.work.submit(command)  # type: ignore[arg-type]  # releases have been taken out


def _submitted(run: ExecutionRun) -> bool:
    """Return whether anything that was really submitted is still in flight: held commands are not."""
    return run.machine.in_flight > sum(isinstance(command, Generate | Execute | Accept) for command in run.held)
