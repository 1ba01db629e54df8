"""Which accepted code a person should look at first, and why: a score with stated reasons.

Pure. Confidence starts at 100 and loses the points below; an atom that failed has 0. The weights are judgement, not
measurement: they order a list for people. They are chosen so that any single strong sign (no test judged the code, all
attempts used) puts an atom on the list, and weak ones only together.

- Every rejected attempt costs 10, the last allowed one 10 more: code that needed the errors was fitted to them.
- Up to 15 for how much of the accepted answer is new against the rejected one before it: a rewrite, not a repair.
- 40 where no test ran, 30 where the tests assert nothing, 10 where only one assertion judges the code.
- 25 where the engine kept the code in spite of something, and says of what.
- 15 for a worker lost while checking, at most 30. 8 for an answer cut at max_tokens; 8 for code that is more than
  twice as long as planned; 3 for each warning of the accepted answer, at most 9.

Calls that failed on the way (rate limits, connections) say nothing about the code and cost nothing.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.attempt import AtomRecord, Attempt
from mge_ray.domain.generation import StopReason
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.retry import MAX_ATTEMPTS
from mge_ray.domain.state import AtomStatus
from mge_ray.pipeline.judging_tests import JudgingTests
from mge_ray.pipeline.outline import parse

FULL = 100
LISTED_BELOW = 85
PER_REJECTED_ATTEMPT = 10
LAST_ATTEMPT_USED = 10
MOST_FOR_A_REWRITE = 15
REWRITE_FROM = 0.5
NO_TEST_RAN = 40
TESTS_ASSERT_NOTHING = 30
ONE_ASSERTION = 10
PER_WORKER_LOST, MOST_FOR_WORKERS = 15, 30
CUT_ANSWER = 8
ACCEPTED_WITH_A_CAUSE = 25
TOO_LONG, TOO_LONG_FACTOR = 8, 2
PER_WARNING, MOST_FOR_WARNINGS = 3, 9
ENOUGH_ASSERTIONS = 6
MAX_COMPARED_LINES = 400
MAX_COMPARED_CHARS = 40_000
_ASSERTS = re.compile(r"\bassert|\braises\(")


class Reason(BaseModel):
    """Why confidence is lower, and by how many points."""

    model_config = ConfigDict(frozen=True)

    points: int
    text: str


class ReviewItem(BaseModel):
    """One atom to look at. `dependents` is how many atoms rest on it, directly or not.

    `reviewed` is empty, or says what somebody did about the code that the atom has now.
    """

    model_config = ConfigDict(frozen=True)

    atom_id: str
    confidence: int
    dependents: int
    reasons: tuple[Reason, ...]
    reviewed: str = ""


def scored(machine: ExecutionMachine) -> list[ReviewItem]:
    """Return the confidence in every atom that has ended with code or without success.

    Atoms that have no code yet, or are blocked by another's failure, have nothing to review.
    """
    plan = machine.plan
    tests = JudgingTests(plan.files)
    limit = machine.settings.policy.max_attempts if machine.settings else MAX_ATTEMPTS
    items = []
    for record in machine.atoms.values():
        if record.status in {AtomStatus.SUCCEEDED, AtomStatus.FAILED}:
            atom = plan.by_id[record.atom_id]
            points, reasons = confidence(atom, record, assertions=_assertions(tests, atom), max_attempts=limit)
            dependents = len(_resting_on(machine, record.atom_id)) if points < FULL else 0
            items.append(
                ReviewItem(
                    atom_id=atom.id,
                    confidence=points,
                    dependents=dependents,
                    reasons=reasons,
                    reviewed=reviewed(record),
                )
            )
    return items


def reviewed(record: AtomRecord) -> str:
    """Return what a person did about the code that the atom has, in words; empty where nobody did."""
    told = [f"edited by {record.edited_by}"] if record.edited_by else []
    approved = record.approved
    if approved:
        how = "used despite its failures, as decided by" if record.waived else "approved by"
        told.append(f"{how} {approved.by}" + (f": {approved.note}" if approved.note else ""))
    return ", ".join(told)


def review_list(items: Iterable[ReviewItem]) -> tuple[ReviewItem, ...]:
    """Return the atoms of low confidence: unreviewed first, worst first; of equals, what more atoms rest on."""
    low = [item for item in items if item.confidence < LISTED_BELOW]
    return tuple(sorted(low, key=lambda item: (bool(item.reviewed), item.confidence, -item.dependents)))


def confidence(
    atom: AtomicUnit, record: AtomRecord, *, assertions: int, max_attempts: int
) -> tuple[int, tuple[Reason, ...]]:
    """Return the confidence in one atom's code (0 to 100) and what lowered it, the heaviest reason first.

    `assertions` is how many its tests make, counted in their source.
    """
    if record.status is AtomStatus.FAILED:
        return 0, (Reason(points=FULL, text=f"failed: {record.cause}"),)
    reasons = [*_of_attempts(record, max_attempts), *_of_tests(atom, record, assertions), *_of_code(atom, record)]
    reasons.sort(key=lambda reason: -reason.points)
    return max(0, FULL - sum(reason.points for reason in reasons)), tuple(reasons)


def share_rewritten(before: str, after: str) -> float:
    """Return which share of two versions' lines differ, 0 for equal ones; long ones are compared by their beginning."""
    lines = [text[:MAX_COMPARED_CHARS].splitlines()[:MAX_COMPARED_LINES] for text in (before, after)]
    return 1.0 - difflib.SequenceMatcher(a=lines[0], b=lines[1], autojunk=False).ratio()


