"""A Masterplan from a project and what was observed of it; owns the order of the steps and the atoms' fields."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import ExecutionWave, Masterplan, ValidationPlan, checked_plan, compute_waves
from mge_ray.pipeline.atomize.answers import altered, answer_of, defines_of
from mge_ray.pipeline.atomize.definitions import Key, Module, Package, module_name, read_package
from mge_ray.pipeline.atomize.describe import complexity_of, describe, signature_of
from mge_ray.pipeline.atomize.graph import Dependency, UnitGraph, connect
from mge_ray.pipeline.atomize.judging import LineMap, assign, gather, whole_files
from mge_ray.pipeline.atomize.observations import Observations
from mge_ray.pipeline.atomize.project_tree import AtomizeError, ProjectTree
from mge_ray.pipeline.atomize.references import Edge, find_edges
from mge_ray.pipeline.atomize.stubs import stub_module
from mge_ray.pipeline.atomize.units import MAKES_NO_STUB, Kept, Unit, body_lines, code_lines, find_units
from mge_ray.pipeline.workspace import Piece

ID_CHARS = 128


@dataclass(frozen=True, slots=True)
class Atomized:
    """The plan, the original code by atom id, and what is to be told about how it came to be."""

    plan: Masterplan
    answers: Mapping[str, str]
    lines: Mapping[str, int]
    kept: tuple[Kept, ...]
    edges: Mapping[str, int]
    doubtful_edges: int
    merged: tuple[tuple[str, ...], ...]
    cut: tuple[str, ...]
    weak: tuple[str, ...]
    failing: tuple[str, ...]
    passing: int
    untraced: int


def atomize(tree: ProjectTree, observed: Observations, *, timeout_s: float = 30.0) -> Atomized:
    """Make the plan; raises AtomizeError where nothing can be made an atom, PlanError where a plan's limits are hit."""
    package = read_package(tree)
    modules = package.by_path()
    units, kept = find_units(package, observed.entered_at_import)
    edges = find_edges(package)
    graph, answers = _connected(modules, units, edges, kept)
    if not graph.units:
        raise AtomizeError(
            f"{tree.name}: no function or class can be an atom: all of {len(kept)} run at import, are empty or "
            "conditional; see docs/atomize.md"
        )
    return _Plan(tree, package, graph, answers, observed, timeout_s).build(edges, kept)


def _connected(
    modules: Mapping[str, Module], units: Sequence[Unit], edges: set[Edge], kept: list[Kept]
) -> tuple[UnitGraph, dict[Key, str]]:
    """Connect the units whose code can be cut out and put back, the others being kept."""

    def lines_of(unit: Unit) -> int:
        return sum(code_lines(node, modules[unit.key.path].text) for node in unit.nodes)

    def mergeable(unit: Unit) -> bool:
        return answer_of(modules[unit.key.path], unit) is not None

    left = list(units)
    while True:
        unusable = {unit.key for unit in left if not mergeable(unit)}
        left = [unit for unit in left if unit.key not in unusable]
        graph = connect(left, edges, lines_of, mergeable)
        answers = {unit.key: answer_of(modules[unit.key.path], unit) or "" for unit in graph.units}
        lost = _lost(modules, graph, answers)
        unusable |= lost
        kept += [Kept(key, MAKES_NO_STUB) for key in sorted(unusable)]
        if not lost:
            return graph, answers
        left = [unit for unit in left if unit.key not in lost]


def _lost(modules: Mapping[str, Module], graph: UnitGraph, answers: Mapping[Key, str]) -> set[Key]:
    by_path: dict[str, list[Unit]] = {}
    for unit in graph.units:
        by_path.setdefault(unit.key.path, []).append(unit)
    lost: set[Key] = set()
    for path, units in by_path.items():
        stubbed = stub_module(modules[path], [function for unit in units for function in unit.functions])
        pieces = [Piece(unit.key.symbol, answers[unit.key], (), defines_of(unit)) for unit in units]
        lost |= {Key(path, symbol) for symbol in altered(modules[path], stubbed, pieces)}
    return lost


