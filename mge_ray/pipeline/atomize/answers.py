"""A unit's original code as an answer: cut out, shifted to column 1, and put back by `workspace.place`.

Nothing is trusted to survive that: a unit whose code does not come back as the same syntax is not made an atom.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Sequence

from mge_ray.pipeline.atomize.definitions import Function, Module, Statement
from mge_ray.pipeline.atomize.units import Unit
from mge_ray.pipeline.code_layout import (
    Definition,
    PlacementError,
    first_line,
    is_docstring,
    is_future,
    last_line,
    parse_quietly,
    read_layout,
    split_lines,
    string_lines,
)
from mge_ray.pipeline.workspace import Piece, place, place_all

_BUILTIN = frozenset(dir(builtins))


def answer_of(module: Module, unit: Unit) -> str | None:
    """Return the unit's code as an answer, or None where several definitions cannot become one."""
    lines = split_lines(module.text.removeprefix("\ufeff"))
    pieces = ["".join(lines[first_line(node) : last_line(node) + 1]) for node in unit.nodes]
    nested = "." in unit.key.symbol
    shifted = [_shifted(piece) if nested else piece for piece in pieces]
    blank = "\n" if nested else "\n\n"
    code = blank.join(one if one.endswith("\n") else one + "\n" for one in shifted)
    return code if len(unit.nodes) == 1 or _comes_back(module, unit, code) else None


def altered(module: Module, stubbed: str, pieces: Sequence[Piece]) -> set[str]:
    """Return the symbols whose code does not come back when all pieces are placed into the module's stubs."""
    rebuilt = stubbed
    try:
        rebuilt = place_all(stubbed, pieces)
        after = _by_symbol(parse_quietly(rebuilt.removeprefix("\ufeff"))[0])
    except (PlacementError, SyntaxError, ValueError, RecursionError, MemoryError):
        after = {}
    before = module.syntax or _by_symbol(module.tree)
    module.syntax = before
    return {piece.symbol for piece in pieces if before.get(piece.symbol) != after.get(piece.symbol)}


def defines_of(unit: Unit) -> tuple[str, ...]:
    """Return the symbols a merged unit defines besides its own."""
    if any(isinstance(node, ast.ClassDef) for node in unit.nodes):
        return ()
    return tuple(key.symbol for key in unit.members if key != unit.key)


def _shifted(piece: str) -> str:
    """Return a method's code at column 1; lines inside strings keep their place unless they are a docstring's."""
    lines = split_lines(piece)
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip(" \t"))]
    fixed = {row - 1 for row in string_lines("if 1:\n" + piece)} if indent else set()
    return "".join(line if row in fixed else _without(line, indent) for row, line in enumerate(lines, start=1))


def _without(line: str, indent: str) -> str:
    common = 0
    while common < min(len(line), len(indent)) and line[common] == indent[common]:
        common += 1
    return line[common:]


