"""Edges from calls that were seen: what reading the code cannot find, such as callbacks and operators on anything."""

from __future__ import annotations

from collections.abc import Iterable

from mge_ray.pipeline.atomize.definitions import Key, Module, Package
from mge_ray.pipeline.atomize.edges import Doubt, Edge, EdgeKind
from mge_ray.pipeline.atomize.observations import Entry
from mge_ray.pipeline.code_layout import first_line, last_line


def with_observed(package: Package, found: set[Edge], calls: Iterable[tuple[Entry, Entry]]) -> set[Edge]:
    """Return the edges with those of observed calls; an edge that was only guessed and is seen loses its doubt."""
    modules = package.by_path()
    lines = {path: _function_lines(module) for path, module in modules.items()}
    seen: set[tuple[Key, Key]] = set()
    for caller, callee in calls:
        source = lines.get(caller.path, {}).get(caller.line)
        target = lines.get(callee.path, {}).get(callee.line)
        if source is not None and target is not None and source != target:
            seen.add((source, target))
    known = {(edge.source, edge.target) for edge in found}
    surer = {
        edge._replace(doubt=Doubt.OBSERVED) if edge.doubt and (edge.source, edge.target) in seen else edge
        for edge in found
    }
    return surer | {Edge(*pair, EdgeKind.OBSERVED, Doubt.OBSERVED) for pair in seen - known}


def _function_lines(module: Module) -> dict[int, Key]:
    """Return the function each line (from 1) belongs to; functions inside functions are part of the outer one."""
    found: dict[int, Key] = {}
    for symbol, nodes in module.functions.items():
        for node in nodes:
            found.update(dict.fromkeys(range(first_line(node) + 1, last_line(node) + 2), Key(module.path, symbol)))
    return found
