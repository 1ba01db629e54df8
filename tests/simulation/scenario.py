"""One seed, one execution: drawn, driven to its end through crashes and commands, and looked at afterwards."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from mge_ray.domain import commands as c
from mge_ray.domain.cost import to_nano
from mge_ray.domain.errors import BudgetError, StateConflictError
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan, compute_waves
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.execution.retry_orchestrator import RetryOrchestrator
from mge_ray.execution.wave_executor import WaveExecutor
from tests.builders import atom, settings
from tests.fakes.llm import QuotingClient
from tests.fakes.validator import RuleValidator
from tests.simulation.world import LEASE_TTL_S, Broken, Crash, Faults, World, WorldJournal, WorldLeases, WorldWork

MOST_RESUMES = 8


@dataclass(frozen=True)
class Done:
    """What became of one seed."""

    seed: int
    status: ExecutionStatus
    atoms: int
    calls: int
    crashes: int
    gateway_deaths: int
    turns: int


def simulate(seed: int, *, atoms: int | None = None) -> Done:
    """Run one seed; raises Broken, or whatever the engine raises, if something does not hold."""
    return asyncio.run(Scenario(seed, atoms=atoms).run())


def simulate_whole(seed: int, *, atoms: int) -> Done:
    """Run one seed in a world in which calls and checks fail as ever and no process dies, 100 calls at a time."""
    quiet = dict.fromkeys(
        ("coordinator_dies", "gateway_dies", "controller_dies", "journal_away", "command", "refused"), 0.0
    )
    scenario = Scenario(seed, atoms=atoms, faults=replace(Faults(), **quiet), run_settings=settings(), leases=100)
    return asyncio.run(scenario.run())


class Scenario:
    """A drawn plan in a drawn world."""

    def __init__(
        self,
        seed: int,
        *,
        atoms: int | None,
        faults: Faults | None = None,
        run_settings: ExecutionSettings | None = None,
        leases: int | None = None,
    ) -> None:
        draw = random.Random(f"scenario {seed}")  # noqa: S311
        self.seed = seed
        self.id = UUID(int=seed + 1)
        self.plan = drawn_plan(draw, atoms or draw.choice([1, 2, 3, 5, 8, 12, 20]))
        self.settings = run_settings or drawn_settings(draw, len(self.plan.atoms))
        limit = self.settings.budget_usd
        self.world = World(
            seed,
            faults or drawn_faults(draw),
            limit_nano=None if limit is None else to_nano(limit),
            leases=leases or draw.choice([1, 3, 10, 50]),
            atoms=len(self.plan.atoms),
        )
        self.journal = WorldJournal(self.world)
        self.service = self._new_service()
        self.command: asyncio.Task[ExecutionState] | None = None
        self.resumes = 0

    def _new_service(self) -> ExecutionServiceV2:
        executor = WaveExecutor(
            RetryOrchestrator(QuotingClient(), RuleValidator()),
            journal=self.journal,
            leases=WorldLeases(self.world),
            clock=self.world.clock,
            work=lambda machine: WorldWork(self.world, machine, self._each_turn),
        )
        return ExecutionServiceV2(executor)

    async def run(self) -> Done:
        """Drive the execution to its end, whatever happens on the way."""
        if not await self._until_started():
            return Done(self.seed, ExecutionStatus.PENDING, len(self.plan.atoms), 0, 0, 0, 0)
        while True:
            state = await self.service.wait(self.id)
            failure = self._failure()
            if isinstance(failure, Crash):
                await self._recover()
            elif isinstance(failure, JournalUnavailableError):
                self.world.clock.at = max(self.world.clock.at, self.world.journal_back_at)
                await self._survive(self.service.resume_execution(self.id))
            elif failure is not None:
                raise failure
            elif state.status.ended or not await self._goes_on(state):
                break
        await self._command_ends()
        self._look_back()
        machine = self.service.machine(self.id)
        world = self.world
        return Done(
            self.seed,
            machine.status,
            len(machine.atoms),
            len(world.provider.made),
            world.crashes,
            world.gateway_deaths,
            world.turns,
        )

    async def _until_started(self) -> bool:
        """Return False where the budget is too small for a single call: nothing has begun then."""
        try:
            await self.service.start_plan(self.plan, settings=self.settings, execution_id=self.id)
        except BudgetError:
            if self.service.execution_ids or self.world.provider.made:
                raise Broken("an execution that cannot pay for one call has begun") from None
            return False
        except Crash:
            await self._recover()
        except JournalUnavailableError:
            pass
        return True

    async def _recover(self) -> None:
        """Begin another life of the coordinator, once the leases of the former one have run out or not."""
        await self.service.close()
        await self._command_ends()
        self.world.clock.at += self.world.draw.choice([0.5, 3.0, 2 * LEASE_TTL_S])
        self.service = self._new_service()
        await self.service.recover_execution(
            self.id,
            self.plan,
            self.journal.events_of(self.id),
            live_gateways=self.world.live_gateways(),
            settings=self.settings,
        )

    async def _command_ends(self) -> None:
        if self.command is not None:
            await asyncio.gather(self.command, return_exceptions=True)
            self.command = None

    def _failure(self) -> BaseException | None:
        task = self.service._tasks.get(self.id)  # what ended the drive, which views only tell as text
        return None if task is None or task.cancelled() else task.exception()

    async def _goes_on(self, state: ExecutionState) -> bool:
        """Resume what has paused itself, as an operator would, but not for ever."""
        self.resumes += 1
        if self.resumes > MOST_RESUMES:
            return False
        if state.reason.startswith("budget"):
            if self.world.chance(0.4):
                return False
            await self._survive(self._set_another_limit(self.id))
            if self._failure() is not None:  # the process died of it, or its journal is away
                return True
        await self._survive(self.service.resume_execution(self.id))
        return True

    async def _set_another_limit(self, execution_id: UUID) -> ExecutionState:
        """Ask for more money, or for less, which may be less than what is committed."""
        money = self.service.machine(execution_id).money
        limit = (money.spent_usd + money.unknown_usd) * self.world.draw.choice([0.9, 1.1, 1.5, 3.0]) + 0.01
        if self.world.limit_nano is not None:
            self.world.limit_nano = max(self.world.limit_nano, to_nano(limit))
        return await self.service.set_budget(execution_id, limit, by="operator", reason="drawn")

    async def _survive(self, request: object) -> None:
        try:
            await request  # type: ignore[misc]
        except (Crash, StateConflictError, JournalUnavailableError):
            return

    async def _each_turn(self) -> None:
        """Let an operator do something, now and then, while the engine runs."""
        if self.command is not None and self.command.done():
            if not self.command.cancelled() and self.command.exception() is not None:
                allowed = (StateConflictError, Crash, JournalUnavailableError)
                if not isinstance(self.command.exception(), allowed):
                    raise self.command.exception()  # type: ignore[misc]
            self.command = None
        if self.command is None and self.world.chance(self.world.faults.command):
            wish = self.world.draw.choices(
                [
                    self.service.pause_execution,
                    self.service.resume_execution,
                    self.service.cancel_execution,
                    partial(self.service.pause_execution, now=True),
                    partial(self.service.change_concurrency, limit=self.world.draw.randint(1, 50), by="a test"),
                    self._set_another_limit,
                ],
                [10, 20, 1, 5, 5, 3],
            )[0]
            self.command = asyncio.get_running_loop().create_task(wish(self.id))
        await asyncio.sleep(0)

    # ---- afterwards --------------------------------------------------------------------------------------------------

    def _look_back(self) -> None:
        machine = self.service.machine(self.id)
        self._replay_is_the_same(machine)
        self._no_lease_is_left()
        self._books_agree(machine)
        if machine.in_flight:
            raise Broken(f"{machine.in_flight} pieces of work in flight in an execution that has ended")

    def _replay_is_the_same(self, machine: ExecutionMachine) -> None:
        again, ends = ExecutionMachine(self.id, self.plan), set()
        for event in self.journal.events_of(self.id):
            for told in again.handle(event):
                if isinstance(told, c.AtomFinished):
                    if told.atom_id in ends:
                        raise Broken(f"{told.atom_id} ended twice")
                    ends.add(told.atom_id)
        if again.snapshot() != machine.snapshot():
            raise Broken("the replay differs from what was live")

    def _no_lease_is_left(self) -> None:
        later = self.world.clock.at + (2 * LEASE_TTL_S if self.world.crashes else 0.0)
        if any(self.world.controller.in_use(now=later).values()):
            raise Broken(f"leases are left: {self.world.controller.in_use(now=later)}")

    def _books_agree(self, machine: ExecutionMachine) -> None:
        money = machine.money
        unsettled = sum(nano for call_id, nano in self.world.provider.billed.items() if call_id in money.lost)
        if self.world.provider.billed_nano != money.spent_nano + unsettled:
            raise Broken(f"billed {self.world.provider.billed_nano}, spent {money.spent_nano}, lost {unsettled}")


def drawn_plan(draw: random.Random, count: int) -> Masterplan:
    """Draw atoms that rest on earlier ones, some of them tested, with gates after some waves."""
    made = []
    for number in range(count):
        earlier = draw.sample(range(number), min(number, draw.choice([0, 0, 1, 1, 2, 3])))
        near = [n for n in earlier if number - n < 10]  # a plan as deep as wide
        tests = {"tests": ("tests/test_all.py",)} if draw.random() < 0.5 else {}
        made.append(atom(f"a{number}", *(f"a{n}" for n in near), **tests))
    waves = [
        wave.model_copy(update={"tests": ("tests/test_all.py",)}) if draw.random() < 0.3 else wave
        for wave in compute_waves(made)
    ]
    return Masterplan(
        name="drawn",
        atoms=tuple(made),
        files={"tests/test_all.py": ""},
        execution_plan=tuple(waves),
        acceptance_tests=("tests",) if draw.random() < 0.5 else (),
    )


def drawn_settings(draw: random.Random, atoms: int) -> ExecutionSettings:
    """Draw a budget that may be too small, and limits that may be low."""
    policy = {"model": "m", "accepts_sampling": True, "max_attempts": draw.choice([1, 2, 4, 4])}
    policy["learns_max_tokens"] = draw.random() < 0.7
    return settings(
        policy=policy,
        budget_usd=draw.choice([None, None, 0.01 * atoms, 0.03 * atoms, 1.0 * atoms]),
        atom_budget_usd=draw.choice([None, None, None, 0.05, 0.2]),
        max_concurrency=draw.choice([1, 5, 100]),
        max_transport_tries=draw.choice([2, 12]),
        max_worker_losses=draw.choice([1, 3]),
        atom_timeout_s=draw.choice([40.0, 300.0]),
    )


def drawn_faults(draw: random.Random) -> Faults:
    """Draw a world in which everything goes wrong, or nothing but one thing, or hardly anything."""
    whole = Faults()
    kind = draw.randrange(4)
    if kind == 0:
        return Faults(**dict.fromkeys(Faults.__dataclass_fields__, 0.0))
    if kind == 1:
        return replace(whole, coordinator_dies=0.05, gateway_dies=0.03)
    return whole
