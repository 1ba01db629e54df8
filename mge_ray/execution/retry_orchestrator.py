"""RetryOrchestrator: one atom from spec to verdict, in at most four attempts.

It owns the two halves of an attempt, asking the model and judging the answer, and the policy that ties attempts
together. The loop itself is the machine's: `execute_with_retry` drives an ExecutionMachine of one atom with the same
engine that drives eight hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.commands import Generate
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.generation import CallFailure, FailureKind, Generation
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import MAX_ATTEMPTS, TEMPERATURE_SCHEDULE, AttemptPolicy
from mge_ray.domain.validation import Level, ValidationResult, failed_at
from mge_ray.execution.ports import (
    CallContext,
    CallFailedError,
    Candidate,
    LLMClient,
    Metrics,
    PlanContext,
    QuotesCalls,
    Validator,
)


class ExecutionStoppedError(MgeRayError):
    """The provider, the budget or a request stopped the work before there was a verdict."""


class RetryOrchestrator:
    """Generates and judges single atoms, feeding failures back to the model."""

    MAX_ATTEMPTS: ClassVar[int] = MAX_ATTEMPTS
    TEMPERATURE_SCHEDULE: ClassVar[list[float]] = list(TEMPERATURE_SCHEDULE)

    def __init__(
        self,
        llm_client: LLMClient,
        validator: Validator,
        *,
        policy: AttemptPolicy | None = None,
        metrics: Metrics | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Take the collaborators; without a `policy` the seed's temperatures go to the client's own model.

        `files` is the skeleton that candidates are placed into; `metrics` count what execute_with_retry does.
        """
        self.llm_client = llm_client
        self.validator = validator
        self.policy = policy or AttemptPolicy(model="", accepts_sampling=True)
        self.metrics = metrics
        self.files = dict(files or {})

    async def execute_with_retry(
        self, atom_spec: AtomicUnit, dependencies: Sequence[AtomicUnit | AcceptedAtom] = ()
    ) -> tuple[str, ValidationResult, int]:
        """Return (code, verdict, attempts used): of the attempt that passed, or of the best one when none did.

        Raises ExecutionStoppedError when the provider stops the work (spend limit, authentication).
        """
        from mge_ray.execution.wave_executor import WaveExecutor  # noqa: PLC0415  # the two classes use each other

        executor = WaveExecutor(self, max_concurrency=1, metrics=self.metrics)
        record = await executor.execute_atom(atom_spec, [as_accepted(dependency) for dependency in dependencies])
        if not record.status.ended:
            raise ExecutionStoppedError(f"atom {atom_spec.id!r}: {record.cause or 'stopped before its verdict'}")
        best = record.best_attempt
        if best is None:
            return "", failed_at(Level.ANSWER, record.cause, rule="no-answer"), 0
        return best.code or "", best.verdict, len(record.attempts)

    async def generate(
        self,
        command: Generate,
        atom: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        *,
        plan: PlanContext,
        timeout_s: float,
    ) -> Generation | CallFailure:
        """Ask the model once. Whatever goes wrong comes back as a CallFailure."""
        try:
            answer: object = await self.llm_client.generate(
                atom_spec=atom,
                dependencies=dependencies,
                temperature=command.settings.temperature,
                previous_errors=list(command.previous_errors) if command.attempt > 1 else None,
                call=call_context(command, plan=plan, timeout_s=timeout_s),
            )
        except CallFailedError as error:
            return error.failure
        except Exception as error:  # noqa: BLE001  # the border: one atom's fault is that atom's alone
            return CallFailure(FailureKind.INTERNAL, f"the client failed: {type(error).__name__}: {error}")
        if isinstance(answer, Generation):
            return answer
        advice = f"the client returned {type(answer).__name__}; generate() returns a Generation"
        return CallFailure(FailureKind.INTERNAL, advice)

    async def validate(self, candidate: Candidate) -> ValidationResult:
        """Judge one candidate. A validator that fails itself fails the candidate, with the reason."""
        try:
            return await self.validator.validate(candidate)
        except Exception as error:  # noqa: BLE001  # the border: one atom's fault is that atom's alone
            return failed_at(Level.TESTS, f"the validator failed: {type(error).__name__}: {error}", rule="validator")

    async def accept(self, plan: Masterplan, codes: Mapping[str, str], wave_id: int = 0) -> ValidationResult:
        """Check the project assembled from `codes`, at the end of a wave or (0) by its acceptance tests."""
        try:
            return await self.validator.accept(plan, codes, wave_id)
        except Exception as error:  # noqa: BLE001  # the border
            return failed_at(Level.TESTS, f"the validator failed: {type(error).__name__}: {error}", rule="validator")

    def quote_usd(self, command: Generate, atom: AtomicUnit, dependencies: Sequence[AcceptedAtom]) -> float:
        """Return the most a call can bill; 0 for a client that cannot say (which is refused under a budget)."""
        if not isinstance(self.llm_client, QuotesCalls):
            return 0.0
        return self.llm_client.max_cost_usd(
            atom, dependencies, command.previous_errors, call=call_context(command, plan=PlanContext(), timeout_s=1.0)
        )


def call_context(command: Generate, *, plan: PlanContext, timeout_s: float) -> CallContext:
    """Return what the client is told about a call beyond its atom."""
    return CallContext(
        call_id=command.call_id,
        settings=command.settings,
        previous_code=command.previous_code,
        plan=plan,
        timeout_s=timeout_s,
    )


def as_accepted(dependency: AtomicUnit | AcceptedAtom) -> AcceptedAtom:
    """Return a dependency in the form dependents see: a bare unit has no code yet."""
    return dependency if isinstance(dependency, AcceptedAtom) else AcceptedAtom(atom=dependency)
