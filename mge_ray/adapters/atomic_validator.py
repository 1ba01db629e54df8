"""AtomicValidator: judges one candidate, level by level, in the end by really running it.

Owns the ladder: the order of the levels, their times, and that nothing a candidate does gets out as an exception. What
each level looks for is in `adapters/validator/`, isolation in `adapters/sandbox/`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from mge_ray.adapters.plan_steps import plan_ladder
from mge_ray.adapters.sandbox import Sandbox
from mge_ray.adapters.validator.contract import check_contract
from mge_ray.adapters.validator.lint import check_lint
from mge_ray.adapters.validator.parsing import check_parse
from mge_ray.adapters.validator.project import judge_project
from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.adapters.validator.trials import ChecksWorkspaces, check_tests
from mge_ray.adapters.validator.type_check import TypeChecker
from mge_ray.domain.atom import PLAN_LANGUAGE
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.validation import FAILING, Level, Severity, ValidationIssue, ValidationResult
from mge_ray.execution.ports import Candidate

VALIDATOR_VERSION = "1"
"""Part of the key of accepted code: whatever changes a verdict is a new version."""

MAX_ISSUES = 50  # of one level: verdicts are journalled

LevelCheck = Callable[[Subject], list[ValidationIssue]]


class AtomicValidator:
    """Levels parse, contract, lint, types (if the plan asks) and tests; the first that fails is the last that runs.

    Without a `sandbox` it takes the strongest that this machine gives. `allowed_packages` restricts third-party imports
    to these top-level names; None allows whatever is installed where the sandbox runs. Safe to share among threads as
    far as the sandbox is. Raises only what the sandbox raises when it cannot run at all, never for anything a candidate
    does.
    """

    def __init__(
        self, sandbox: ChecksWorkspaces | None = None, *, allowed_packages: Collection[str] | None = None
    ) -> None:
        self._sandbox = sandbox or Sandbox()
        self._allowed = None if allowed_packages is None else frozenset(allowed_packages)
        self._types = TypeChecker()

    async def validate(self, candidate: Candidate) -> ValidationResult:
        """Return the verdict without blocking the event loop."""
        return await asyncio.to_thread(self.judge, candidate)

    async def accept(self, plan: Masterplan, codes: Mapping[str, str], wave_id: int = 0) -> ValidationResult:
        """Return the verdict above the single atom without blocking the event loop."""
        return await asyncio.to_thread(self.judge_acceptance, plan, codes, wave_id)

    def judge(self, candidate: Candidate) -> ValidationResult:
        """Return the verdict; blocks while the sandbox runs."""
        subject = Subject(candidate)
        issues: list[ValidationIssue] = []
        seconds: dict[str, float] = {}
        level = Level.PARSE
        for level, check in self._ladder(candidate):
            started = time.perf_counter()
            found = _guarded(level, check, subject)
            seconds[level.value] = time.perf_counter() - started
            issues += found
            if not ValidationResult(issues=tuple(found)).passed:
                break
        return ValidationResult(
            issues=tuple(issues), level=level, tests_run=subject.tests_run, seconds=seconds, blamed=subject.blamed
        )

    def judge_acceptance(self, plan: Masterplan, codes: Mapping[str, str], wave_id: int = 0) -> ValidationResult:
        """Judge what `codes` (atom id -> code) make of the plan, by a wave's tests or (0) by acceptance; blocks."""
        return judge_project(plan, codes, wave_id, self._sandbox, self._types)

    def close(self) -> None:
        """Remove what the levels keep on disk; the sandbox stays with its owner."""
        self._types.close()

    def _ladder(self, candidate: Candidate) -> list[tuple[Level, LevelCheck]]:
        if candidate.atom.language == PLAN_LANGUAGE:
            return plan_ladder(candidate, self._sandbox)
        types: list[tuple[Level, LevelCheck]] = [(Level.TYPES, self._types.check)] if candidate.validation.types else []
        return [
            (Level.PARSE, check_parse),
            (Level.CONTRACT, check_contract),
            (Level.LINT, lambda subject: check_lint(subject, self._allowed)),
            *types,
            (Level.TESTS, lambda subject: check_tests(subject, self._sandbox)),
        ]


def _guarded(level: Level, check: LevelCheck, subject: Subject) -> list[ValidationIssue]:
    """Run one level; code that exhausts the stack or memory, or that `ast` cannot digest, has failed it."""
    try:
        found = check(subject)
    except (RecursionError, MemoryError, ValueError) as error:
        return [_critical(level, f"the code is too deep or too odd to be checked: {error!r}", "unreadable")]
    return sorted(found, key=lambda one: one.severity not in FAILING)[:MAX_ISSUES]


def _critical(level: Level, message: str, rule: str) -> ValidationIssue:
    return issue(level, message, rule=rule, severity=Severity.CRITICAL)
