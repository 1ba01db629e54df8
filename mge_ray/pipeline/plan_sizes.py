"""How large a plan's prompts and answers are, before anything is generated: real rendering, made-up dependency code.

Pure. The prompts are those that will be sent, with code of each dependency's planned length in its place; what a retry
adds is the previous answer and its errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit, Complexity
from mge_ray.domain.plan import Masterplan
from mge_ray.execution.ports import PlanContext
from mge_ray.pipeline.prompt import render

BYTES_PER_LINE = 38
"""Of generated code, indentation included; 37.6 in the accepted code of examples/bookkeeping."""

ERROR_BYTES = 900
"""What a rejected answer's errors add to the next prompt; at most five messages of 2,000 characters."""


@dataclass(frozen=True, slots=True)
class AtomSize:
    """One atom's first prompt in bytes of UTF-8, what a retry adds, and its planned lines of code."""

    prompt_bytes: int
    retry_bytes: int
    lines: int
    complexity: Complexity


@dataclass(frozen=True, slots=True)
class PlanShape:
    """What a forecast needs of a plan: sizes and dependents by atom number, waves of atom numbers."""

    prefix_bytes: int
    atoms: tuple[AtomSize, ...]
    dependents: tuple[tuple[int, ...], ...]
    waves: tuple[tuple[int, ...], ...]
    has_acceptance: bool
    number_of: Mapping[str, int]


def plan_shape(plan: Masterplan) -> PlanShape:
    """Return the sizes of a plan."""
    number_of = {atom.id: number for number, atom in enumerate(plan.atoms)}
    context = PlanContext(plan.name, plan.description, plan.files)
    prefix_bytes, sizes = 0, []
    for atom in plan.atoms:
        dependencies = [AcceptedAtom(atom=plan.by_id[d], code=made_up_code(plan.by_id[d])) for d in atom.depends_on]
        prompt = render(atom, dependencies, plan=context)
        prefix_bytes = sum(_bytes(text) for text in prompt.system)
        retry_bytes = ERROR_BYTES + BYTES_PER_LINE * atom.estimated_loc
        sizes.append(AtomSize(_bytes(prompt.user), retry_bytes, atom.estimated_loc, atom.complexity))
    return PlanShape(
        prefix_bytes=prefix_bytes,
        atoms=tuple(sizes),
        dependents=tuple(tuple(number_of[d] for d in plan.dependents[atom.id]) for atom in plan.atoms),
        waves=tuple(tuple(number_of[atom_id] for atom_id in wave.atom_ids) for wave in plan.waves),
        has_acceptance=bool(plan.acceptance_tests),
        number_of=number_of,
    )


def made_up_code(atom: AtomicUnit) -> str:
    """Return Python of the atom's planned length: its signature, then lines of the usual width."""
    head = f"{atom.signature.rstrip().removesuffix(':')}:" if atom.signature.lstrip().startswith(_OPENERS) else ""
    filler = "    value = " + "x" * (BYTES_PER_LINE - 15)
    lines = [head or "def made_up():", *[filler] * max(1, atom.estimated_loc - 1)]
    return "\n".join(lines)


_OPENERS = ("def ", "async def ", "class ", "@")


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
