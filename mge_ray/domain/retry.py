"""AttemptPolicy: how attempts differ, what goes back to the model, how long to wait after a failed call.

Pure: chance enters as a hash of the call's identity, so a replay draws the same jitter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mge_ray.domain.atom import Complexity
from mge_ray.domain.generation import CallFailure
from mge_ray.domain.validation import ValidationResult

MAX_ATTEMPTS = 4
TEMPERATURE_SCHEDULE = (0.7, 0.5, 0.3, 0.3)
MAX_FEEDBACK_MESSAGES = 5
MAX_FEEDBACK_CHARS = 2_000

Effort = Literal["low", "medium", "high", "max"]
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "max")


@dataclass(frozen=True, slots=True)
class AttemptSettings:
    """How one attempt asks the model; `temperature` and `effort` are None where the model takes none."""

    model: str
    max_tokens: int
    temperature: float | None = None
    effort: Effort | None = None


class AttemptPolicy(BaseModel):
    """The schedule of attempts. Where `accepts_sampling` is true they cool down, elsewhere effort rises.

    The last attempt goes to `escalation_model` when there is one and the model takes no temperature. A cut answer
    doubles `max_tokens` for the next attempt, at most to `max_tokens_ceiling`. Where `learns_max_tokens` is true, a
    budget that is too small for many calls at a time lowers it to what answers have needed so far (ADR 15).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    escalation_model: str | None = None
    accepts_sampling: bool = False
    accepts_effort: bool = True
    max_attempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] = MAX_ATTEMPTS
    temperatures: tuple[float, ...] = TEMPERATURE_SCHEDULE
    max_tokens: Annotated[int, Field(ge=64)] = 4_096
    max_tokens_ceiling: Annotated[int, Field(ge=64)] = 16_384
    learns_max_tokens: bool = False
    backoff_base_s: Annotated[float, Field(ge=0)] = 1.0
    backoff_cap_s: Annotated[float, Field(ge=0)] = 60.0

    @model_validator(mode="after")
    def _schedule_is_long_enough(self) -> AttemptPolicy:
        if len(self.temperatures) < self.max_attempts:
            raise ValueError(f"{self.max_attempts} attempts need as many temperatures; got {len(self.temperatures)}")
        return self

    def settings(self, attempt: int, complexity: Complexity, *, cut_answers: int = 0) -> AttemptSettings:
        """Return how attempt `attempt` (from 1) asks, after `cut_answers` answers cut at max_tokens."""
        max_tokens = min(self.max_tokens << cut_answers, max(self.max_tokens_ceiling, self.max_tokens))
        if self.accepts_sampling:
            return AttemptSettings(self.model, max_tokens, temperature=self.temperatures[attempt - 1])
        last = attempt == self.max_attempts and self.max_attempts > 1
        model = self.escalation_model if last and self.escalation_model else self.model
        return AttemptSettings(model, max_tokens, effort=self._effort(attempt, complexity))

    def _effort(self, attempt: int, complexity: Complexity) -> Effort | None:
        if not self.accepts_effort:
            return None
        start = EFFORTS.index(complexity.value)
        return EFFORTS[min(start + attempt // 2, len(EFFORTS) - 2)]

    def backoff_s(self, failure: CallFailure, call_id: str, tries: int) -> float:
        """Seconds to wait after the `tries`-th failed call in a row; jitter only adds to a retry-after."""
        jitter = fraction(f"jitter:{call_id}")
        if failure.retry_after_s is not None:
            return min(failure.retry_after_s, self.backoff_cap_s) + jitter * min(
                self.backoff_base_s, self.backoff_cap_s
            )
        ceiling = min(self.backoff_base_s * float(1 << min(tries - 1, 20)), self.backoff_cap_s)
        return ceiling * (0.5 + 0.5 * jitter)


def feedback(result: ValidationResult) -> tuple[str, ...]:
    """Return what goes back to the model: at most five critical or error messages, each bounded, critical first."""
    return tuple(
        f"[{issue.level.value}{f' {issue.rule}' if issue.rule else ''}{f', line {issue.line}' if issue.line else ''}] "
        f"{issue.message[:MAX_FEEDBACK_CHARS]}"
        for issue in result.failures[:MAX_FEEDBACK_MESSAGES]
    )


def best_of(verdicts: Sequence[ValidationResult]) -> int:
    """Return the index of the best verdict; the later one of equals, since it has seen more feedback."""
    return max(range(len(verdicts)), key=lambda index: (verdicts[index].merit, index))


def fraction(key: str) -> float:
    """Return a number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") / 2**56
