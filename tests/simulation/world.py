"""A world in virtual time: a provider that bills, gateways and workers that die, a journal that stalls, and a clock.

What runs in it is the production engine, unmodified: service, executor, machine, ledger, throttle. Every choice comes
from one seed, so a failing seed fails again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from mge_ray.domain.commands import Abandon, Accept, Execute, Generate
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import NANO, to_nano
from mge_ray.domain.events import (
    AcceptanceFinished,
    AcceptanceLost,
    AtomExecuted,
    Event,
    GenerationArrived,
    GenerationFailed,
    WorkerLost,
)
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation, StopReason, Usage
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.throttle import CallOutcome, Throttles, ThrottleView
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.ports import JournalUnavailableError, WorkCommand
from tests.builders import PASSED, failed, generation

MOST_TURNS, TURNS_AN_ATOM = 100_000, 100
LEASE_TTL_S = 30.0
LONGEST_LOOK_AHEAD_S = 5.0
"""Shorter than a lease's life, so that what is held is renewed in time."""


class Crash(Exception):  # noqa: N818  # not an error of the code under test: the process dies here
    """The coordinator's process is killed at this point: whatever it has not handed to others is gone."""


class Broken(AssertionError):  # noqa: N818
    """Something that must always hold does not."""


@dataclass(frozen=True)
class Faults:
    """How often things go wrong: shares of calls, checks and turns."""

    pushed_back: float = 0.05
    server_error: float = 0.03
    stalled: float = 0.02
    refused: float = 0.005
    bad_answer: float = 0.05
    wrong: float = 0.2
    worker_dies: float = 0.02
    gateway_dies: float = 0.01
    controller_dies: float = 0.005
    coordinator_dies: float = 0.01
    journal_away: float = 0.005
    command: float = 0.05


