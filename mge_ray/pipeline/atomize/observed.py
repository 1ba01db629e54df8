"""What the suite's run says about edges.

It adds what reading the code cannot find, such as callbacks and operators on anything, and tells guesses that were seen
from those that were not though the caller ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from mge_ray.pipeline.atomize.definitions import Key, Module, Package
from mge_ray.pipeline.atomize.edges import Doubt, Edge, EdgeKind
from mge_ray.pipeline.atomize.observations import Observations
from mge_ray.pipeline.atomize.units import body_lines
from mge_ray.pipeline.code_layout import first_line, last_line


def with_observed(package: Package, found: set[Edge], observed: Observations) -> set[Edge]:
    """Return the edges with those of observed calls; guesses are surer if they were seen, and less sure if not."""
    modules = package.by_path()
    lines = {path: _function_lines(module) for path, module in modules.items()}
    seen: set[tuple[Key, Key]] = set()
    for caller, callee in observed.calls:
        source = lines.get(caller.path, {}).get(caller.line)
        target = lines.get(callee.path, {}).get(callee.line)
        if source is not None and target is not None and source != target:
            seen.add((source, target))
    ran = _ran(modules.values(), observed)
    known = {(edge.source, edge.target) for edge in found}
    judged = {edge._replace(doubt=_doubt(edge, seen, ran)) for edge in found}
    return judged | {Edge(*pair, EdgeKind.OBSERVED, Doubt.OBSERVED) for pair in seen - known}


def _doubt(edge: Edge, seen: Set[tuple[Key, Key]], ran: Set[Key]) -> Doubt:
    if not edge.doubt:
        return Doubt.NONE
    if (edge.source, edge.target) in seen:
        return Doubt.OBSERVED
    return Doubt.UNSEEN if edge.source in ran else edge.doubt


def _ran(modules: Iterable[Module], observed: Observations) -> set[Key]:
    """Return the functions whose bodies a watched test ran."""
    lines: dict[str, set[int]] = {}
    for test in observed.tests:
        for path, rows in test.lines.items():
            lines.setdefault(path, set()).update(rows)
    return {
        Key(module.path, symbol)
        for module in modules
        for symbol, nodes in module.functions.items()
        if any(not lines.get(module.path, set()).isdisjoint(body_lines(node)) for node in nodes)
    }


def _function_lines(module: Module) -> dict[int, Key]:
    """Return the function each line (from 1) belongs to; functions inside functions are part of the outer one."""
    found: dict[int, Key] = {}
    for symbol, nodes in module.functions.items():
        for node in nodes:
            found.update(dict.fromkeys(range(first_line(node) + 1, last_line(node) + 2), Key(module.path, symbol)))
    return found
