"""A Work port without tasks: what is submitted becomes an event at the next look."""

from __future__ import annotations

from dataclasses import dataclass, field

from mge_ray.domain.commands import Accept, Execute, Generate
from mge_ray.domain.events import AcceptanceFinished, AtomExecuted, Event, GenerationArrived, GenerationFailed
from mge_ray.domain.generation import CallFailure, Generation
from mge_ray.execution.ports import WorkCommand
from tests.builders import PASSED, generation
from tests.fakes.clock import ManualClock


@dataclass
class InstantWork:
    """Answers calls with `answers` in order (then with good code), passes every check, `delay` looks after the call."""

    clock: ManualClock
    answers: list[Generation | CallFailure] = field(default_factory=list)
    delay: int = 0
    epoch: int = 0
    submitted: list[WorkCommand] = field(default_factory=list)
    timeouts_s: list[float] = field(default_factory=list)
    _coming: list[tuple[int, Event]] = field(default_factory=list)

    def quote_usd(self, command: Generate) -> float:
        """Cost nothing."""
        return 0.0

    def gateway_for(self, atom_id: str) -> str:
        """Name the one gateway there is."""
        return "g1"

    def fence(self, epoch: int) -> None:
        """Keep the epoch."""
        self.epoch = epoch

    def submit(self, command: WorkCommand) -> None:
        """Keep the command, and let its event come."""
        self.submitted.append(command)
        event = self._event(command)
        if event is not None:
            self._coming.append((len(self.timeouts_s) + self.delay, event))

    async def wait_any(self, timeout_s: float) -> list[Event]:
        """Return what is due; time passes by `timeout_s` where nothing is."""
        due = [event for look, event in self._coming if look <= len(self.timeouts_s)]
        self._coming = [(look, event) for look, event in self._coming if look > len(self.timeouts_s)]
        self.timeouts_s.append(timeout_s)
        if not due:
            self.clock.advance(timeout_s)
        return due

    def _event(self, command: WorkCommand) -> Event | None:
        now = self.clock.now()
        if isinstance(command, Generate):
            answer = self.answers.pop(0) if self.answers else generation()
            kind = GenerationFailed if isinstance(answer, CallFailure) else GenerationArrived
            return kind(now, command.atom_id, command.call_id, answer)
        if isinstance(command, Execute):
            return AtomExecuted(now, command.atom_id, command.call_id, PASSED)
        return AcceptanceFinished(now, PASSED) if isinstance(command, Accept) else None
