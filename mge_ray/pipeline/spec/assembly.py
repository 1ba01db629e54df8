"""Stage 4: the documents become a Masterplan, and a table says which atoms and tests stand for which requirement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan, checked_plan
from mge_ray.pipeline.spec.checks import Interface, place_of
from mge_ray.pipeline.spec.details import Details, Key, test_path
from mge_ray.pipeline.spec.documents import AtomDetail, RequirementsDocument
from mge_ray.pipeline.spec.skeletons import signature_of
from mge_ray.pipeline.spec.steps import SYSTEM

TABLE_FILE = "REQUIREMENTS.md"


class RequirementRow(BaseModel):
    """One requirement: where it stands in the specification (line, from 1), and what stands for it in the plan."""

    model_config = ConfigDict(frozen=True)

    id: str
    level: str
    text: str
    line: int | None
    atoms: tuple[str, ...]
    tests: tuple[str, ...]


class WeakTest(BaseModel):
    """A test that does not show much: `why` says on what code it passes."""

    model_config = ConfigDict(frozen=True)

    test: str
    why: str


class RequirementTable(BaseModel):
    """What the side file of a plan holds."""

    model_config = ConfigDict(frozen=True)

    title: str
    requirements: tuple[RequirementRow, ...]
    weak_tests: tuple[WeakTest, ...] = ()


def atom_id(module: str, symbol: str) -> str:
    """Return the id of the atom that writes a symbol."""
    return f"{module}.{symbol}"


def assemble_plan(requirements: RequirementsDocument, interface: Interface, details: Sequence[Details]) -> Masterplan:
    """Return the checked plan; raise PlanError if the documents do not fit together after all."""
    table = requirement_table(requirements, details, "")
    files = {**interface.files, TABLE_FILE: table_text(table)}
    for one in details:
        files[test_path(one.module)] = one.test_text
        if one.module != SYSTEM:
            files[interface.path(one.module)] = one.skeleton_text
    atoms = [_atom(atom, one) for one in details for atom in one.document.atoms]
    return checked_plan(
        {
            "name": requirements.title,
            "description": f"{requirements.title}\n\n{interface.document.summary}",
            "atoms": tuple(atoms),
            "files": files,
            "acceptance_tests": ("tests",),
        }
    )


def requirement_table(
    requirements: RequirementsDocument, details: Iterable[Details], spec: str, weak: Iterable[WeakTest] = ()
) -> RequirementTable:
    """Return the table; lines are told where `spec` is given."""
    atoms: dict[str, dict[str, None]] = {one.id: {} for one in requirements.requirements}
    tests: dict[str, dict[str, None]] = {one.id: {} for one in requirements.requirements}
    for one in details:
        for test in one.document.tests:
            for covered in test.covers:
                tests[covered][f"{test_path(one.module)}::{test.name}"] = None
                if test.atom:
                    atoms[covered][atom_id(one.module, test.atom)] = None
    rows = (
        RequirementRow(
            id=one.id,
            level=one.level,
            text=one.text,
            line=place_of(one.quote, spec) if spec else None,
            atoms=tuple(atoms[one.id]),
            tests=tuple(tests[one.id]),
        )
        for one in requirements.requirements
    )
    return RequirementTable(title=requirements.title, requirements=tuple(rows), weak_tests=tuple(weak))


def table_text(table: RequirementTable) -> str:
    """Return the table in Markdown."""
    lines = [
        f"# {table.title}: requirements",
        "",
        "| requirement | level | what it demands | atoms | tests |",
        "|---|---|---|---|---|",
    ]
    for row in table.requirements:
        text = " ".join(row.text.split()).replace("|", "\\|")
        tests = ", ".join(f"`{test}`" for test in row.tests) or "none"
        atoms = ", ".join(f"`{atom}`" for atom in row.atoms) or ("the whole package" if row.tests else "none")
        lines.append(f"| {row.id} | {row.level} | {text} | {atoms} | {tests} |")
    return "\n".join(lines) + "\n"


def _atom(atom: AtomDetail, details: Details) -> AtomicUnit:
    module = details.module
    tests = [test for test in details.document.tests if test.atom == atom.symbol]
    needed: dict[Key, None] = dict.fromkeys(key for ref in atom.depends_on for key in details.meant(ref) or ())
    for test in tests:
        needed.update(dict.fromkeys(sorted(details.lacking(test))))
    needed.pop((module, atom.symbol), None)
    stub = details.interface.skeletons[module].stubs.get(atom.symbol)
    return AtomicUnit(
        id=atom_id(module, atom.symbol),
        description=atom.description,
        file=details.interface.path(module),
        symbol=atom.symbol,
        signature=signature_of(stub) if stub is not None else atom.signature,
        depends_on=tuple(atom_id(*key) for key in needed),
        imports=atom.imports,
        preconditions=atom.preconditions,
        postconditions=atom.postconditions,
        tests=tuple(f"{test_path(module)}::{test.name}" for test in tests),
        complexity=atom.complexity,
        estimated_loc=atom.lines,
    )


def atom_problems(details: Details) -> list[str]:
    """Return what keeps a module's atoms from being units of a plan, such as an import statement that is none."""
    problems = []
    for atom in details.document.atoms:
        try:
            _atom(atom, details)
        except ValidationError as error:
            problems += [f"atom {atom.symbol}: {one['msg']}" for one in error.errors(include_url=False)[:2]]
    return problems


def modules_of(interface: Interface) -> list[str]:
    """Return the modules whose details are asked for: those with something to write, and the system's tests."""
    open_ones = [name for name, skeleton in interface.skeletons.items() if skeleton.stubs]
    return [*open_ones, *([SYSTEM] if interface.document.system else [])]
