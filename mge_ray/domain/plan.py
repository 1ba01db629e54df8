"""Masterplan: atoms, the files they live in, and the waves in which they run.

A Masterplan that exists has been checked: ids unique, dependencies known and acyclic, every dependency in a strictly
earlier wave, every file inside the workspace, every test present. One violation is one line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated
from uuid import NAMESPACE_URL, UUID, uuid5

import networkx as nx
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from mge_ray.domain.atom import AtomicUnit, test_file, workspace_path
from mge_ray.domain.errors import PlanError, UnknownExecutionError

MAX_ATOMS = 200_000
MAX_FILES_CHARS = 64 << 20
SHOWN_IN_A_CYCLE = 8


class ExecutionWave(BaseModel):
    """Atoms that may run at the same time; waves are numbered from 1 and run one after the other.

    `tests` are judged by no single atom: they run when the wave is done, before the next one begins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wave_id: Annotated[int, Field(ge=1)]
    atom_ids: tuple[str, ...]
    tests: tuple[Annotated[str, StringConstraints(max_length=2_000)], ...] = ()


class ValidationPlan(BaseModel):
    """Which levels check the atoms of this plan, and for how long (seconds)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: bool = False
    check_timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0


class Masterplan(BaseModel):
    """What is to be built: atoms, the skeleton `files` they are placed into, and the tests that judge them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    masterplan_id: UUID = UUID(int=0)
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    description: Annotated[str, StringConstraints(max_length=200_000)] = ""
    atoms: tuple[AtomicUnit, ...]
    files: dict[str, str] = {}
    execution_plan: tuple[ExecutionWave, ...] = ()
    acceptance_tests: tuple[str, ...] = ()
    validation: ValidationPlan = ValidationPlan()

    @field_validator("files")
    @classmethod
    def _files_in_workspace(cls, value: dict[str, str]) -> dict[str, str]:
        if sum(map(len, value.values())) > MAX_FILES_CHARS:
            raise ValueError(f"files hold more than {MAX_FILES_CHARS >> 20} MiB")
        for path in value:
            workspace_path(path)
        return value

    @model_validator(mode="after")
    def _check(self) -> Masterplan:
        if not self.atoms:
            raise PlanError("the plan has no atoms; add at least one under 'atoms'")
        if len(self.atoms) > MAX_ATOMS:
            raise PlanError(f"the plan has {len(self.atoms)} atoms; {MAX_ATOMS} is the most")
        _check_ids(self.atoms)
        waves = self.execution_plan or compute_waves(self.atoms)
        of_waves = [test for wave in waves for test in wave.tests]
        _check_tests(self.atoms, self.files, self.acceptance_tests, of_waves)
        _check_places(self.atoms, {test_file(test) for test in [*self.acceptance_tests, *of_waves]})
        if self.execution_plan:
            check_waves(self.atoms, waves)
        object.__setattr__(self, "execution_plan", tuple(waves))
        if self.masterplan_id.int == 0:
            object.__setattr__(self, "masterplan_id", uuid5(NAMESPACE_URL, f"mge-ray:plan:{self._content_hash()}"))
        return self

    def _content_hash(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"masterplan_id"}).encode()).hexdigest()

    @property
    def waves(self) -> tuple[ExecutionWave, ...]:
        """The waves in running order."""
        return self.execution_plan

    @cached_property
    def by_id(self) -> Mapping[str, AtomicUnit]:
        """Atoms by id."""
        return {atom.id: atom for atom in self.atoms}

    @cached_property
    def wave_of(self) -> Mapping[str, int]:
        """The wave id of each atom."""
        return {atom_id: wave.wave_id for wave in self.execution_plan for atom_id in wave.atom_ids}

    @cached_property
    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """The ids that depend directly on each atom."""
        found: dict[str, list[str]] = {atom.id: [] for atom in self.atoms}
        for atom in self.atoms:
            for dependency in atom.depends_on:
                found[dependency].append(atom.id)
        return {atom_id: tuple(ids) for atom_id, ids in found.items()}

    def atom(self, atom_id: str) -> AtomicUnit:
        """Return one atom, or raise UnknownExecutionError naming the id."""
        try:
            return self.by_id[atom_id]
        except KeyError:
            raise UnknownExecutionError(f"plan {self.name!r} has no atom {atom_id!r}") from None

    def closure(self, atom_id: str) -> tuple[str, ...]:
        """Return everything `atom_id` rests on, directly or not, in plan order and without itself."""
        seen: set[str] = set()
        stack = list(self.atom(atom_id).depends_on)
        while stack:
            current = stack.pop()
            if current not in seen:
                seen.add(current)
                stack.extend(self.by_id[current].depends_on)
        return tuple(sorted(seen, key=self._position.__getitem__))

    @cached_property
    def _position(self) -> Mapping[str, int]:
        return {atom.id: index for index, atom in enumerate(self.atoms)}

    def critical_path(self) -> tuple[str, ...]:
        """Return the longest chain of dependencies, first atom first: no run can have fewer rounds than this."""
        graph = dependency_graph(self.atoms)
        return tuple(nx.dag_longest_path(graph)) if graph.number_of_nodes() else ()


