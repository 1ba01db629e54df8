"""Several executions of one tenant in one world, under one limit that an operator raises and lowers.

The engine is the production one; what must hold at every step: spent + reserved + unknown of all of them never grows
beyond the limit, and what the providers have billed is accounted for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import NANO, to_nano
from mge_ray.domain.errors import BudgetError, StateConflictError
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.domain.tenants import Sums, TenantStanding
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.execution.recovery import replay
from mge_ray.execution.retry_orchestrator import RetryOrchestrator
from mge_ray.execution.wave_executor import WaveExecutor
from tests.fakes.llm import QuotingClient
from tests.fakes.validator import RuleValidator
from tests.simulation.scenario import MOST_RESUMES, drawn_faults, drawn_plan, drawn_settings
from tests.simulation.world import LEASE_TTL_S, Broken, Crash, Provider, World, WorldJournal, WorldLeases, WorldWork

TENANT = "acme"
CHEAPEST_CALL_USD = 0.01


def simulate_tenant(seed: int) -> Shared:
    """Run one seed; raises Broken, or whatever the engine raises, if something does not hold."""
    return asyncio.run(TenantScenario(seed).run())


@dataclass(frozen=True)
class Shared:
    """What became of one seed."""

    statuses: tuple[ExecutionStatus, ...]
    paused_for_the_tenant: int
    crashes: int


class SharedWorld(World):
    """A world in which all executions are driven by one process: they die together."""

    dead = False

    def maybe_crash(self) -> None:
        """Be killed here, sometimes; the dead get no further."""
        if self.dead:
            raise Crash
        try:
            super().maybe_crash()
        except Crash:
            self.dead = True
            raise


class WaitingLeases(WorldLeases):
    """Leases from another process: while one execution waits for its own, others go on."""

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Return what the throttle grants, a little later."""
        granted = await super().try_acquire(pool, lease_ids)
        for _ in range(self._world.draw.randrange(4)):
            await asyncio.sleep(0)
        return granted


class TenantWork(WorldWork):
    """The work port of one of several executions: its provider's bill is its own, the limit everybody's."""

    def __init__(self, scenario: TenantScenario, machine: ExecutionMachine) -> None:
        super().__init__(scenario.world, machine, scenario.each_turn)
        self._scenario = scenario
        self._provider = scenario.providers[machine.execution_id]

    def check_money(self) -> None:
        """Hold the sum of all against the limit, and each bill against its ledger."""
        self._scenario.check()


