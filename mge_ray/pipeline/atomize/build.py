"""A Masterplan from a project and what was observed of it; owns the order of the steps and the atoms' fields."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import ExecutionWave, Masterplan, ValidationPlan, checked_plan, compute_waves
from mge_ray.pipeline.atomize.adoption import adopt, lean
from mge_ray.pipeline.atomize.answers import altered, answer_of, defines_of
from mge_ray.pipeline.atomize.definitions import Function, Key, Package, module_name, read_package
from mge_ray.pipeline.atomize.describe import complexity_of, describe, signature_of
from mge_ray.pipeline.atomize.edges import Edge, EdgeKind
from mge_ray.pipeline.atomize.graph import Dependency, UnitGraph, connect, joined
from mge_ray.pipeline.atomize.judging import Bench, judges, line_map, outcomes_of, tested, whole_files
from mge_ray.pipeline.atomize.observations import Observations
from mge_ray.pipeline.atomize.observed import with_observed
from mge_ray.pipeline.atomize.project_tree import AtomizeError, ProjectTree
from mge_ray.pipeline.atomize.references import find_edges
from mge_ray.pipeline.atomize.stubs import stub_module
from mge_ray.pipeline.atomize.units import MAKES_NO_STUB, UNJUDGED, UNTESTED, Kept, Unit, code_lines, find_units
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
    dropped_edges: int
    merged: tuple[tuple[str, ...], ...]
    adopted: tuple[tuple[str, ...], ...]
    cut: tuple[str, ...]
    weak: tuple[str, ...]
    failing: tuple[str, ...]
    passing: int
    untraced: int
    helped: int
    dependencies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Options:
    """What becomes an atom: `everything`; or what tests run (the default); or only `judged`, what has tests of its own.

    `timeout_s` is how long one atom's tests may take.
    """

    timeout_s: float = 30.0
    everything: bool = False
    judged: bool = False


def atomize(tree: ProjectTree, observed: Observations, options: Options | None = None) -> Atomized:
    """Make the plan; raises AtomizeError where nothing can be made an atom, PlanError where a plan's limits are hit."""
    options = options or Options()
    package = read_package(tree)
    units, kept = find_units(package, observed.entered_at_import)
    if observed.tests and not options.everything:
        is_tested = tested(units, observed)
        kept += [Kept(unit.key, UNTESTED) for unit in units if not is_tested(unit)]
        units = [unit for unit in units if is_tested(unit)]
    read = find_edges(package)
    maker = _Maker(package, with_observed(package, read, observed), kept)
    known = {edge[:3] for edge in maker.edges}
    maker.dropped = sum(edge[:3] not in known for edge in read)
    bench, adopted = _arranged(maker, units, observed)
    while options.judged and observed.tests and (unjudged := bench.unjudged()):
        weak = [bench.graph.units[index] for index in unjudged]
        kept += [Kept(unit.key, UNJUDGED) for unit in weak]
        left = [unit for unit in bench.graph.units if unit not in weak]
        bench, more = _arranged(maker, left, observed)
        adopted += more
    if not bench.graph.units:
        raise AtomizeError(
            f"{tree.name}: no function or class can be an atom: all {len(kept)} run at import, are empty, conditional "
            "or run by no test; see docs/atomize.md"
        )
    return _Plan(tree, maker, bench, observed).build(options.timeout_s, adopted)


def _arranged(maker: _Maker, units: Sequence[Unit], observed: Observations) -> tuple[Bench, list[tuple[Unit, ...]]]:
    """Connect units and find their tests; join units as long as that lets a test judge them."""
    adopted: list[tuple[Unit, ...]] = []
    units = maker.usable(units)
    while True:
        graph = maker.connected(units)
        bench = Bench(graph, judges(observed, line_map(graph.units)))
        lean(bench)
        groups = adopt(bench, maker.lines_of, maker.mergeable)
        if not groups:
            usable = maker.usable(graph.units)
            if len(usable) == len(graph.units):
                graph.take(graph.late)
                return Bench(graph, bench.tests), adopted
            units = usable
            continue
        adopted += groups
        gone = {unit.key for group in groups for unit in group}
        units = [unit for unit in graph.units if unit.key not in gone] + [joined(group) for group in groups]
        units = sorted(units, key=maker.place_of)


