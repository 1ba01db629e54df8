"""Planning steps as units of work: which there are, what each rests on, and the plan that runs one stage.

The version of prompts and checks, the specification and the documents so far are part of a stage's `files`, and so of
its hash: equal hashes mean that an accepted answer can be used again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel

from mge_ray.domain.atom import PLAN_LANGUAGE, AtomicUnit, Complexity
from mge_ray.domain.plan import Masterplan, ValidationPlan
from mge_ray.pipeline.spec.documents import (
    DetailsDocument,
    InterfaceDocument,
    RequirementsDocument,
)

PLANNING_VERSION = "1"
"""A change to the prompts, forms or checks of planning is a new version: older answers are not used again."""

PREFIX = "plan:"
SYSTEM = "system"
SPEC, REQUIREMENTS, INTERFACE, VERSION = "SPEC.md", "requirements.json", "interface.json", "planning.txt"
HASH_CHARS = 16
CHECK_TIMEOUT_S = 60.0


class Step(str, Enum):
    """The kinds of planning steps, in their order."""

    REQUIREMENTS = "requirements"
    INTERFACE = "interface"
    DETAILS = "details"
    STRENGTHEN = "strengthen"


FORMS: dict[Step, type[BaseModel]] = {
    Step.REQUIREMENTS: RequirementsDocument,
    Step.INTERFACE: InterfaceDocument,
    Step.DETAILS: DetailsDocument,
    Step.STRENGTHEN: DetailsDocument,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its kind, its plan of units, and the hash under which the journal knows its answers."""

    step: Step
    plan: Masterplan
    key: str

    def remaining(self, known: Iterable[str]) -> Stage | None:
        """Return the stage without the units whose answers are known, None if nothing is left of it."""
        done = set(known)
        left = tuple(atom for atom in self.plan.atoms if atom.id not in done)
        if not left:
            return None
        fields = {"name": self.plan.name, "atoms": left, "files": self.plan.files, "validation": self.plan.validation}
        return Stage(self.step, Masterplan.model_validate(fields), self.key)


def step_of(unit: AtomicUnit) -> tuple[Step, str]:
    """Return what kind of step a unit is, and the module it is about; raise ValueError for what is no step."""
    if unit.language != PLAN_LANGUAGE:
        raise ValueError(f"{unit.id!r} is no planning step")
    kind, _, module = unit.id.removeprefix(PREFIX).partition(":")
    return Step(kind), module


def requirements_stage(title: str, spec: str) -> Stage:
    """Return stage 1."""
    return _stage(Step.REQUIREMENTS, title, {SPEC: spec}, [""])


def interface_stage(title: str, spec: str, requirements: str) -> Stage:
    """Return stage 2, on the accepted document of stage 1."""
    return _stage(Step.INTERFACE, title, {SPEC: spec, REQUIREMENTS: requirements}, [""])


def details_stage(title: str, spec: str, requirements: str, interface: str, modules: Iterable[str]) -> Stage:
    """Return stage 3: one unit for each module, all at once."""
    return _stage(Step.DETAILS, title, {SPEC: spec, REQUIREMENTS: requirements, INTERFACE: interface}, modules)


def strengthen_stage(details: Stage, title: str, documents: Mapping[str, str], weak: Mapping[str, list[str]]) -> Stage:
    """Return the stage that asks once more for modules with weak tests: `weak` has a line for each test, by module."""
    files = dict(details.plan.files)
    for module in weak:
        files[details_file(module)] = documents[module]
        files[weak_file(module)] = json.dumps(weak[module])
    return _stage(Step.STRENGTHEN, title, files, weak)


def details_file(module: str) -> str:
    """Return where a module's former details stand among the files of the strengthening stage."""
    return f"details/{module}.json"


def weak_file(module: str) -> str:
    """Return where the list of a module's weak tests stands among the files of the strengthening stage."""
    return f"weak/{module}.json"


def unit_id(step: Step, module: str = "") -> str:
    """Return the id of one step's unit."""
    return f"{PREFIX}{step.value}:{module}" if module else f"{PREFIX}{step.value}"


def _stage(step: Step, title: str, files: dict[str, str], modules: Iterable[str]) -> Stage:
    files = {**files, VERSION: PLANNING_VERSION}
    digest = hashlib.sha256(step.value.encode())
    for path in sorted(files):
        digest.update(f"\0{path}\0{len(files[path])}\0{files[path]}".encode())
    key = digest.hexdigest()[:HASH_CHARS]
    plan = Masterplan(
        name=f"planning {title[:80]}: {step.value} {key}",
        atoms=tuple(_unit(step, module) for module in modules),
        files=files,
        validation=ValidationPlan(check_timeout_s=CHECK_TIMEOUT_S),
    )
    return Stage(step, plan, key)


def _unit(step: Step, module: str) -> AtomicUnit:
    return AtomicUnit(
        id=unit_id(step, module),
        name=f"{step.value} of {module}" if module else step.value,
        file=f"plan/{step.value}/{module}.json" if module else f"plan/{step.value}.json",
        symbol=step.value,
        language=PLAN_LANGUAGE,
        complexity=Complexity.HIGH if step is Step.INTERFACE else Complexity.MEDIUM,
        estimated_loc=300,
    )
