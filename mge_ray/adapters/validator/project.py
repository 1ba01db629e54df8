"""The levels above the single atom: modules, what a wave made testable, the whole project; and whom to blame.

Module: ruff's error rules and, if the plan asks, mypy on each module as it stands, and every module is imported. Then
the tests. A failure is run once more with a trace, so that the verdict can name the atoms it points at.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mge_ray.adapters.ruff_format import format_project
from mge_ray.adapters.sandbox.model import CheckRequest, SandboxRecord
from mge_ray.adapters.validator.blame import MOST_BLAMED, Places, suspects
from mge_ray.adapters.validator.lint import ruff_findings
from mge_ray.adapters.validator.subject import issue
from mge_ray.adapters.validator.trials import ChecksWorkspaces, module_name, read_record, request_for, tests_counted
from mge_ray.adapters.validator.type_check import MypyError, TypeChecker
from mge_ray.domain.errors import PlanError
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.validation import Level, Severity, ValidationIssue, ValidationResult
from mge_ray.pipeline.workspace import assemble

FACTOR = 10.0  # a project's tests may take this many times as long as one atom's
MOST_S = 3_600.0
MOST_ISSUES = 50


@dataclass(frozen=True, slots=True)
class Project:
    """A plan's files with the code accepted so far."""

    plan: Masterplan
    files: Mapping[str, str]
    modules: tuple[str, ...]
    places: Places
    wave_id: int

    @classmethod
    def assembled(cls, plan: Masterplan, codes: Mapping[str, str], wave_id: int) -> Project:
        """Put the code in place; raises PlanError where it does not fit."""
        atoms = [atom for atom in plan.atoms if atom.id in codes]
        files = format_project(plan, codes, assemble(plan, codes)).files  # what is judged is what will be written
        modules = tuple(dict.fromkeys(atom.file for atom in atoms))
        return cls(plan, files, modules, Places(atoms, files), wave_id)

    @property
    def level(self) -> Level:
        """The level of the tests that are run."""
        return Level.WAVE if self.wave_id else Level.SYSTEM

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests of the wave that is done, or the acceptance tests."""
        return self.plan.waves[self.wave_id - 1].tests if self.wave_id else self.plan.acceptance_tests


def judge_project(
    plan: Masterplan, codes: Mapping[str, str], wave_id: int, sandbox: ChecksWorkspaces, types: TypeChecker
) -> ValidationResult:
    """Return the verdict on what `codes` (atom id -> accepted code) make of the plan; blocks meanwhile."""
    started = time.perf_counter()
    try:
        project = Project.assembled(plan, codes, wave_id)
    except PlanError as error:
        found = issue(Level.MODULE, f"the project cannot be assembled: {error}", rule="placement")
        return ValidationResult(issues=(found,), level=Level.MODULE)
    blamed, found_in_modules = _modules(project, types)
    seconds = {Level.MODULE.value: time.perf_counter() - started}
    verdict = ValidationResult(issues=tuple(found_in_modules[:MOST_ISSUES]), level=Level.MODULE, seconds=seconds)
    if not verdict.passed:
        return verdict.model_copy(update={"blamed": tuple(blamed)[:MOST_BLAMED]})
    return _tested(project, verdict, sandbox)


def _modules(project: Project, types: TypeChecker) -> tuple[dict[str, None], list[ValidationIssue]]:
    """Return what is wrong with the modules on lines that atoms wrote, and those atoms."""
    blamed: dict[str, None] = {}
    found: list[ValidationIssue] = []
    for path in project.modules:
        try:
            findings = [
                (one["location"]["row"], one["message"], one.get("code") or "syntax")
                for one in ruff_findings(path, project.files[path])
            ]
            if project.plan.validation.types:
                findings += types.errors(project.files, path, project.plan.validation.check_timeout_s)
        except (OSError, subprocess.TimeoutExpired, ValueError, MypyError) as error:
            message = f"{path} was not judged as a module: {error}"
            found.append(issue(Level.MODULE, message, rule="tool", severity=Severity.WARNING))
            continue
        for row, message, rule in findings:
            atom_id = project.places.atom_at(path, row)
            if atom_id is not None:
                blamed[atom_id] = None
                found.append(issue(Level.MODULE, f"{path}:{row}: {message} (in {atom_id})", rule=rule))
    return blamed, found


def _tested(project: Project, so_far: ValidationResult, sandbox: ChecksWorkspaces) -> ValidationResult:
    started = time.perf_counter()
    wall_s = min(project.plan.validation.check_timeout_s * FACTOR, MOST_S)
    names = tuple(dict.fromkeys(module_name(path) for path in project.modules))
    request = request_for(project.files, project.tests, names, wall_s)
    record = sandbox.check(request)
    issues = read_record(record, project.tests, lambda _: None, project.level)
    if not project.tests:
        message = "the plan has no acceptance tests; the modules were imported"
        issues.append(issue(project.level, message, rule="untested", severity=Severity.WARNING))
    blamed = () if record.status == "ok" else _blamed(project, request, record, sandbox)
    return ValidationResult(
        issues=(*so_far.issues, *issues)[:MOST_ISSUES],
        level=project.level,
        tests_run=tests_counted(record),
        seconds={**so_far.seconds, project.level.value: time.perf_counter() - started},
        blamed=blamed,
    )


def _blamed(
    project: Project, request: CheckRequest, record: SandboxRecord, sandbox: ChecksWorkspaces
) -> tuple[str, ...]:
    """Run it again with a trace: the first run is not slowed down for a failure that is rare."""
    traced = sandbox.check(replace(request, trace=True))
    return suspects(traced if traced.functions else record, project.places)
