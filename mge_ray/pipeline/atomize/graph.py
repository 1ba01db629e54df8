"""From edges between nodes to dependencies between units, without cycles.

Paths through code that stays in the skeleton count: it is there, and what it calls is needed. Units that surely call
each other become one where placing allows it; what cycles then remain lose their least certain edge (adr/0008).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from mge_ray.pipeline.atomize.definitions import Key
from mge_ray.pipeline.atomize.edges import Doubt, Edge, EdgeKind
from mge_ray.pipeline.atomize.units import Unit, owners

MOST_MERGED_LINES = 60
_BY_KIND = list(EdgeKind)  # calls first: the last kind is the first to be cut


@dataclass(frozen=True, slots=True)
class Dependency:
    """Unit `source` rests on unit `target` (indices)."""

    source: int
    target: int
    kind: EdgeKind
    doubt: Doubt


@dataclass(slots=True)
class UnitGraph:
    """Units, merged where they call each other, with an acyclic set of dependencies between them.

    `late` are guesses that no test bore out: they are taken last, when units have found their tests.
    """

    units: list[Unit]
    dependencies: list[Dependency] = field(default_factory=list)
    late: list[Dependency] = field(default_factory=list)
    cut: list[Dependency] = field(default_factory=list)
    merged: list[tuple[Unit, ...]] = field(default_factory=list)

    def take(self, wanted: Iterable[Dependency]) -> None:
        """Take dependencies, the surest first, as long as they close no cycle; the others are cut."""
        taken: nx.DiGraph[int] = nx.DiGraph()
        taken.add_nodes_from(range(len(self.units)))
        taken.add_edges_from((one.source, one.target) for one in self.dependencies)
        for one in sorted(wanted, key=lambda one: (*_strength(one.kind, one.doubt), one.source, one.target)):
            if taken.has_edge(one.source, one.target):
                continue
            if nx.has_path(taken, one.target, one.source):
                self.cut.append(one)
            else:
                taken.add_edge(one.source, one.target)
                self.dependencies.append(one)

    def targets(self) -> list[set[int]]:
        """Return, for each unit, what it rests on directly."""
        found: list[set[int]] = [set() for _ in self.units]
        for one in self.dependencies:
            found[one.source].add(one.target)
        return found

    def in_order(self) -> list[int]:
        """Return the units so that each comes after what it rests on."""
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(range(len(self.units)))
        graph.add_edges_from((one.target, one.source) for one in self.dependencies)
        return list(nx.lexicographical_topological_sort(graph))

    def closures(self) -> list[int]:
        """Return, for each unit, everything it rests on, directly or not: bit n for unit n."""
        targets = self.targets()
        found = [0] * len(self.units)
        for index in self.in_order():
            for target in targets[index]:
                found[index] |= found[target] | 1 << target
        return found


def bits_of(units: int) -> Iterator[int]:
    """Yield the units of a set, the lowest first."""
    while units:
        lowest = units & -units
        yield lowest.bit_length() - 1
        units ^= lowest


def connect(
    units: Sequence[Unit], edges: Iterable[Edge], lines_of: Callable[[Unit], int], mergeable: Callable[[Unit], bool]
) -> UnitGraph:
    """Return the graph of units; `mergeable` says whether a merged unit can be cut out and put back."""
    listed = list(edges)
    merged, together = _merge(list(units), listed, lines_of, mergeable)
    graph = UnitGraph(merged, merged=together)
    wanted = _contract(merged, listed)
    graph.late = [one for one in wanted if one.doubt is Doubt.UNSEEN]
    graph.take(one for one in wanted if one.doubt is not Doubt.UNSEEN)
    return graph


def _contract(units: Sequence[Unit], edges: Iterable[Edge]) -> list[Dependency]:
    """Return the strongest dependency between each two units, paths through kept code included."""
    owner = owners(units)
    outgoing: dict[Key, list[Edge]] = {}
    for edge in edges:
        outgoing.setdefault(edge.source, []).append(edge)
    found: dict[tuple[int, int], Dependency] = {}
    for key, source in owner.items():
        for target, (doubt, kind) in _reached(key, outgoing, owner).items():
            known = found.get((source, target))
            if source != target and (known is None or _strength(kind, doubt) < _strength(known.kind, known.doubt)):
                found[source, target] = Dependency(source, target, kind, doubt)
    return list(found.values())


def _reached(
    key: Key, outgoing: Mapping[Key, Sequence[Edge]], owner: Mapping[Key, int]
) -> dict[int, tuple[Doubt, EdgeKind]]:
    """Return the units reached from a node through no other unit; a path is as sure as its least sure edge."""
    reached: dict[int, tuple[Doubt, EdgeKind]] = {}
    best: dict[Key, Doubt] = {key: Doubt.NONE}
    pending: list[tuple[Key, Doubt, EdgeKind | None]] = [(key, Doubt.NONE, None)]
    while pending:
        current, doubt, first = pending.pop()
        for edge in sorted(outgoing.get(current, ())):
            worst = max(doubt, edge.doubt)
            kind = first or edge.kind
            unit = owner.get(edge.target)
            if unit is not None:
                known = reached.get(unit)
                if known is None or _strength(kind, worst) < _strength(known[1], known[0]):
                    reached[unit] = (worst, kind)
            elif edge.target not in best or worst < best[edge.target]:
                best[edge.target] = worst
                pending.append((edge.target, worst, kind))
    return reached


def _strength(kind: EdgeKind, doubt: Doubt) -> tuple[int, int]:
    return int(doubt), _BY_KIND.index(kind)


def _merge(
    units: list[Unit], edges: list[Edge], lines_of: Callable[[Unit], int], mergeable: Callable[[Unit], bool]
) -> tuple[list[Unit], list[tuple[Unit, ...]]]:
    sure: nx.DiGraph[int] = nx.DiGraph()
    sure.add_edges_from((one.source, one.target) for one in _contract(units, edges) if one.doubt is Doubt.NONE)
    together: list[tuple[Unit, ...]] = []
    replaced: dict[int, Unit | None] = {}
    for component in nx.strongly_connected_components(sure):
        members = [units[index] for index in sorted(component)]
        if len(members) == 1 or not belong_together(members) or sum(map(lines_of, members)) > MOST_MERGED_LINES:
            continue
        one = joined(members)
        if mergeable(one):
            together.append(tuple(members))
            replaced.update(dict.fromkeys(component))
            replaced[min(component)] = one
    kept = [replaced.get(index, unit) for index, unit in enumerate(units)]
    return [unit for unit in kept if unit is not None], together


def belong_together(members: Sequence[Unit]) -> bool:
    """Return whether one answer can hold them: functions of one module, and methods of one class of it."""
    files = {unit.key.path for unit in members}
    owners_of = {unit.key.symbol.rpartition(".")[0] for unit in members} - {""}
    whole = any(isinstance(node, ast.ClassDef) for unit in members for node in unit.nodes)
    return len(files) == 1 and len(owners_of) <= 1 and not whole


def joined(members: Sequence[Unit]) -> Unit:
    """Return one unit of several, named by the first in the file: a method if there is one, with functions beside."""
    if len(members) == 1:
        return members[0]
    ordered = sorted(members, key=lambda unit: "." not in unit.key.symbol)
    nodes = tuple(node for unit in ordered for node in unit.nodes)
    return Unit(
        ordered[0].key, nodes, tuple(dict.fromkeys(key for unit in ordered for key in (unit.key, *unit.members)))
    )
