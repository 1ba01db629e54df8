"""A validator that judges by a rule instead of running anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mge_ray.domain.plan import Masterplan
from mge_ray.domain.validation import Severity, ValidationIssue, ValidationResult
from mge_ray.execution.ports import Candidate
from tests.builders import PASSED, failed

Rule = Callable[[Candidate], ValidationResult]


def good_code_passes(candidate: Candidate) -> ValidationResult:
    """Code that says `good` passes; a warning comes with it. Other code fails and is quoted."""
    if "good" in candidate.code:
        return PASSED
    warning = ValidationIssue(severity=Severity.WARNING, level="lint", message="never fed back")
    verdict = failed(f"not good: {candidate.code.strip()}")
    return verdict.model_copy(update={"issues": (*verdict.issues, warning)})


@dataclass
class RuleValidator:
    """The validator port over a rule. Keeps what it was asked to judge; `gate` holds every verdict back."""

    rule: Rule = good_code_passes
    acceptance: ValidationResult | Exception | Callable[[dict[str, str]], ValidationResult] = PASSED
    judged: list[Candidate] = field(default_factory=list)
    accepted: list[dict[str, str]] = field(default_factory=list)
    gates: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def validate(self, candidate: Candidate) -> ValidationResult:
        """Judge by the rule; an exception of the rule is the validator's."""
        self.judged.append(candidate)
        await self.gate.wait()
        return self.rule(candidate)

    async def accept(self, plan: Masterplan, codes: Mapping[str, str], wave_id: int = 0) -> ValidationResult:
        """Return the verdict on the whole project."""
        self.gates.append(wave_id)
        self.accepted.append(dict(codes))
        await self.gate.wait()
        if isinstance(self.acceptance, Exception):
            raise self.acceptance
        if callable(self.acceptance):
            return self.acceptance(dict(codes))
        return self.acceptance
