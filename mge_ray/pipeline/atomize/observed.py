"""What the suite's run says about edges.

It adds what reading the code cannot find, such as callbacks and operators on anything, and tells guesses that were seen
from those that were not though the caller ran.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from mge_ray.pipeline.atomize.definitions import Function, Key, Module, Package
from mge_ray.pipeline.atomize.edges import Doubt, Edge, EdgeKind
from mge_ray.pipeline.atomize.observations import Observations
from mge_ray.pipeline.atomize.units import body_lines
from mge_ray.pipeline.code_layout import first_line, is_docstring, last_line


def with_observed(package: Package, found: set[Edge], observed: Observations) -> set[Edge]:
    """Return the edges with those of observed calls.

    A guess is surer if it was seen. If not, it is less sure where tests ran a part of the source, and none where they
    ran every statement of it: a superfluous edge blocks an atom when what it leads to fails.
    """
    modules = package.by_path()
    lines = {path: _function_lines(module) for path, module in modules.items()}
    seen: set[tuple[Key, Key]] = set()
    for caller, callee in observed.calls:
        source = lines.get(caller.path, {}).get(caller.line)
        target = lines.get(callee.path, {}).get(callee.line)
        if source is not None and target is not None and source != target:
            seen.add((source, target))
    some, wholly = _ran(modules.values(), observed)
    known = {(edge.source, edge.target) for edge in found}
    judged = {
        edge._replace(doubt=_doubt(edge, seen, some))
        for edge in found
        if not edge.doubt or (edge.source, edge.target) in seen or edge.source not in wholly
    }
    return judged | {Edge(*pair, EdgeKind.OBSERVED, Doubt.OBSERVED) for pair in seen - known}


def _doubt(edge: Edge, seen: AbstractSet[tuple[Key, Key]], ran: AbstractSet[Key]) -> Doubt:
    if not edge.doubt:
        return Doubt.NONE
    if (edge.source, edge.target) in seen:
        return Doubt.OBSERVED
    return Doubt.UNSEEN if edge.source in ran else edge.doubt


def _ran(modules: Iterable[Module], observed: Observations) -> tuple[set[Key], set[Key]]:
    """Return the functions of which watched tests ran something, and those of which they ran every statement."""
    lines: dict[str, set[int]] = {}
    for test in observed.tests:
        for path, rows in test.lines.items():
            lines.setdefault(path, set()).update(rows)
    some: set[Key] = set()
    wholly: set[Key] = set()
    for module in modules:
        reached = lines.get(module.path, set())
        for symbol, nodes in module.functions.items():
            if any(not reached.isdisjoint(body_lines(node)) for node in nodes):
                some.add(Key(module.path, symbol))
            if all(_statements(node) <= reached for node in nodes):
                wholly.add(Key(module.path, symbol))
    return some, wholly


def _statements(node: Function) -> set[int]:
    """Return the first lines of the statements in a function that leave a trace when they run."""
    rest = [one for one in node.body if not is_docstring(one)]
    inner = [one for statement in rest for one in ast.walk(statement) if isinstance(one, ast.stmt)]
    silent = ast.Global | ast.Nonlocal | ast.Try | ast.Pass
    return {one.lineno for one in inner if not isinstance(one, silent) and not is_docstring(one)}


def _function_lines(module: Module) -> dict[int, Key]:
    """Return the function each line (from 1) belongs to; functions inside functions are part of the outer one."""
    found: dict[int, Key] = {}
    for symbol, nodes in module.functions.items():
        for node in nodes:
            found.update(dict.fromkeys(range(first_line(node) + 1, last_line(node) + 2), Key(module.path, symbol)))
    return found