class _Plan:
    """One plan in the making."""

    def __init__(
        self,
        tree: ProjectTree,
        package: Package,
        graph: UnitGraph,
        answers: Mapping[Key, str],
        observed: Observations,
        timeout_s: float,
    ) -> None:
        self._tree = tree
        self._modules = package.by_path()
        self._graph = graph
        self._answers = answers
        self._observed = observed
        self._timeout_s = timeout_s
        self._ids = [f"{module_name(unit.key.path)}:{unit.key.symbol}" for unit in graph.units]
        self._ids = [one if len(one) <= ID_CHARS and one.isascii() else f"unit:{n}" for n, one in enumerate(self._ids)]
        self._lines = [self._code_lines(unit) for unit in graph.units]

    def _code_lines(self, unit: Unit) -> int:
        return sum(code_lines(node, self._modules[unit.key.path].text) for node in unit.nodes)

    def build(self, edges: set[Edge], kept: list[Kept]) -> Atomized:
        """Assign tests, make atoms and waves, check the whole."""
        targets = self._graph.targets()
        atoms = [self._atom(index, targets[index]) for index in range(len(self._graph.units))]
        waves = compute_waves(atoms)
        place = {atom_id: wave.wave_id for wave in waves for atom_id in wave.atom_ids}
        passing, failing = gather(self._observed, self._line_map())
        of_unit, of_wave = assign(passing, self._graph.closures(), [place[one] for one in self._ids])
        atoms = [atom.model_copy(update={"tests": tuple(of_unit.get(n, ()))}) for n, atom in enumerate(atoms)]
        plan = checked_plan(
            {
                "name": self._tree.name,
                "description": self._description(),
                "atoms": tuple(atoms),
                "files": self._files(),
                "execution_plan": tuple(
                    ExecutionWave(wave_id=w.wave_id, atom_ids=w.atom_ids, tests=tuple(of_wave.get(w.wave_id, ())))
                    for w in waves
                ),
                "acceptance_tests": self._acceptance(whole_files(passing, failing), failing),
                "validation": ValidationPlan(check_timeout_s=self._timeout_s),
            }
        )
        return Atomized(
            plan=plan,
            answers={self._ids[n]: self._answers[unit.key] for n, unit in enumerate(self._graph.units)},
            lines=dict(zip(self._ids, self._lines, strict=True)),
            kept=tuple(sorted(kept, key=lambda one: one.key)),
            edges=Counter(edge.kind.value for edge in edges),
            doubtful_edges=sum(edge.doubt > 0 for edge in edges),
            merged=tuple(tuple(unit.key.symbol for unit in group) for group in self._graph.merged),
            cut=tuple(map(self._shown, self._graph.cut)),
            weak=tuple(atom.id for atom in plan.atoms if not atom.tests),
            failing=tuple(failing),
            passing=len(passing),
            untraced=sum(not test.covered for test in passing),
        )

    def _shown(self, one: Dependency) -> str:
        return f"{self._ids[one.source]} -> {self._ids[one.target]} ({one.kind.value}, {one.doubt.name.lower()})"

    def _atom(self, index: int, targets: set[int]) -> AtomicUnit:
        unit = self._graph.units[index]
        leaf = unit.key.symbol.rpartition(".")[2]
        last = [node for node in unit.nodes if node.name == leaf][-1]
        rests_on = [self._graph.units[target].key.symbol for target in sorted(targets)]
        return AtomicUnit(
            id=self._ids[index],
            description=describe(unit, rests_on),
            file=unit.key.path,
            symbol=unit.key.symbol,
            signature=signature_of(last),
            depends_on=tuple(self._ids[target] for target in sorted(targets)),
            defines=defines_of(unit),
            complexity=complexity_of(unit, self._lines[index]),
            estimated_loc=min(self._lines[index], 10_000),
        )

    def _line_map(self) -> LineMap:
        units: dict[str, dict[int, int]] = {}
        one_liners: dict[str, set[int]] = {}
        for index, unit in enumerate(self._graph.units):
            lines = units.setdefault(unit.key.path, {})
            single = one_liners.setdefault(unit.key.path, set())
            for function in unit.functions:
                rows = body_lines(function)
                lines.update(dict.fromkeys(rows, index))
                single.update(row for row in rows if row == function.lineno)
        return LineMap(units, {path: frozenset(rows) for path, rows in one_liners.items()})

    def _files(self) -> dict[str, str]:
        files = dict(self._tree.files)
        inside: dict[str, list[Unit]] = {}
        for unit in self._graph.units:
            inside.setdefault(unit.key.path, []).append(unit)
        for path, units in inside.items():
            files[path] = stub_module(self._modules[path], [function for unit in units for function in unit.functions])
        return files

    def _acceptance(self, passing: Sequence[str], failing: Sequence[str]) -> tuple[str, ...]:
        if not passing or self._tree.tests is None:
            return ()
        return tuple(passing) if failing else (self._tree.tests,)

    def _description(self) -> str:
        top = min(self._modules.values(), key=lambda one: (len(one.name), one.name))
        docstring = ast.get_docstring(top.tree) or ""
        return f"The Python package {self._tree.name}.\n\n{docstring[:4_000]}".strip()