class TenantScenario:
    """Two to four drawn plans in one drawn world."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(f"tenant {seed}")  # noqa: S311
        plans = [drawn_plan(draw, draw.choice([1, 2, 3, 5, 8])) for _ in range(draw.choice([2, 3, 4]))]
        self.plans = {UUID(int=number + 1): plan for number, plan in enumerate(plans)}
        atoms = sum(len(plan.atoms) for plan in plans)
        faults = drawn_faults(draw)
        self.world = SharedWorld(
            seed, faults, limit_nano=None, leases=draw.choice([3, 10, 50]), atoms=MOST_RESUMES * atoms
        )
        self.settings = {
            one: drawn_settings(draw, len(plan.atoms)).model_copy(update={"tenant": TENANT})
            for one, plan in self.plans.items()
        }
        self.providers = {one: Provider(self.world.draw, faults) for one in self.plans}
        self.limit_usd = draw.choice([0.01, 0.02, 0.05]) * atoms
        self.committed_nano = 0
        self.journal = WorldJournal(self.world)
        self.service = self._new_service()
        self.command: asyncio.Task[ExecutionState | None] | None = None
        self.refused: set[UUID] = set()
        self.paused_for_the_tenant = 0

    def _new_service(self) -> ExecutionServiceV2:
        executor = WaveExecutor(
            RetryOrchestrator(QuotingClient(), RuleValidator()),
            journal=self.journal,
            leases=WaitingLeases(self.world),
            clock=self.world.clock,
            work=lambda machine: TenantWork(self, machine),
        )
        return ExecutionServiceV2(executor, self)

    # ---- what the journal knows of tenants ---------------------------------------------------------------------------

    async def standing(self, tenant: str) -> TenantStanding:
        """Return the limit, and the sums of all executions as they are journalled."""
        assert tenant == TENANT
        return TenantStanding(self.limit_usd, 0.0, {one: self._stored(one) for one in self._journalled()})

    async def limits(self, tenants: Sequence[str]) -> Mapping[str, tuple[float | None, float]]:
        """Return the limit."""
        return dict.fromkeys(tenants, (self.limit_usd, 0.0))

    def _journalled(self) -> list[UUID]:
        return [one for one in self.plans if self._created(one)]

    def _created(self, execution_id: UUID) -> bool:
        try:
            self.journal.state_of(execution_id)
        except LookupError:
            return False
        return True

    def _stored(self, execution_id: UUID) -> Sums:
        """Return the money of an execution as its last append left it."""
        state = self.journal.state_of(execution_id)
        if state is None:
            return Sums()
        amounts = (state.total_cost_usd, state.reserved_cost_usd, state.unknown_cost_usd)
        return Sums(*map(to_nano, amounts))

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold the sum of all ledgers against the limit: whatever was lowered, it must not have grown beyond it."""
        sums = [self._sums(one) for one in self.plans]
        committed = sum(one.committed for one in sums)
        if committed > max(self.committed_nano, to_nano(self.limit_usd)):
            raise Broken(f"the tenant has committed {committed} of {to_nano(self.limit_usd)} nano-dollars")
        self.committed_nano = committed
        for (one, provider), money in zip(self.providers.items(), sums, strict=True):
            if provider.billed_nano > money.committed:
                raise Broken(f"{one} was billed {provider.billed_nano}, and accounts for {money.committed}")

    def _sums(self, execution_id: UUID) -> Sums:
        """Return the money of an execution by its machine, or by the journal between two lives."""
        if execution_id in self.service.execution_ids:
            money = self.service.machine(execution_id).money
            return Sums(money.spent_nano, money.reserved_nano, money.unknown_nano)
        return self._stored(execution_id) if self._created(execution_id) else Sums()

    # ---- from the start to the end -----------------------------------------------------------------------------------

    async def run(self) -> Shared:
        """Drive all of them to their ends, or until nobody gives them more money."""
        for execution_id, plan in self.plans.items():
            await self._start(execution_id, plan)
        for _ in range(MOST_RESUMES):
            await self._until_all_rest()
            resting = [one for one in self.service.execution_ids if not self._status(one).ended]
            if not resting:
                break
            self.paused_for_the_tenant += sum("of the tenant" in self.service.machine(one).reason for one in resting)
            self.limit_usd *= self.world.draw.choice([0.8, 1.0, 1.5, 2.0])
            for one in resting:
                await self._survive(self.service.resume_execution(one))
        await self._until_all_rest()
        self.check()
        self._replays_are_the_same()
        return Shared(
            tuple(self._status(one) for one in self.service.execution_ids),
            self.paused_for_the_tenant,
            self.world.crashes,
        )

    def _status(self, execution_id: UUID) -> ExecutionStatus:
        return self.service.machine(execution_id).status

    async def _start(self, execution_id: UUID, plan: Masterplan) -> None:
        try:
            await self.service.start_plan(plan, settings=self.settings[execution_id], execution_id=execution_id)
        except BudgetError:
            if self._created(execution_id):
                raise Broken("an execution that cannot pay for one call has begun") from None
        except Crash:
            await self._recover()
        except JournalUnavailableError:
            pass

    async def _until_all_rest(self) -> None:
        while True:
            for one in self.service.execution_ids:
                await self.service.wait(one)
            await self._command_ends()
            failures = [failure for one in self.service.execution_ids if (failure := self._failure(one)) is not None]
            if any(isinstance(one, Crash) for one in failures):
                await self._recover()
                continue
            for failure in failures:
                if not isinstance(failure, JournalUnavailableError):
                    raise failure
            if not failures and not any(map(self.service.is_driven, self.service.execution_ids)):
                return
            self.world.clock.at = max(self.world.clock.at, self.world.journal_back_at)
            for one in self.service.execution_ids:
                if isinstance(self._failure(one), JournalUnavailableError):
                    await self._survive(self.service.resume_execution(one))

    def _failure(self, execution_id: UUID) -> BaseException | None:
        task = self.service._tasks.get(execution_id)  # what ended the drive, which views only tell as text
        return None if task is None or not task.done() or task.cancelled() else task.exception()

    async def _recover(self) -> None:
        """All of them die together, and live again together."""
        await self.service.close()
        await self._command_ends()
        self.world.clock.at += self.world.draw.choice([0.5, 3.0, 2 * LEASE_TTL_S])
        self.service, self.world.dead = self._new_service(), False
        for one in self._journalled():
            await self.service.recover_execution(
                one,
                self.plans[one],
                self.journal.events_of(one),
                live_gateways=self.world.live_gateways(),
                settings=self.settings[one],
            )
        self.committed_nano = max(self.committed_nano, sum(self._sums(one).committed for one in self.plans))

    # ---- an operator -------------------------------------------------------------------------------------------------

    async def each_turn(self) -> None:
        """Let an operator do something, now and then, while the engine runs."""
        if self.command is not None and self.command.done():
            await self._command_ends()
        if self.command is None and not self.world.dead and self.world.chance(self.world.faults.command):
            one = self.world.draw.choice(self.service.execution_ids)
            wish = self.world.draw.choices(
                [
                    partial(self.service.pause_execution, one),
                    partial(self.service.resume_execution, one),
                    partial(self.service.pause_execution, one, now=True),
                    partial(self.service.cancel_execution, one),
                    self._another_limit,
                ],
                [5, 20, 3, 1, 10],
            )[0]
            self.command = asyncio.get_running_loop().create_task(wish())
        await asyncio.sleep(0)

    async def _another_limit(self) -> None:
        """Raise or lower the limit of all together, also below what is committed."""
        committed = sum(self._sums(one).committed for one in self.plans) / NANO
        self.limit_usd = committed * self.world.draw.choice([0.8, 1.0, 1.2, 2.0]) + CHEAPEST_CALL_USD
        await self.service.look_at_tenants()

    async def _command_ends(self) -> None:
        command, self.command = self.command, None
        if command is None:
            return
        (ended,) = await asyncio.gather(command, return_exceptions=True)
        allowed = StateConflictError | Crash | JournalUnavailableError | asyncio.CancelledError
        if isinstance(ended, BaseException) and not isinstance(ended, allowed):
            raise ended

    async def _survive(self, request: object) -> None:
        try:
            await request  # type: ignore[misc]
        except (Crash, StateConflictError, JournalUnavailableError):
            return

    def _replays_are_the_same(self) -> None:
        for one in self.service.execution_ids:
            again = replay(one, self.plans[one], self.journal.events_of(one))
            if again.snapshot() != self.service.machine(one).snapshot():
                raise Broken("the replay differs from what was live")
