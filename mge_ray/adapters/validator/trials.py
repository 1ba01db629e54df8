"""The tests level: the sandbox runs the atom's tests on the workspace with the candidate, and its record is read.

Only a record of status "ok" passes. Lines in the candidate's module are told as lines of the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from mge_ray.adapters.sandbox.model import CheckRequest, SandboxLimits, SandboxRecord, TestOutcome
from mge_ray.adapters.validator.blame import suspects_beneath, untraced_suspects
from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.domain.validation import Level, Severity, ValidationIssue

MAX_ISSUES = 20
OUTPUT_CHARS = 600
SRC_HELPER = "_mge_ray_src_on_path"
_RULES = {"timeout": "timeout", "killed": "killed", "forged": "forged", "no-verdict": "no-verdict", "crashed": "crash"}
_LineOf = Callable[[TestOutcome], "int | None"]


class ChecksWorkspaces(Protocol):
    """What is needed of a sandbox."""

    def check(self, request: CheckRequest) -> SandboxRecord:
        """Run one workspace."""
        ...


def check_tests(subject: Subject, sandbox: ChecksWorkspaces) -> list[ValidationIssue]:
    """Run the atom's tests, or import its module where it has none; fill in `tests_run` and `blamed`."""
    atom = subject.atom
    modules = () if atom.tests else (module_name(atom.file),)
    request = request_for(subject.files, atom.tests, modules, subject.candidate.validation.check_timeout_s)
    record = sandbox.check(request)
    subject.tests_run = tests_counted(record)
    found = read_record(record, atom.tests, lambda outcome: _line(outcome, subject))
    if record.status != "ok":
        subject.blamed = _blamed(subject, request, record, sandbox)
    if not atom.tests:
        found.append(_warning("no test judges this atom; its module was imported", "untested"))
    return found


def _blamed(
    subject: Subject, request: CheckRequest, record: SandboxRecord, sandbox: ChecksWorkspaces
) -> tuple[str, ...]:
    """Run a failed check again with a trace: the first run is not slowed down for what most checks do not need."""
    beneath = [one.atom for one in subject.candidate.dependencies if one.code is not None]
    if not beneath:
        return ()
    if record.status != "failed":  # the same would happen again
        return untraced_suspects(subject.atom, beneath)
    traced = sandbox.check(replace(request, trace=True))
    return suspects_beneath(traced if traced.functions else record, subject.files, beneath)


def read_record(
    record: SandboxRecord, tests: tuple[str, ...], line_of: _LineOf, level: Level = Level.TESTS
) -> list[ValidationIssue]:
    """Turn a sandbox's record into issues of a level; anything but a pass has at least one error."""
    return [found.model_copy(update={"level": level}) for found in _read(record, tests, line_of)]


def _read(record: SandboxRecord, tests: tuple[str, ...], line_of: _LineOf) -> list[ValidationIssue]:
    skipped = [
        _warning(f"{outcome.node_id} was skipped: {outcome.message or 'no reason given'}", "skipped")
        for outcome in record.outcomes
        if outcome.outcome == "skipped"
    ]
    bad = [outcome for outcome in record.outcomes if outcome.outcome in {"failed", "error"}]
    if record.status in _RULES:
        return [_error(_because(record), _RULES[record.status])]
    if bad:
        found = [_error(_describe(outcome), outcome.outcome, line_of(outcome)) for outcome in bad[:MAX_ISSUES]]
        return [*found, *skipped[:MAX_ISSUES]]
    if record.status != "ok":
        return [_error(_because(record), "no-pass"), *skipped[:MAX_ISSUES]]
    if tests and not any(outcome.outcome == "passed" for outcome in record.outcomes):
        return [_error("no test passed, so nothing was shown", "no-pass"), *skipped[:MAX_ISSUES]]
    return skipped[:MAX_ISSUES]


def module_name(path: str) -> str:
    """Return the name under which a workspace's file is imported."""
    parts = path.removeprefix("src/").removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def request_for(
    files: Mapping[str, str], tests: tuple[str, ...], modules: tuple[str, ...], wall_s: float
) -> CheckRequest:
    """Return what the sandbox is asked; a `src` folder is put on the path first."""
    limits = SandboxLimits(wall_s=wall_s, cpu_s=max(1, math.ceil(wall_s)))
    if any(path.startswith("src/") for path in files):
        helper = "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / 'src'))\n"
        files = {**files, f"{SRC_HELPER}.py": helper}
        modules = (SRC_HELPER, *modules)
    return CheckRequest(files=files, tests=tests, limits=limits, import_modules=modules)


def _describe(outcome: TestOutcome) -> str:
    message = outcome.message.strip() or "failed without a message"
    place = f" ({outcome.path}:{outcome.line})" if outcome.path and outcome.line else ""
    return f"{outcome.node_id}: {message}{'' if place.strip() in message else place}"


def _line(outcome: TestOutcome, subject: Subject) -> int | None:
    if outcome.path != subject.atom.file or outcome.line is None:
        return None
    return subject.trace.get(outcome.line)


def _because(record: SandboxRecord) -> str:
    tail = record.output.strip()[-OUTPUT_CHARS:]
    return f"{record.detail}{f'; the output ends with: {tail}' if tail else ''}"


def tests_counted(record: SandboxRecord) -> int:
    """Return how many tests ran, imports and skips left out."""
    return record.tests_run


def _error(message: str, rule: str, line: int | None = None) -> ValidationIssue:
    return issue(Level.TESTS, message, rule=rule, line=line)


def _warning(message: str, rule: str) -> ValidationIssue:
    return issue(Level.TESTS, message, rule=rule, severity=Severity.WARNING)
