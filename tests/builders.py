"""Small builders: a plan from one line, settings, events, and a machine that is driven by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation, StopReason, Usage
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.validation import Level, Severity, ValidationIssue, ValidationResult

EXECUTION_ID = UUID(int=7)
CALL_USD = 0.01
PASSED = ValidationResult(tests_run=1, seconds={"tests": 0.25})


def atom(atom_id: str, *depends_on: str, **fields: object) -> AtomicUnit:
    """One atom with a place of its own."""
    known: dict[str, object] = {"file": "app/m.py", "symbol": f"f_{atom_id}", "depends_on": depends_on}
    return AtomicUnit.model_validate({"id": atom_id, **known, **fields})


def atoms(text: str) -> tuple[AtomicUnit, ...]:
    """`"a, b -> c, c -> d"`: what stands between commas is an atom or an edge from a dependency to its dependent."""
    depends_on: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        names = [name.strip() for name in part.split("->")]
        for name in names:
            depends_on.setdefault(name, [])
        for dependency, dependent in pairwise(names):
            depends_on[dependent].append(dependency)
    return tuple(atom(name, *needs) for name, needs in depends_on.items())


def plan(text: str, **fields: object) -> Masterplan:
    """Return a checked plan: `plan("a, b -> c, c -> d")` has the edges b -> c and c -> d."""
    return Masterplan.model_validate({"name": "plan", "atoms": atoms(text), **fields})


def many(count: int) -> Masterplan:
    """Return a plan of `count` atoms that do not know each other."""
    return plan(", ".join(f"a{number}" for number in range(count)))


def policy(**fields: object) -> AttemptPolicy:
    """Return a policy that samples and does not wait."""
    return AttemptPolicy.model_validate({"model": "m", "accepts_sampling": True, "backoff_base_s": 0, **fields})


def settings(**fields: object) -> e.ExecutionSettings:
    """Return settings with a policy that does not wait."""
    return e.ExecutionSettings.model_validate({"policy": policy(), **fields})


def generation(code: str | None = "x = 1\n", *, usd: float = CALL_USD, **fields: object) -> Generation:
    """Return a complete answer."""
    known: dict[str, object] = {"stop_reason": StopReason.END_TURN, "model": "m", "latency_s": 0.5}
    return Generation(text=f"```python\n{code}```\n", code=code, usage=Usage(10, 5), cost_usd=usd, **(known | fields))


def failure(kind: FailureKind = FailureKind.SERVER_ERROR, **fields: object) -> CallFailure:
    """Return a call's failure; a server error unless told otherwise."""
    return CallFailure(kind, f"a {kind.value} in a test", **fields)


def failed(*messages: str, severity: Severity = Severity.ERROR) -> ValidationResult:
    """Return a verdict with these messages."""
    issues = tuple(ValidationIssue(severity=severity, level=Level.TESTS, message=text) for text in messages or ("no",))
    return ValidationResult(issues=issues)