class VirtualClock:
    """The clock port; passes only when nothing else can happen."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self.at


@dataclass
class Gateway:
    """What a gateway process remembers: calls under way, and answers until they are acknowledged."""

    name: str
    calls: dict[str, tuple[float, Generation | CallFailure]] = field(default_factory=dict)


class Provider:
    """Makes calls, and knows what it has billed: the truth that the ledger is held against."""

    def __init__(self, draw: random.Random, faults: Faults) -> None:
        self._draw, self._faults = draw, faults
        self.billed: dict[str, int] = {}
        self.billed_nano = 0
        self.made: set[str] = set()

    def call(self, call_id: str, most_usd: float, max_tokens: int) -> tuple[float, Generation | CallFailure]:
        """Make a call; return its seconds and what becomes of it."""
        if call_id in self.made:
            raise Broken(f"{call_id} was made twice")
        self.made.add(call_id)
        lot, faults = self._draw.random(), self._faults
        seconds = 5 * self._draw.lognormvariate(0, 0.6)
        if lot < faults.pushed_back:
            kind = self._draw.choice([FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.RAMP_LIMITED])
            return 0.1, CallFailure(kind, "wait", retry_after_s=self._draw.choice([None, 1.0, 10.0]))
        lot -= faults.pushed_back
        if lot < faults.server_error:
            return 0.5, CallFailure(FailureKind.SERVER_ERROR, "500")
        lot -= faults.server_error
        if lot < faults.stalled:
            self._bill(call_id, most_usd, self._draw.choice([0.0, 1.0]))
            return 60.0, CallFailure(FailureKind.TIMEOUT, "silence", Billing.UNKNOWN)
        lot -= faults.stalled
        if lot < faults.refused:
            return 0.2, CallFailure(FailureKind.REQUEST_REFUSED, "no")
        return seconds, self._answer(call_id, most_usd, max_tokens)

    def _answer(self, call_id: str, most_usd: float, max_tokens: int) -> Generation:
        usd = self._bill(call_id, most_usd, self._draw.uniform(0.2, 1.0))
        tokens = int(300 * self._draw.lognormvariate(0, 0.7))
        if tokens > max_tokens:
            cut = generation(None, usd=usd, stop_reason=StopReason.MAX_TOKENS)
            return replace(cut, usage=Usage(10, max_tokens))
        if self._draw.random() < self._faults.bad_answer:
            stop = self._draw.choice([StopReason.MAX_TOKENS, StopReason.REFUSAL, StopReason.OTHER])
            return generation(None, usd=usd, stop_reason=stop)
        return replace(generation(f"code of {call_id}\n", usd=usd), usage=Usage(10, tokens))

    def _bill(self, call_id: str, most_usd: float, share: float) -> float:
        usd = most_usd * share
        if to_nano(usd):
            self.billed[call_id] = to_nano(usd)
            self.billed_nano += to_nano(usd)
        return usd


class World:
    """Everything outside the engine's own code, and when it goes wrong."""

    def __init__(self, seed: int, faults: Faults, *, limit_nano: int | None, leases: int, atoms: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311
        self.faults = faults
        self.clock = VirtualClock()
        self.provider = Provider(self.draw, faults)
        self.limit_nano = limit_nano
        """The highest limit that anybody has ever asked for; None where there was none at the start."""
        self.leases = leases
        self.most_turns = MOST_TURNS + TURNS_AN_ATOM * atoms
        self.controller = self._new_controller()
        self.gateways = [Gateway("g0"), Gateway("g1")]
        self.numbers = count(2)
        self.turns = 0
        self.journal_back_at = 0.0
        self.crashes = self.gateway_deaths = 0

    def chance(self, share: float) -> bool:
        """Draw whether something that happens with this probability happens now."""
        return self.draw.random() < share

    def maybe_crash(self) -> None:
        """Be killed here, sometimes: at every border between the engine's code and the world."""
        if self.chance(self.faults.coordinator_dies):
            self.crashes += 1
            raise Crash

    def _new_controller(self) -> Throttles:
        return Throttles(8, self.leases, start=self.leases, ttl_s=LEASE_TTL_S)

    def live_gateways(self) -> tuple[str, ...]:
        """Return the incarnations that live."""
        return tuple(gateway.name for gateway in self.gateways)

    def things_go_wrong(self) -> None:
        """Let other processes die, at a turn of the engine's loop."""
        self.turns += 1
        if self.turns > self.most_turns:
            raise Broken("the execution does not end")
        if self.chance(self.faults.gateway_dies):
            self.gateway_deaths += 1
            self.gateways[self.draw.randrange(len(self.gateways))] = Gateway(f"g{next(self.numbers)}")
        if self.chance(self.faults.controller_dies):
            self.controller = self._new_controller()
        if self.chance(self.faults.journal_away):
            self.journal_back_at = self.clock.at + self.draw.uniform(0.1, 15.0)

    def gateway(self, name: str) -> Gateway | None:
        """Return the gateway of that incarnation, if it lives."""
        return next((gateway for gateway in self.gateways if gateway.name == name), None)


class WorldJournal(MemoryJournal):
    """A journal that is away at times, and around whose writes the process may die."""

    def __init__(self, world: World) -> None:
        super().__init__(clock=world.clock.now)
        self._world = world

    async def append(self, *arguments: Any) -> None:
        """Write, or be away; be killed before or after."""
        self._world.maybe_crash()
        if self._world.clock.at < self._world.journal_back_at:
            raise JournalUnavailableError("the disk is full")
        await super().append(*arguments)
        self._world.maybe_crash()


class WorldLeases:
    """The leases port over the world's controller, which may have been replaced meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def try_acquire(self, pool: Pool, lease_ids: Sequence[str]) -> list[str]:
        """Return what the throttle grants."""
        self._world.maybe_crash()
        return self._world.controller.try_acquire(pool, lease_ids, now=self._world.clock.at)

    async def observe(self, outcomes: Sequence[CallOutcome]) -> None:
        """Let the throttle learn."""
        self._world.controller.observe(outcomes, now=self._world.clock.at)

    async def release(self, pool: Pool, lease_ids: Sequence[str]) -> None:
        """Give leases back."""
        self._world.maybe_crash()
        self._world.controller.release(pool, lease_ids)

    async def retune(self, limit: int) -> None:
        """Set another upper bound."""
        self._world.controller.retune(limit)

    async def views(self) -> list[ThrottleView]:
        """Return how calls are throttled."""
        return self._world.controller.views(now=self._world.clock.at)

    async def renew(self, held: Mapping[Pool, Sequence[str]]) -> None:
        """Prolong leases."""
        for pool, lease_ids in held.items():
            self._world.controller.renew(pool, lease_ids, now=self._world.clock.at)


class WorldWork:
    """The work port of one life of the coordinator: what it waits for is forgotten with it, what gateways do is not."""

    def __init__(self, world: World, machine: ExecutionMachine, each_turn: Any) -> None:
        self._world, self._machine, self._each_turn = world, machine, each_turn
        self._provider = world.provider
        self._calls: dict[str, Generate] = {}
        self._checks: list[tuple[float, int, str, Event]] = []

    def quote_usd(self, command: Generate) -> float:
        """Return the most a call can bill; the same for a call however often it is asked."""
        return 0.01 * (1 + len(command.atom_id) % 3) * command.settings.max_tokens / 4_096

    def gateway_for(self, atom_id: str) -> str:
        """Return any gateway that lives."""
        return self._world.draw.choice(self._world.live_gateways())

    def fence(self, epoch: int) -> None:
        """Do nothing: the dead do not call."""

    def submit(self, command: WorkCommand) -> None:
        """Begin."""
        self._world.maybe_crash()
        if isinstance(command, Generate):
            self._generate(command)
        elif isinstance(command, Execute):
            self._check(command)
        elif isinstance(command, Accept):
            verdict = failed("the story fails") if self._world.chance(0.2) else PASSED
            blamed = tuple(self._some_atoms()) if not verdict.passed else ()
            now = self._world.clock.at
            event: Event = AcceptanceFinished(now, verdict.model_copy(update={"blamed": blamed}))
            self._later(1.0, "", AcceptanceLost(now, "gone") if self._world.chance(0.1) else event)
        elif isinstance(command, Abandon):
            self._forget(command.call_id, command.gateway)
            self._checks = [one for one in self._checks if one[2] != command.call_id]
        else:
            self._forget(command.call_id, command.gateway)

    def _generate(self, command: Generate) -> None:
        self._one_call_an_atom(command)
        self._in_order(command.atom_id)
        self._calls[command.call_id] = command
        gateway = self._world.gateway(command.gateway)
        if gateway is not None and command.call_id not in gateway.calls:
            most_usd, max_tokens = self.quote_usd(command), command.settings.max_tokens
            seconds, answer = self._provider.call(command.call_id, most_usd, max_tokens)
            gateway.calls[command.call_id] = (self._world.clock.at + seconds, answer)
        self.check_money()

    def _one_call_an_atom(self, command: Generate) -> None:
        others = [one for one in self._calls.values() if one.atom_id == command.atom_id]
        if any(one.call_id != command.call_id for one in others):
            raise Broken(f"{command.atom_id} is being generated twice at a time")

    def _in_order(self, atom_id: str) -> None:
        plan, atoms = self._machine.plan, self._machine.atoms
        for wave in plan.waves[: plan.wave_of[atom_id] - 1]:
            for earlier in wave.atom_ids:
                if not (atoms[earlier].status.ended or atoms[earlier].reopened):
                    raise Broken(f"{atom_id} began before {earlier} of an earlier wave had ended")

    def _check(self, command: Execute) -> None:
        world = self._world
        if world.chance(world.faults.worker_dies):
            self._later(0.5, command.call_id, WorkerLost(world.clock.at, command.atom_id, command.call_id, "killed"))
            return
        verdict = PASSED
        if world.chance(world.faults.wrong):
            verdict = failed("3 != 4").model_copy(update={"blamed": tuple(self._some_atoms())})
        self._later(
            world.draw.uniform(0.05, 0.5),
            command.call_id,
            AtomExecuted(world.clock.at, command.atom_id, command.call_id, verdict),
        )

    def _some_atoms(self) -> list[str]:
        atoms = self._machine.plan.atoms
        return [one.id for one in self._world.draw.sample(atoms, min(len(atoms), self._world.draw.randrange(3)))]

    def _later(self, seconds: float, call_id: str, event: Event) -> None:
        heapq.heappush(self._checks, (self._world.clock.at + seconds, next(self._world.numbers), call_id, event))

    def _forget(self, call_id: str, name: str) -> None:
        self._calls.pop(call_id, None)
        gateway = self._world.gateway(name)
        if gateway is not None:
            gateway.calls.pop(call_id, None)

    async def wait_any(self, timeout_s: float) -> list[Event]:
        """Return what has happened; time passes to the next happening, at most by `timeout_s`."""
        world = self._world
        world.things_go_wrong()
        world.maybe_crash()
        self.check_money()
        await self._each_turn()
        due = [one[0] for one in self._checks[:1]]
        due += [self._due(call_id, command.gateway) for call_id, command in self._calls.items()]
        wake = self._machine.next_wake()
        due += [wake] if wake is not None and wake > world.clock.at else []
        patience_s = LONGEST_LOOK_AHEAD_S if due else timeout_s  # who could interrupt lives in the same loop
        world.clock.at = max(world.clock.at, min([world.clock.at + patience_s, *due]))
        return self._happened()

    def _due(self, call_id: str, name: str) -> float:
        gateway = self._world.gateway(name)
        return gateway.calls[call_id][0] if gateway is not None and call_id in gateway.calls else 0.0

    def _happened(self) -> list[Event]:
        now, events = self._world.clock.at, []
        while self._checks and self._checks[0][0] <= now:
            events.append(heapq.heappop(self._checks)[3])
        for call_id, command in list(self._calls.items()):
            gateway = self._world.gateway(command.gateway)
            if gateway is None or call_id not in gateway.calls:
                lost = CallFailure(FailureKind.GATEWAY_LOST, "its process is gone", Billing.UNKNOWN)
                events.append(GenerationFailed(now, command.atom_id, call_id, lost))
                del self._calls[call_id]
            elif gateway.calls[call_id][0] <= now:
                answer = gateway.calls[call_id][1]
                kind = GenerationFailed if isinstance(answer, CallFailure) else GenerationArrived
                events.append(kind(now, command.atom_id, call_id, answer))
                del self._calls[call_id]
        return events

    def check_money(self) -> None:
        """Hold the ledger against the limit, and the provider's bill against the ledger."""
        money = self._machine.money
        committed = money.spent_nano + money.reserved_nano + money.unknown_nano
        for limit in (self._world.limit_nano, None if money.limit_usd is None else to_nano(money.limit_usd)):
            if limit is not None and committed > limit:
                raise Broken(f"committed {committed} of {limit} nano-dollars")
        self._no_atom_spends_too_much()
        if self._world.provider.billed_nano > committed:
            raise Broken(f"billed {self._world.provider.billed_nano}, accounted for {committed} nano-dollars")

    def _no_atom_spends_too_much(self) -> None:
        settings, money = self._machine.settings, self._machine.money
        if settings is None or settings.atom_budget_usd is None:
            return
        for record in self._machine.atoms.values():
            usd = record.committed_usd + money.reservations.get(record.call_id, 0) / NANO
            if to_nano(usd) > to_nano(settings.atom_budget_usd):
                raise Broken(f"{record.atom_id} has committed {usd} of its {settings.atom_budget_usd} dollars")
