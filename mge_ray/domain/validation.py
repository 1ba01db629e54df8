"""ValidationResult: the verdict on one candidate, as a list of issues with severities."""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel, ConfigDict, field_validator

from mge_ray.domain.generation import whole


class Severity(str, Enum):
    """What an issue means for the verdict: critical and error fail it, warning and info do not."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Level(str, Enum):
    """The validator's levels in the order they run; a failing level ends the ladder.

    The last three are above the single atom: a whole module, what became testable with a wave, the whole project.
    """

    ANSWER = "answer"
    PARSE = "parse"
    CONTRACT = "contract"
    LINT = "lint"
    TYPES = "types"
    TESTS = "tests"
    MODULE = "module"
    WAVE = "wave"
    SYSTEM = "system"


LEVELS = tuple(Level)
FAILING = frozenset({Severity.CRITICAL, Severity.ERROR})


class ValidationIssue(BaseModel):
    """One finding: what is wrong, by which rule, and on which line of the candidate (1-based) where known."""

    model_config = ConfigDict(frozen=True)

    severity: Severity
    level: Level
    message: str
    rule: str = ""
    line: int | None = None

    @field_validator("message")
    @classmethod
    def _message_is_whole(cls, value: str) -> str:
        return whole(value)


class ValidationResult(BaseModel):
    """The verdict on one candidate, or above the atom on what stands so far.

    `level` is the last level that ran, `seconds` the time of each level. `blamed` names the atoms that a failure above
    the atom points at, or dependencies of an atom that failed its tests; the most suspicious first.
    """

    model_config = ConfigDict(frozen=True)

    issues: tuple[ValidationIssue, ...] = ()
    level: Level = Level.TESTS
    tests_run: int = 0
    seconds: dict[str, float] = {}
    blamed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when nothing critical or erroneous was found."""
        return not self.failures

    @property
    def failures(self) -> tuple[ValidationIssue, ...]:
        """The issues that fail the candidate, critical ones first."""
        failing = [issue for issue in self.issues if issue.severity in FAILING]
        return tuple(sorted(failing, key=lambda issue: issue.severity is not Severity.CRITICAL))

    @property
    def merit(self) -> tuple[int, int]:
        """Larger is closer to right: the level reached, then fewer failures. Chooses the best of failed attempts."""
        return (len(LEVELS) if self.passed else LEVELS.index(self.level), -len(self.failures))

    @property
    def duration_s(self) -> float:
        """Seconds spent in all levels."""
        return sum(self.seconds.values())


def failed_at(level: Level, message: str, *, rule: str, severity: Severity = Severity.CRITICAL) -> ValidationResult:
    """Build the verdict for a candidate that fails on one count."""
    return ValidationResult(
        issues=(ValidationIssue(severity=severity, level=level, message=message, rule=rule),), level=level
    )