@dataclass
class Driven:
    """A machine in the hands of a test: each method is one event, each returns what the machine wants done.

    Every event that was accepted is kept in `events`; a second passes with each.
    """

    machine: ExecutionMachine
    events: list[e.Event] = field(default_factory=list)
    now: float = 1_000.0
    granted: list[str] = field(default_factory=list)

    def handle(self, event: e.Event) -> list[c.Command | c.Notice]:
        """Hand in any event."""
        outcome = self.machine.handle(event)
        self.events.append(event)
        return outcome

    def _tick(self) -> float:
        self.now += 1.0
        return self.now

    def start(self, **fields: object) -> list[c.Command | c.Notice]:
        return self.handle(e.ExecutionStarted(self._tick(), settings(**fields)))

    def ready(self, pool: Pool = Pool.GENERATE) -> list[str]:
        return self.machine.ready(pool, now=self.now, limit=1_000)

    def lease(self, pool: Pool, atom_id: str, *, usd: float = 0.0, gateway: str = "") -> list[c.Command | c.Notice]:
        lease_id = f"lease-{len(self.granted)}"
        self.granted.append(lease_id)
        return self.handle(e.LeaseGranted(self._tick(), pool, atom_id, lease_id, usd, gateway))

    def call(self, atom_id: str, *, usd: float = CALL_USD, gateway: str = "") -> c.Generate:
        (command,) = self.lease(Pool.GENERATE, atom_id, usd=usd, gateway=gateway)
        assert isinstance(command, c.Generate)
        return command

    def check(self, atom_id: str) -> c.Execute:
        (command,) = self.lease(Pool.EXECUTE, atom_id)
        assert isinstance(command, c.Execute)
        return command

    def call_id(self, atom_id: str) -> str:
        return self.machine.atoms[atom_id].call_id

    def arrive(self, atom_id: str, answer: Generation | None = None) -> list[c.Command | c.Notice]:
        return self.handle(e.GenerationArrived(self._tick(), atom_id, self.call_id(atom_id), answer or generation()))

    def fail(self, atom_id: str, why: CallFailure | None = None) -> list[c.Command | c.Notice]:
        return self.handle(e.GenerationFailed(self._tick(), atom_id, self.call_id(atom_id), why or failure()))

    def judge(self, atom_id: str, verdict: ValidationResult = PASSED) -> list[c.Command | c.Notice]:
        return self.handle(e.AtomExecuted(self._tick(), atom_id, self.call_id(atom_id), verdict))

    def lose_worker(self, atom_id: str, reason: str = "out of memory") -> list[c.Command | c.Notice]:
        return self.handle(e.WorkerLost(self._tick(), atom_id, self.call_id(atom_id), reason))

    def time_out(self, atom_id: str) -> list[c.Command | c.Notice]:
        return self.handle(e.AtomTimedOut(self._tick(), atom_id))

    def attempt(self, atom_id: str, verdict: ValidationResult = PASSED) -> list[c.Command | c.Notice]:
        """Call, answer, check, verdict."""
        self.call(atom_id)
        self.arrive(atom_id)
        self.check(atom_id)
        return self.judge(atom_id, verdict)

    def pause(self, reason: str = "requested") -> list[c.Command | c.Notice]:
        return self.handle(e.PauseRequested(self._tick(), reason))

    def resume(self) -> list[c.Command | c.Notice]:
        return self.handle(e.ResumeRequested(self._tick()))

    def cancel(self) -> list[c.Command | c.Notice]:
        return self.handle(e.CancelRequested(self._tick()))

    def restart(self, *live_gateways: str, after_s: float = 1.0) -> list[c.Command | c.Notice]:
        self.now += after_s
        return self.handle(e.CoordinatorRestarted(self.now, live_gateways))

    def accept(self) -> list[c.Command | c.Notice]:
        return self.lease(Pool.EXECUTE, "")

    def acceptance(self, verdict: ValidationResult = PASSED) -> list[c.Command | c.Notice]:
        return self.handle(e.AcceptanceFinished(self._tick(), verdict))

    def status(self, atom_id: str) -> str:
        return self.machine.atoms[atom_id].status.value

    def replayed(self) -> ExecutionMachine:
        """Return another machine that went through the same events."""
        again = ExecutionMachine(self.machine.execution_id, self.machine.plan)
        for event in self.events:
            again.handle(event)
        return again


def driven(text: str = "a", *, started: bool = True, plan_fields: dict[str, object] | None = None, **fields: object):
    """Return a machine for `plan(text)` in a test's hands, started with `settings(**fields)`."""
    run = Driven(ExecutionMachine(EXECUTION_ID, plan(text, **(plan_fields or {}))))
    if started:
        run.start(**fields)
    return run


UNBILLED = failure()
MAYBE_BILLED = failure(FailureKind.TIMEOUT, billing=Billing.UNKNOWN)
BILLED = failure(FailureKind.BROKEN_ANSWER, billing=Billing.BILLED, cost_usd=0.004)