def _comes_back(module: Module, unit: Unit, code: str) -> bool:
    """Return whether placing the code over the original gives the original: the order of merged parts aside."""
    symbols = [unit.key.symbol, *defines_of(unit)]
    if not _moves_freely(module, unit, symbols):
        return False
    try:
        placed = place(module.text, unit.key.symbol, code, (), defines_of(unit))
        before, after = read_layout(module.text.removeprefix("\ufeff")), read_layout(placed.removeprefix("\ufeff"))
        tree = parse_quietly(placed.removeprefix("\ufeff"))[0]
    except (PlacementError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if before.spans.keys() != after.spans.keys():
        return False
    return _dumps(tree) == _original_dumps(module)


def _by_symbol(tree: ast.Module) -> dict[str, list[str]]:
    """Return the syntax of every definition, docstrings as `inspect.cleandoc` makes them."""
    found: dict[str, list[str]] = {}

    def walk(body: Sequence[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, Definition):
                found.setdefault(prefix + node.name, []).append(_plain(node))
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")

    walk(tree.body, "")
    return found


def _plain(node: ast.stmt) -> str:
    """Return the syntax with cleaned docstrings; changed for that moment, as copying takes ten times longer."""
    texts: list[tuple[ast.Constant, str]] = []
    for inner in ast.walk(node):
        if isinstance(inner, Definition) and isinstance(first := inner.body[0], ast.Expr) and is_docstring(first):
            constant = first.value
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                texts.append((constant, constant.value))
                constant.value = inspect.cleandoc(constant.value)
    try:
        return ast.dump(node)
    finally:
        for constant, text in texts:
            constant.value = text


def _dumps(tree: ast.Module) -> list[str]:
    """Return the module's statements one by one, those of classes too, in no order of their own."""
    found: list[str] = []
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.ClassDef):
            pending += node.body
        else:
            found.append(ast.dump(node))
    return sorted(found)


def _original_dumps(module: Module) -> list[str]:
    module.dumps = module.dumps or _dumps(module.tree)
    return module.dumps


def _moves_freely(module: Module, unit: Unit, symbols: Sequence[str]) -> bool:
    """Return whether the other parts may stand where the first one does, or before its class.

    They move past what stands between. That is safe where nothing of theirs needs it, and nothing of it them, when it
    is defined.
    """
    first, *others = unit.nodes
    start = min(map(first_line, unit.nodes))
    end = max(map(last_line, unit.nodes))
    inside = {id(inner) for node in unit.nodes for inner in ast.walk(node)}
    passed = [one.node for one in _statements(module) if start <= one.first <= end and id(one.node) not in inside]
    if not passed:
        return True
    names = {name.rpartition(".")[2] for name in symbols}
    if len(names) != len(symbols) or any(not _is_free(node, module, start) for node in others):
        return False
    top = next(one for one in module.tree.body if first_line(one) <= first_line(first) <= last_line(one))
    down = {node.name for node in others if first_line(node) < first_line(top)}
    return not any(_needed_at_once(one) & down for one in passed if last_line(one) < first_line(top))


def _statements(module: Module) -> list[Statement]:
    if not module.statements:
        module.statements = [
            Statement(one, first_line(one), frozenset(_bound(one)))
            for one in ast.walk(module.tree)
            if isinstance(one, ast.stmt)
        ]
    return module.statements


def _is_free(node: Function | ast.ClassDef, module: Module, row: int) -> bool:
    """Return whether defining it needs only builtins and what is bound before a line (from 0) and not after it."""
    if isinstance(node, ast.ClassDef):
        return False
    arguments = node.args
    needed = [*node.decorator_list, *arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)]
    if not any(_postpones_annotations(one) for one in module.tree.body):
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        needed += [one.annotation for one in every if one is not None and one.annotation is not None]
        needed += [node.returns] if node.returns is not None else []
    used = {inner.id for one in needed for inner in ast.walk(one) if isinstance(inner, ast.Name)}
    before = {name for one in module.tree.body if last_line(one) < row for name in _bound(one)}
    later = {name for one in _statements(module) if one.first >= row for name in one.bound}
    return used <= (_BUILTIN | before) - later


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds, those inside functions and classes left out."""
    found: set[str] = set()
    pending: list[ast.AST] = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, Definition):
            found.add(one.name)
            continue
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            found.add(one.id)
        if isinstance(one, ast.alias):
            found.add((one.asname or one.name).partition(".")[0])
        pending.extend(ast.iter_child_nodes(one))
    return found


def _postpones_annotations(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and is_future(node) and any(one.name == "annotations" for one in node.names)


def _needed_at_once(node: ast.stmt) -> set[str]:
    """Return the names that are looked up when the statement runs, bodies of functions left out."""
    found: set[str] = set()
    pending: list[ast.AST] = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, ast.Name):
            found.add(one.id)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += [*one.decorator_list, one.args]
        else:
            pending.extend(ast.iter_child_nodes(one))
    return found
