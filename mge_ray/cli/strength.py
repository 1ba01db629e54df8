"""After a run: whether the tests notice wrong versions of the code they accepted.

Each accepted atom is changed in one place at a time, a few times over its text, and its tests run on that in the
sandbox. What they do not notice is told; it may also be a change that means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mge_ray.adapters.sandbox import CheckRequest, Sandbox, SandboxLevel, SandboxLimits
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.workspace import build_workspace
from mge_ray.simulator.mutations import Mutant, mutants

MUTANTS_AN_ATOM = 6
WALL_S = 10.0
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Strength:
    """One atom: how many wrong versions its tests were run on, and those they passed."""

    atom_id: str
    tried: int
    survived: tuple[Mutant, ...]


def passing_wrong_code(plan: Masterplan, codes: Mapping[str, str], level: str | None) -> list[Strength]:
    """Return each tested atom's strength; blocks while the sandbox runs, some seconds for a hundred versions."""
    with Sandbox(SandboxLevel(level) if level else None) as sandbox:
        return [_strength(plan, atom, codes, sandbox) for atom in plan.atoms if atom.tests and atom.id in codes]


def strength_text(found: list[Strength]) -> str:
    """Return what people read."""
    tried = sum(one.tried for one in found)
    weak = [(one.atom_id, mutant) for one in found for mutant in one.survived]
    lines = [f"tests      notice {tried - len(weak)} of {tried} wrong versions of the accepted code"]
    for atom_id, mutant in weak[:SHOWN]:
        lines.append(f"           {atom_id}, line {mutant.line}: {mutant.description}: passes")
    if len(weak) > SHOWN:
        lines.append(f"           and {len(weak) - SHOWN} more")
    return "\n".join(lines)


def _strength(plan: Masterplan, atom: AtomicUnit, codes: Mapping[str, str], sandbox: Sandbox) -> Strength:
    below = [(plan.by_id[one], codes[one]) for one in plan.closure(atom.id) if one in codes]
    chosen = _spread(mutants(codes[atom.id]))
    survived = tuple(mutant for mutant in chosen if _passes(plan, atom, [*below, (atom, mutant.code)], sandbox))
    return Strength(atom.id, len(chosen), survived)


def _passes(plan: Masterplan, atom: AtomicUnit, placed: list[tuple[AtomicUnit, str]], sandbox: Sandbox) -> bool:
    files = build_workspace(plan.files, placed)
    return sandbox.check(CheckRequest(files, atom.tests, SandboxLimits(wall_s=WALL_S))).status == "ok"


def _spread(found: list[Mutant]) -> list[Mutant]:
    """Return some from all over the code, the same ones every time."""
    count = min(MUTANTS_AN_ATOM, len(found))
    return [found[index * len(found) // count] for index in range(count)]
