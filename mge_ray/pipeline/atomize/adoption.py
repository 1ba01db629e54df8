"""Helpers that no test judges become part of what uses them.

A wrong helper that nothing judges is found out only by what rests on it, which then fails for no fault of its own. So
it is written together with one of its callers, where one answer can hold both and stays short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import networkx as nx

from mge_ray.pipeline.atomize.edges import EdgeKind
from mge_ray.pipeline.atomize.graph import UnitGraph, belong_together, joined
from mge_ray.pipeline.atomize.units import Unit

MOST_LINES_TOGETHER = 30


def adopt(
    graph: UnitGraph,
    judged: Mapping[int, object],
    lines_of: Callable[[Unit], int],
    mergeable: Callable[[Unit], bool],
) -> tuple[list[Unit], list[tuple[Unit, ...]]]:
    """Return the units with unjudged helpers joined to a caller, and which were joined; closes no cycle."""
    known: nx.DiGraph[int] = nx.DiGraph()
    known.add_nodes_from(range(len(graph.units)))
    known.add_edges_from((one.source, one.target) for one in graph.dependencies)
    calls = {(one.source, one.target) for one in graph.dependencies if one.kind is not EdgeKind.TEST}
    groups = {index: [index] for index in range(len(graph.units))}
    tested = set(judged)
    for helper in reversed(list(nx.topological_sort(known))):
        if helper in tested or helper not in known:
            continue
        inside = groups[helper]
        callers = [
            one for one in known.predecessors(helper) if any((m, h) in calls for m in groups[one] for h in inside)
        ]
        callers = sorted(callers, key=lambda one: (one not in tested, known.out_degree(one), one))
        for caller in callers:
            members = _members(graph.units, groups[helper] + groups[caller])
            fits = belong_together(members) and sum(map(lines_of, members)) <= MOST_LINES_TOGETHER
            if fits and not _detour(known, caller, helper) and mergeable(joined(members)):
                _contract(known, groups, caller, helper)
                break
    together = [_members(graph.units, group) for group in groups.values() if len(group) > 1]
    units = [joined(_members(graph.units, group)) for _, group in sorted(groups.items(), key=lambda one: min(one[1]))]
    return units, [tuple(one) for one in together]


def _members(units: Sequence[Unit], group: Sequence[int]) -> list[Unit]:
    return [units[index] for index in sorted(group)]


def _detour(known: nx.DiGraph[int], caller: int, helper: int) -> bool:
    """Return whether the caller also reaches the helper through others: joining the two would close a cycle."""
    others = [one for one in known.successors(caller) if one != helper]
    return any(nx.has_path(known, one, helper) for one in others)


def _contract(known: nx.DiGraph[int], groups: dict[int, list[int]], caller: int, helper: int) -> None:
    known.add_edges_from((one, caller) for one in list(known.predecessors(helper)) if one != caller)
    known.add_edges_from((caller, one) for one in list(known.successors(helper)) if one != caller)
    known.remove_node(helper)
    groups[caller] += groups.pop(helper)
