"""AsyncWork: commands carried out by asyncio tasks in this process. For library use and tests; no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.commands import Abandon, Accept, Acknowledge, Execute, Generate
from mge_ray.domain.events import AcceptanceFinished, AtomExecuted, Event, GenerationArrived, GenerationFailed
from mge_ray.domain.generation import CallFailure
from mge_ray.domain.plan import Masterplan
from mge_ray.execution.ports import Candidate, Clock, PlanContext, WorkCommand

if TYPE_CHECKING:
    from mge_ray.execution.retry_orchestrator import RetryOrchestrator


class AsyncWork:
    """Runs calls and checks as tasks of the running loop; `accepted` gives the code accepted so far, by atom id."""

    def __init__(
        self,
        orchestrator: RetryOrchestrator,
        plan: Masterplan,
        accepted: Callable[[], Mapping[str, str]],
        *,
        clock: Clock,
        atoms: Mapping[str, AtomicUnit] | None = None,
        call_timeout_s: float = 120.0,
    ) -> None:
        self._orchestrator = orchestrator
        self._plan = plan
        self._accepted = accepted
        self._clock = clock
        self._atoms = atoms or plan.by_id
        self._call_timeout_s = call_timeout_s
        self._context = PlanContext(plan.name, plan.description, plan.files)
        self._tasks: dict[asyncio.Task[Event], str] = {}

    def quote_usd(self, command: Generate) -> float:
        """Return the most this call can bill."""
        atom = self._atoms[command.atom_id]
        return self._orchestrator.quote_usd(command, atom, self.dependencies(atom))

    def gateway_for(self, atom_id: str) -> str:  # noqa: ARG002  # a port's method
        """Return nothing: there is no gateway here."""
        return ""

    def fence(self, epoch: int) -> None:
        """Do nothing: what is in flight here ends with this process."""

    def submit(self, command: WorkCommand) -> None:
        """Begin; the outcome arrives through `wait_any`."""
        if isinstance(command, Generate):
            self._begin(self._generate(command), command.call_id)
        elif isinstance(command, Execute):
            self._begin(self._execute(command), command.call_id)
        elif isinstance(command, Accept):
            self._begin(self._accept(command), "")
        elif isinstance(command, Abandon):
            for task in [task for task, call_id in self._tasks.items() if call_id == command.call_id]:
                task.cancel()
                del self._tasks[task]
        else:
            assert isinstance(command, Acknowledge)  # noqa: S101  # nothing is kept here, so nothing is forgotten

    async def wait_any(self, timeout_s: float) -> list[Event]:
        """Return what has happened, at the latest after `timeout_s` seconds."""
        if not self._tasks:
            await asyncio.sleep(timeout_s)
            return []
        done, _ = await asyncio.wait(self._tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._tasks[task]
        return [task.result() for task in done if not task.cancelled()]

    def dependencies(self, atom: AtomicUnit, instead: Sequence[tuple[str, str]] = ()) -> tuple[AcceptedAtom, ...]:
        """Return what is known of the atom's dependency closure, nearest first, with accepted code or `instead`."""
        accepted = {**self._accepted(), **dict(instead)}
        seen: dict[str, None] = {}
        queue = list(atom.depends_on)
        for atom_id in queue:
            if atom_id in self._atoms and atom_id not in seen:
                seen[atom_id] = None
                queue += self._atoms[atom_id].depends_on
        return tuple(AcceptedAtom(atom=self._atoms[a], code=accepted.get(a)) for a in seen)

    def _begin(self, work: object, call_id: str) -> None:
        self._tasks[asyncio.ensure_future(work)] = call_id  # type: ignore[call-overload]

    async def _generate(self, command: Generate) -> Event:
        atom = self._atoms[command.atom_id]
        answer = await self._orchestrator.generate(
            command, atom, self.dependencies(atom), plan=self._context, timeout_s=self._call_timeout_s
        )
        if isinstance(answer, CallFailure):
            return GenerationFailed(self._clock.now(), atom.id, command.call_id, answer)
        return GenerationArrived(self._clock.now(), atom.id, command.call_id, answer)

    async def _execute(self, command: Execute) -> Event:
        atom = self._atoms[command.atom_id]
        below = self.dependencies(atom, command.instead)
        candidate = Candidate(atom, command.code, below, self._plan.files, self._plan.validation)
        verdict = await self._orchestrator.validate(candidate)
        return AtomExecuted(self._clock.now(), atom.id, command.call_id, verdict)

    async def _accept(self, command: Accept) -> Event:
        verdict = await self._orchestrator.accept(self._plan, self._accepted(), command.wave_id)
        return AcceptanceFinished(self._clock.now(), verdict)