def _of_attempts(record: AtomRecord, max_attempts: int) -> list[Reason]:
    attempts, reasons = record.attempts, []
    if record.cause:
        reasons.append(Reason(points=ACCEPTED_WITH_A_CAUSE, text=record.cause))
    rejected = sum(not attempt.verdict.passed for attempt in attempts)
    if rejected:
        points = PER_REJECTED_ATTEMPT * rejected
        used = len(attempts) - record.attempts_before >= max_attempts
        text = f"{rejected} rejected {'attempt' if rejected == 1 else 'attempts'}"
        text += f", all {max_attempts} allowed ones used" if used else ""
        reasons.append(Reason(points=points + LAST_ATTEMPT_USED * used, text=text))
    if len(attempts) > 1 and attempts[-1].code and attempts[-2].code:
        share = share_rewritten(attempts[-2].code, attempts[-1].code)
        if share >= REWRITE_FROM:
            text = f"{share:.0%} of the lines differ from the attempt before"
            reasons.append(Reason(points=round(MOST_FOR_A_REWRITE * share), text=text))
    if any(attempt.stop_reason is StopReason.MAX_TOKENS for attempt in attempts):
        reasons.append(Reason(points=CUT_ANSWER, text="an answer was cut at max_tokens"))
    if record.workers_lost:
        points = min(PER_WORKER_LOST * record.workers_lost, MOST_FOR_WORKERS)
        reasons.append(Reason(points=points, text=f"checking it lost {record.workers_lost} worker(s)"))
    return reasons


def _of_tests(atom: AtomicUnit, record: AtomRecord, assertions: int) -> list[Reason]:
    if not atom.tests:
        return [Reason(points=NO_TEST_RAN, text="no test judges it")]
    accepted = _accepted(record)
    if accepted is None:
        return []
    ran = accepted.verdict.tests_run
    if not ran:
        return [Reason(points=NO_TEST_RAN, text="its tests did not run")]
    if assertions == 0:
        return [Reason(points=TESTS_ASSERT_NOTHING, text="its tests assert nothing")]
    if assertions == 1 and ran == 1:
        return [Reason(points=ONE_ASSERTION, text="one assertion judges it")]
    return []


def _of_code(atom: AtomicUnit, record: AtomRecord) -> list[Reason]:
    reasons = []
    lines = sum(bool(line.strip()) for line in (record.code or "").splitlines())
    if lines > TOO_LONG_FACTOR * atom.estimated_loc:
        text = f"{lines} lines of code where {atom.estimated_loc} were planned"
        reasons.append(Reason(points=TOO_LONG, text=text))
    accepted = _accepted(record)
    warned = len(accepted.verdict.issues) if accepted else 0
    if warned:
        text = f"{warned} {'warning' if warned == 1 else 'warnings'} on the accepted answer"
        reasons.append(Reason(points=min(PER_WARNING * warned, MOST_FOR_WARNINGS), text=text))
    return reasons


def _accepted(record: AtomRecord) -> Attempt | None:
    """Return the attempt whose code was accepted and is not doubted since."""
    return next((attempt for attempt in reversed(record.attempts) if attempt.verdict.passed), None)


def _assertions(tests: JudgingTests, atom: AtomicUnit) -> int:
    """Count assert statements and calls whose name says that they check; a rough count will do where there are many."""
    source = tests.source(atom.tests) if atom.tests else ""
    roughly = len(_ASSERTS.findall(source))
    if roughly >= ENOUGH_ASSERTIONS:
        return roughly
    tree = parse(source)
    if tree is None:
        return ENOUGH_ASSERTIONS  # cut in the middle: long tests are not weak ones
    return sum(isinstance(node, ast.Assert) or _checks(node) for node in ast.walk(tree))


def _checks(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"raises", "warns", "fail"} or name.startswith(("assert", "check_", "expect"))


def _resting_on(machine: ExecutionMachine, atom_id: str) -> set[str]:
    seen: set[str] = set()
    stack = list(machine.plan.dependents[atom_id])
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack.extend(machine.plan.dependents[current])
    return seen