class _Maker:
    """Connects units, and knows which code can be cut out and put back."""

    def __init__(self, package: Package, edges: set[Edge], kept: list[Kept]) -> None:
        self.modules = package.by_path()
        self.edges = edges
        self.kept = kept
        self.dropped = 0
        self._answers: dict[Unit, str | None] = {}
        self._lines: dict[ast.AST, int] = {}
        self._stubs: dict[tuple[str, frozenset[Function]], str] = {}
        self.merged: dict[tuple[Unit, ...], None] = {}

    def lines_of(self, unit: Unit) -> int:
        """Count the lines of code that an answer has."""
        for node in unit.nodes:
            if node not in self._lines:
                self._lines[node] = code_lines(node, self.modules[unit.key.path].text)
        return sum(self._lines[node] for node in unit.nodes)

    def stubbed(self, path: str, units: Sequence[Unit]) -> str:
        """Return a module with the bodies of these units replaced."""
        functions = [function for unit in units for function in unit.functions]
        key = path, frozenset(functions)
        if key not in self._stubs:
            self._stubs[key] = stub_module(self.modules[path], functions)
        return self._stubs[key]

    def place_of(self, unit: Unit) -> tuple[str, int]:
        """Return where a unit stands."""
        return unit.key.path, unit.nodes[0].lineno

    def answer_of(self, unit: Unit) -> str | None:
        """Return the unit's code as one answer, None where it cannot be one."""
        if unit not in self._answers:
            self._answers[unit] = answer_of(self.modules[unit.key.path], unit)
        return self._answers[unit]

    def mergeable(self, unit: Unit) -> bool:
        """Return whether the unit's code can be one answer."""
        return self.answer_of(unit) is not None

    def connected(self, units: Sequence[Unit]) -> UnitGraph:
        """Connect units."""
        graph = connect(units, self.edges, self.lines_of, self.mergeable)
        self.merged.update(dict.fromkeys(graph.merged))
        return graph

    def usable(self, units: Sequence[Unit]) -> list[Unit]:
        """Return the units whose code can be cut out and put back, all at once; the others are kept."""
        left = [unit for unit in units if self.mergeable(unit)]
        by_path: dict[str, list[Unit]] = {}
        for unit in left:
            by_path.setdefault(unit.key.path, []).append(unit)
        lost = {key for path, many in by_path.items() for key in self._lost(path, many)}
        self.kept += [Kept(unit.key, MAKES_NO_STUB) for unit in units if unit not in left or unit.key in lost]
        return [unit for unit in left if unit.key not in lost]

    def _lost(self, path: str, units: Sequence[Unit]) -> set[Key]:
        pieces = [Piece(unit.key.symbol, self.answer_of(unit) or "", (), defines_of(unit)) for unit in units]
        return {Key(path, symbol) for symbol in altered(self.modules[path], self.stubbed(path, units), pieces)}


def _symbols(groups: Sequence[tuple[Unit, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(tuple(unit.key.symbol for unit in group) for group in groups))


class _Plan:
    """One plan in the making."""

    def __init__(self, tree: ProjectTree, maker: _Maker, bench: Bench, observed: Observations) -> None:
        self._tree = tree
        self._maker = maker
        self._modules = maker.modules
        self._bench = bench
        self._graph = graph = bench.graph
        self._observed = observed
        self._ids = [f"{module_name(unit.key.path)}:{unit.key.symbol}" for unit in graph.units]
        self._ids = [one if len(one) <= ID_CHARS and one.isascii() else f"unit:{n}" for n, one in enumerate(self._ids)]
        self._lines = [maker.lines_of(unit) for unit in graph.units]

    def build(self, timeout_s: float, adopted: Sequence[tuple[Unit, ...]]) -> Atomized:
        """Assign tests, make atoms and waves, check the whole."""
        passing, failing = outcomes_of(self._observed)
        targets = self._graph.targets()
        atoms = [self._atom(index, targets[index]) for index in range(len(self._graph.units))]
        waves = compute_waves(atoms)
        place = {atom_id: wave.wave_id for wave in waves for atom_id in wave.atom_ids}
        of_unit, of_wave = self._bench.assign([place[one] for one in self._ids])
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
                "validation": ValidationPlan(check_timeout_s=timeout_s),
            }
        )
        return Atomized(
            plan=plan,
            answers={self._ids[n]: self._maker.answer_of(unit) or "" for n, unit in enumerate(self._graph.units)},
            lines=dict(zip(self._ids, self._lines, strict=True)),
            kept=tuple(sorted(self._maker.kept, key=lambda one: one.key)),
            edges=Counter(edge.kind.value for edge in self._maker.edges),
            doubtful_edges=sum(edge.doubt > 0 for edge in self._maker.edges),
            dropped_edges=self._maker.dropped,
            merged=_symbols(list(self._maker.merged)),
            adopted=_symbols(adopted),
            cut=tuple(map(self._shown, self._graph.cut)),
            weak=tuple(atom.id for atom in plan.atoms if not atom.tests),
            failing=tuple(failing),
            passing=len(passing),
            helped=len({one.source for one in self._graph.dependencies if one.kind is EdgeKind.TEST}),
            dependencies=Counter(one.kind.value for one in self._graph.dependencies),
            untraced=len(passing) - sum(test.covered > 0 for test in self._bench.tests),
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

    def _files(self) -> dict[str, str]:
        files = dict(self._tree.files)
        inside: dict[str, list[Unit]] = {}
        for unit in self._graph.units:
            inside.setdefault(unit.key.path, []).append(unit)
        for path, units in inside.items():
            files[path] = self._maker.stubbed(path, units)
        return files

    def _acceptance(self, passing: Sequence[str], failing: Sequence[str]) -> tuple[str, ...]:
        if not passing or self._tree.tests is None:
            return ()
        return tuple(passing) if failing else (self._tree.tests,)

    def _description(self) -> str:
        top = min(self._modules.values(), key=lambda one: (len(one.name), one.name))
        docstring = ast.get_docstring(top.tree) or ""
        return f"The Python package {self._tree.name}.\n\n{docstring[:4_000]}".strip()
