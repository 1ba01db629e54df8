"""Weak tests: those that pass although there is no code yet.

The module's tests run on the skeleton, whose open functions raise, and on versions in which every open function of the
package returns a constant or its first argument. Three findings make a test weak:

- it passes although every function raises;
- it passes on something false and on something true: the result does not matter to it;
- all tests of its atom pass on one and the same constant: together they do not tell it from the code.

A test that expects a constant and stands beside one that expects something else is not weak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mge_ray.adapters.sandbox.model import CheckRequest, SandboxLimits, SandboxRecord
from mge_ray.adapters.validator.trials import ChecksWorkspaces
from mge_ray.pipeline.spec.assembly import WeakTest
from mge_ray.pipeline.spec.details import Details, test_path
from mge_ray.pipeline.spec.skeletons import read_module, with_bodies

WEAK_RULE = "weak-test"
RAISING = ""
FALSE_ONES = ("None", "0", "''", "[]", "{}")
TRUE_ONES = ("True", "'x'")
FIRST = "first"
BODIES = (*FALSE_ONES, *TRUE_ONES, FIRST)
SHOWN_PROBLEMS = 5


@dataclass(slots=True)
class Trial:
    """One module's tests, run on trivial versions of the package; each version runs once."""

    details: Details
    sandbox: ChecksWorkspaces
    wall_s: float
    _records: dict[str, SandboxRecord] = field(default_factory=dict)

    def record(self, body: str) -> SandboxRecord:
        """Return what the sandbox says about the tests where every open function answers with `body`."""
        if body not in self._records:
            limits = SandboxLimits(wall_s=self.wall_s, cpu_s=max(1, math.ceil(self.wall_s)))
            path = test_path(self.details.module)
            self._records[body] = self.sandbox.check(CheckRequest(self._files(body), (path,), limits))
        return self._records[body]

    def passed(self, body: str) -> set[str]:
        """Return the tests that pass on that version, with all their parameters."""
        good: set[str] = set()
        bad: set[str] = set()
        for outcome in self.record(body).outcomes:
            name = _name(outcome.node_id)
            (good if outcome.outcome == "passed" else bad).add(name)
        return good - bad

    def problems(self) -> list[str]:
        """Return tests that cannot be run, whatever code there will be."""
        record = self.record(RAISING)
        if record.status not in {"ok", "failed"}:
            return [f"the tests cannot be run on the skeleton: {record.detail} {record.output[-600:]}".strip()]
        found = []
        seen = set()
        for outcome in record.outcomes:
            seen.add(_name(outcome.node_id))
            if outcome.outcome == "skipped":
                found.append(f"{outcome.node_id} is skipped; tests run always")
            elif outcome.outcome == "error" and "NotImplementedError" not in outcome.message:
                found.append(f"{outcome.node_id} cannot be run: {outcome.message}")
        missing = [test.name for test in self.details.document.tests if test.name not in seen]
        if missing and any("NotImplementedError" in outcome.message for outcome in record.outcomes):
            found.append(
                "the test file calls open functions while it is imported; call them in tests or fixtures alone"
            )
        elif missing and not found:
            found.append(f"pytest does not find {', '.join(missing[:10])}")
        return found[:SHOWN_PROBLEMS]

    def _files(self, body: str) -> dict[str, str]:
        files = dict(self.details.files)
        if body != RAISING:
            for path, text in self.details.files.items():
                skeleton = read_module(text) if path.startswith(f"{self.details.interface.document.package}/") else None
                if skeleton is not None and skeleton.stubs:
                    files[path] = with_bodies(text, list(skeleton.stubs), body)
        return files


def weak_tests_of(trial: Trial) -> list[WeakTest]:
    """Return the weak tests in the order of the document, each with the code it passes on."""
    passed = {body: trial.passed(body) for body in (RAISING, *BODIES)}
    path = test_path(trial.details.module)
    together: dict[str, set[str]] = {}
    for test in trial.details.document.tests:
        together.setdefault(test.atom, set()).add(test.name)
    found = []
    for test in trial.details.document.tests:
        why = _why(test.name, together[test.atom] if test.atom else {test.name}, passed)
        if why:
            found.append(WeakTest(test=f"{path}::{test.name}", why=why))
    return found


def _why(name: str, beside: set[str], passed: dict[str, set[str]]) -> str:
    if name in passed[RAISING]:
        return "passes although every function raises NotImplementedError"
    false = next((body for body in FALSE_ONES if name in passed[body]), None)
    true = next((body for body in TRUE_ONES if name in passed[body]), None)
    if false and true:
        return f"passes on functions that return {false} and on functions that return {true}"
    for body in BODIES:
        if beside <= passed[body]:
            what = "their first argument" if body == FIRST else body
            also = " with all other tests of its atom" if len(beside) > 1 else ""
            return f"passes{also} on functions that return {what}"
    return ""


def _name(node_id: str) -> str:
    return node_id.partition("::")[2].partition("[")[0]
