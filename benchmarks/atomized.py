"""Plans made of packages by the command line, and several of them put into one. Shared by the scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from packages import PackageError, Source

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.plan_file import load_plan

ATOMIZE_TIMEOUT_S = 1_800.0


@dataclass(frozen=True)
class Subject:
    """A package, the plan made of it, and its original code by atom id.

    `said` is what the command printed, `seconds` how long it took.
    """

    source: Source
    plan: Masterplan
    answers: dict[str, str]
    said: str
    seconds: float


def atomize(source: Source, folder: Path, *flags: str) -> Subject:
    """Make the plan through the command line, as anybody would; `flags` are further ones of `mge-ray atomize`."""
    plan, answers = folder / "plan.json", folder / "answers.json"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mge_ray", "atomize", str(source.package), "--tests", str(source.tests)]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--out", str(plan), "--answers", str(answers), "--allow-failing", *flags],
        cwd=source.root,
        capture_output=True,
        text=True,
        timeout=ATOMIZE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise PackageError(f"{source.name}: no plan could be made: {last[0]}")
    seconds = time.monotonic() - began
    return Subject(source, load_plan(plan), json.loads(answers.read_text("utf-8")), done.stdout.strip(), seconds)


def prefixed(subject: Subject) -> Subject:
    """Return the subject with the package's name before each atom id, so that ids of several packages differ."""
    prefix = f"{subject.source.name}/"

    def renamed(atom: AtomicUnit) -> AtomicUnit:
        update = {"id": prefix + atom.id, "depends_on": tuple(prefix + one for one in atom.depends_on)}
        return AtomicUnit.model_validate(atom.model_dump() | update)

    fields = subject.plan.model_dump(exclude={"masterplan_id"})
    fields["atoms"] = [renamed(atom) for atom in subject.plan.atoms]
    fields["execution_plan"] = [
        wave | {"atom_ids": tuple(prefix + one for one in wave["atom_ids"])} for wave in fields["execution_plan"]
    ]
    answers = {prefix + atom_id: code for atom_id, code in subject.answers.items()}
    return replace(subject, plan=Masterplan.model_validate(fields), answers=answers)


def merged(plans: Sequence[Masterplan]) -> Masterplan:
    """Put plans with different ids into one, wave by wave; raises PackageError where two differ about a file."""
    files: dict[str, str] = {}
    for plan in plans:
        for path, text in plan.files.items():
            if files.setdefault(path, text) != text:
                raise PackageError(f"{path} is another file in {plan.name} than in a plan before it")
    waves = [
        {
            "wave_id": number,
            "atom_ids": [atom_id for wave in together if wave for atom_id in wave.atom_ids],
            "tests": [test for wave in together if wave for test in wave.tests],
        }
        for number, together in enumerate(zip_longest(*(plan.waves for plan in plans)), start=1)
    ]
    return Masterplan.model_validate(
        {
            "name": ", ".join(plan.name for plan in plans),
            "description": "\n\n".join(plan.description for plan in plans if plan.description),
            "atoms": [atom for plan in plans for atom in plan.atoms],
            "files": files,
            "execution_plan": waves,
            "acceptance_tests": list(dict.fromkeys(test for plan in plans for test in plan.acceptance_tests)),
            "validation": {"check_timeout_s": max(plan.validation.check_timeout_s for plan in plans)},
        }
    )