def checked_plan(fields: Mapping[str, object]) -> Masterplan:
    """Return the plan with these fields, or raise PlanError with the first thing that is wrong with it."""
    try:
        return Masterplan.model_validate(dict(fields))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise PlanError(problem["msg"].removeprefix("Value error, ")) from None


def dependency_graph(atoms: Iterable[AtomicUnit]) -> nx.DiGraph[str]:
    """Edges point from a dependency to its dependent: the direction in which work flows, here and nowhere else."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    listed = list(atoms)
    graph.add_nodes_from(atom.id for atom in listed)
    graph.add_edges_from((dependency, atom.id) for atom in listed for dependency in atom.depends_on)
    return graph


def compute_waves(atoms: Iterable[AtomicUnit]) -> tuple[ExecutionWave, ...]:
    """Group atoms into topological generations; raise PlanError naming the cycle if there is one."""
    listed = list(atoms)
    position = {atom.id: index for index, atom in enumerate(listed)}
    graph = dependency_graph(listed)
    try:
        generations = [sorted(ids, key=position.__getitem__) for ids in nx.topological_generations(graph)]
    except nx.NetworkXUnfeasible:
        raise PlanError(f"the dependencies form a cycle: {_shown_cycle(graph)}; remove one of these edges") from None
    return tuple(ExecutionWave(wave_id=i, atom_ids=tuple(ids)) for i, ids in enumerate(generations, start=1))


def check_waves(atoms: Iterable[AtomicUnit], waves: Iterable[ExecutionWave]) -> None:
    """Raise PlanError unless `waves` hold every atom once, with each dependency in a strictly earlier wave."""
    listed = list(atoms)
    wave_of: dict[str, int] = {}
    known = {atom.id for atom in listed}
    for number, wave in enumerate(waves, start=1):
        if wave.wave_id != number:
            raise PlanError(
                f"execution_plan: wave {wave.wave_id} stands at place {number}; number waves from 1 in order"
            )
        for atom_id in wave.atom_ids:
            if atom_id not in known:
                raise PlanError(f"execution_plan: wave {number} names atom {atom_id!r}, which the plan does not have")
            if atom_id in wave_of:
                raise PlanError(f"execution_plan: atom {atom_id!r} stands in waves {wave_of[atom_id]} and {number}")
            wave_of[atom_id] = number
    for atom in listed:
        if atom.id not in wave_of:
            raise PlanError(f"execution_plan: atom {atom.id!r} is in no wave")
        for dependency in atom.depends_on:
            if wave_of.get(dependency, 0) >= wave_of[atom.id]:
                raise PlanError(
                    f"execution_plan: atom {atom.id!r} in wave {wave_of[atom.id]} depends on {dependency!r} "
                    f"in wave {wave_of.get(dependency, 0)}; a dependency's wave must be strictly earlier"
                )


def _check_ids(atoms: tuple[AtomicUnit, ...]) -> None:
    seen: set[str] = set()
    for atom in atoms:
        if atom.id in seen:
            raise PlanError(f"atom id {atom.id!r} is used twice; ids are unique")
        seen.add(atom.id)
    for atom in atoms:
        for dependency in atom.depends_on:
            if dependency not in seen:
                raise PlanError(f"atom {atom.id!r} depends on {dependency!r}, which the plan does not have")


def _check_places(atoms: tuple[AtomicUnit, ...], judging_files: set[str]) -> None:
    test_files = judging_files | {test_file(test) for atom in atoms for test in atom.tests}
    places: dict[tuple[str, str], str] = {}
    for atom in atoms:
        if atom.file in test_files or atom.file.rsplit("/", 1)[-1] == "conftest.py":
            raise PlanError(f"atom {atom.id!r} would write {atom.file!r}, a file that judges atoms")
        for symbol in (atom.symbol, *atom.defines):
            other = places.setdefault((atom.file, symbol), atom.id)
            if other != atom.id:
                raise PlanError(f"atoms {other!r} and {atom.id!r} both define {symbol!r} in {atom.file!r}")


def _check_tests(
    atoms: tuple[AtomicUnit, ...], files: dict[str, str], acceptance: tuple[str, ...], of_waves: list[str]
) -> None:
    for atom in atoms:
        for test in atom.tests:
            if not _exists(test_file(test), files):
                raise PlanError(
                    f"atom {atom.id!r} names the test {test!r}, but the plan has no file {test_file(test)!r}"
                )
    for test in acceptance:
        if not _exists(test_file(test), files):
            raise PlanError(f"acceptance test {test!r}: the plan has no file or folder {test_file(test)!r}")
    for test in of_waves:
        if not _exists(workspace_path(test_file(test)), files):
            raise PlanError(f"execution_plan: a wave names the test {test!r}, but the plan has no such file")


def _exists(path: str, files: dict[str, str]) -> bool:
    return path in files or any(name.startswith(path.rstrip("/") + "/") for name in files)


def _shown_cycle(graph: nx.DiGraph[str]) -> str:
    names = [edge[0] for edge in nx.find_cycle(graph)]
    shown = names[:SHOWN_IN_A_CYCLE] + (["..."] if len(names) > SHOWN_IN_A_CYCLE else [])
    return " -> ".join([*shown, names[0]])
