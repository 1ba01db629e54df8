"""The levels of a planning step, under the names that code has: its form, its contract, lint, and runs.

Weak tests are warnings here: whether to ask again is decided by whoever runs the stages.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from mge_ray.adapters.plan_steps.weakness import WEAK_RULE, Trial, weak_tests_of
from mge_ray.adapters.sandbox.model import CheckRequest, SandboxLimits
from mge_ray.adapters.validator.lint import RUFF_TIMEOUT_S, ruff_command
from mge_ray.adapters.validator.names import unresolved_imports
from mge_ray.adapters.validator.parsing import MAX_NESTING, nesting
from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.adapters.validator.trials import ChecksWorkspaces, module_name
from mge_ray.domain.validation import Level, Severity, ValidationIssue
from mge_ray.execution.ports import Candidate
from mge_ray.pipeline.outline import parse
from mge_ray.pipeline.spec.assembly import atom_problems
from mge_ray.pipeline.spec.checks import Interface, check_interface, check_requirements
from mge_ray.pipeline.spec.details import Details, check_details, test_path
from mge_ray.pipeline.spec.documents import (
    DetailsDocument,
    DocumentError,
    InterfaceDocument,
    RequirementsDocument,
    read_document,
)
from mge_ray.pipeline.spec.steps import FORMS, INTERFACE, REQUIREMENTS, SPEC, SYSTEM, step_of

Check = Callable[[Subject], list[ValidationIssue]]
MAX_OUTPUT_CHARS = 600


def plan_ladder(candidate: Candidate, sandbox: ChecksWorkspaces) -> list[tuple[Level, Check]]:
    """Return the levels for one answer to a planning step, in their order."""
    judged = _Judged(candidate, sandbox)
    return [
        (Level.PARSE, judged.form),
        (Level.CONTRACT, judged.contract),
        (Level.LINT, judged.lint),
        (Level.TESTS, judged.trial),
    ]


@dataclass(slots=True)
class _Judged:
    """One answer on its way through the levels; each finds what the one before has read."""

    candidate: Candidate
    sandbox: ChecksWorkspaces
    document: BaseModel | None = None
    interface: Interface | None = None
    details: Details | None = None

    def form(self, _: Subject) -> list[ValidationIssue]:
        """Return what keeps the answer from being a document of its form."""
        step, _module = step_of(self.candidate.atom)
        try:
            self.document = read_document(self.candidate.code, FORMS[step])
        except DocumentError as error:
            return [_error(Level.PARSE, problem, "form") for problem in error.problems]
        deep = [name for name, text in _python_of(self.document) if "\0" in text or nesting(text) > MAX_NESTING]
        return [_error(Level.PARSE, f"{name}: its code nests too deeply to be read", "nesting") for name in deep]

    def contract(self, _: Subject) -> list[ValidationIssue]:
        """Return what is not true within the document, or between it and those before it."""
        files, module = self.candidate.files, step_of(self.candidate.atom)[1]
        if isinstance(self.document, RequirementsDocument):
            problems = check_requirements(self.document, files.get(SPEC, ""))
        else:
            demanded = read_document(files.get(REQUIREMENTS, ""), RequirementsDocument).requirements
            if isinstance(self.document, InterfaceDocument):
                problems = check_interface(self.document, demanded)
                self.interface = Interface(self.document)
            else:
                assert isinstance(self.document, DetailsDocument)  # noqa: S101 - the only form left
                interface = Interface(read_document(files.get(INTERFACE, ""), InterfaceDocument))
                self.details = Details(self.document, interface)
                problems = check_details(self.details, module, demanded) or atom_problems(self.details)
        return [_error(Level.CONTRACT, problem, "plan") for problem in problems]

    def lint(self, _: Subject) -> list[ValidationIssue]:
        """Return names and imports that nothing defines, in the skeletons or in the tests."""
        if self.details is not None:
            paths = [test_path(self.details.module)]
            if self.details.module != SYSTEM:
                paths.append(self.details.interface.path(self.details.module))
            return [one for path in paths for one in _lint(path, self.details.files, frozenset({"pytest"}))]
        if self.interface is not None:
            files = self.interface.files
            return [one for path in files for one in _lint(path, files, frozenset())]
        return []

    def trial(self, subject: Subject) -> list[ValidationIssue]:
        """Import the interface; run tests on functions that do nothing, which they are to notice."""
        wall_s = self.candidate.validation.check_timeout_s
        if self.interface is not None:
            return self._import(self.interface, wall_s)
        if self.details is None:
            return []
        trial = Trial(self.details, self.sandbox, wall_s)
        problems = trial.problems()
        subject.tests_run = len(self.details.document.tests)
        if problems:
            return [_error(Level.TESTS, problem, "broken-test") for problem in problems]
        return [
            issue(Level.TESTS, f"{weak.test}: {weak.why}", rule=WEAK_RULE, severity=Severity.WARNING)
            for weak in weak_tests_of(trial)
        ]

    def _import(self, interface: Interface, wall_s: float) -> list[ValidationIssue]:
        names = tuple(module_name(path) for path in interface.files)
        request = CheckRequest(interface.files, (), SandboxLimits(wall_s=wall_s), names)
        record = self.sandbox.check(request)
        bad = [one for one in record.outcomes if one.outcome != "passed"]
        if bad:
            return [_error(Level.TESTS, f"{one.node_id}: {one.message}", "import") for one in bad[:5]]
        if record.status != "ok":
            detail = f"the package cannot be imported: {record.detail} {record.output[-MAX_OUTPUT_CHARS:]}"
            return [_error(Level.TESTS, detail.strip(), "import")]
        return []


def _python_of(document: BaseModel) -> Iterator[tuple[str, str]]:
    """Yield the pieces of Python in a document, by the name to tell them by."""
    if isinstance(document, InterfaceDocument):
        for module in document.modules:
            yield f"module {module.name}", module.skeleton
    elif isinstance(document, DetailsDocument):
        yield "the preamble", document.preamble
        for test in document.tests:
            yield f"test {test.name}", test.code
        for atom in document.atoms:
            yield f"atom {atom.symbol}", atom.signature


def _lint(path: str, files: dict[str, str], allowed: frozenset[str]) -> list[ValidationIssue]:
    tree = parse(files[path])
    imports = unresolved_imports(tree, path, files, allowed) if tree is not None else ()
    found = [f"{path}:{line}: {message}" for line, message in imports]
    return [_error(Level.LINT, problem, "names") for problem in [*found, *_ruff(path, files[path])]]


def _ruff(path: str, text: str) -> list[str]:
    """Return ruff's findings with the line they stand on, as the model knows no line numbers of assembled files."""
    try:
        done = subprocess.run(
            ruff_command(path),
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=RUFF_TIMEOUT_S,
            env={"RAYON_NUM_THREADS": "1", "NO_COLOR": "1"},
        )
        findings = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return []  # what ruff cannot say, the runs say
    lines = text.splitlines()
    told = []
    for one in findings:
        row = one["location"]["row"]
        at = f" in `{lines[row - 1].strip()[:100]}`" if 0 < row <= len(lines) else ""
        told.append(f"{path}: {one['message']}{at}")
    return told


def _error(level: Level, message: str, rule: str) -> ValidationIssue:
    return issue(level, message, rule=rule)
