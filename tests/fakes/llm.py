"""A model that does what a script says, and remembers who asked it for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.generation import CallFailure, Generation
from mge_ray.execution.ports import CallContext, CallFailedError
from tests.builders import CALL_USD, generation

Step = str | Generation | CallFailure | Exception


@dataclass(frozen=True)
class Asked:
    """One call as the model saw it."""

    atom_id: str
    number: int
    temperature: float | None
    previous_errors: list[str] | None
    dependencies: dict[str, str | None]
    call: CallContext


@dataclass
class ScriptedClient:
    """Answers each call for an atom with the next step of its script; the last one holds for all further calls.

    A step is code, a Generation, a CallFailure or an exception. Atoms without a script get `default`. A call ends only
    while `gate` is open. It cannot quote calls: see QuotingClient.
    """

    script: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    default: Step = "good = True\n"
    usd: float = CALL_USD
    asked: list[Asked] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    on_call: Callable[[Asked], None] = lambda asked: None

    def __post_init__(self) -> None:
        self.gate.set()

    async def generate(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        temperature: float | None = None,
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> Generation:
        """Answer as scripted."""
        number = 1 + sum(asked.atom_id == atom_spec.id for asked in self.asked)
        codes = {dependency.atom.id: dependency.code for dependency in dependencies}
        errors = None if previous_errors is None else list(previous_errors)
        asked = Asked(atom_spec.id, number, temperature, errors, codes, call or CallContext())
        self.asked.append(asked)
        self.on_call(asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.in_flight -= 1
        return self._answer(atom_spec.id, number)

    def _answer(self, atom_id: str, number: int) -> Generation:
        steps = self.script.get(atom_id, [self.default])
        step = steps[min(number, len(steps)) - 1]
        if isinstance(step, str):
            return generation(step, usd=self.usd)
        if isinstance(step, CallFailure):
            raise CallFailedError(step)
        if isinstance(step, Exception):
            raise step
        return step

    def calls_for(self, atom_id: str) -> list[Asked]:
        """Return what was asked about one atom, in order."""
        return [asked for asked in self.asked if asked.atom_id == atom_id]

    @property
    def atom_ids(self) -> list[str]:
        """Return which atoms were asked for, in order."""
        return [asked.atom_id for asked in self.asked]


@dataclass
class QuotingClient(ScriptedClient):
    """A scripted client that says beforehand what a call costs at most."""

    quote_usd: float = CALL_USD

    def max_cost_usd(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> float:
        """Return the upper bound of every call's bill."""
        return self.quote_usd
