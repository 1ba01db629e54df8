"""How much of a formatted module is taken: what atoms wrote, and never a changed meaning (docs/adr/0010).

Pure: `adapters/ruff_format` runs the formatter. A module whose skeleton is formatted already, or that has none, is
taken whole; of any other, only the lines of the atoms' symbols, so that nobody's file is changed where nobody asked.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection

from mge_ray.pipeline.code_layout import (
    Definition,
    ModuleLayout,
    PlacementError,
    is_docstring,
    parse_quietly,
    read_layout,
)


def take_formatted(assembled: str, formatted: str, symbols: Collection[str], *, whole: bool) -> str | None:
    """Return the module as it is to be written; None where formatting would change more than layout."""
    if assembled == formatted:
        return assembled
    try:
        tidy = formatted if whole else _spliced(assembled, formatted, symbols)
    except PlacementError:
        return None
    return tidy if same_code(assembled, tidy) else None


def same_code(one: str, other: str) -> bool:
    """Return whether two modules are the same syntax, docstrings apart from white space that readers of them drop."""
    try:
        return _dump(one) == _dump(other)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _dump(text: str) -> str:
    tree, _ = parse_quietly(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Definition) and node.body and is_docstring(node.body[0]):
            _plain(node.body[0])
        if isinstance(node, ast.Constant):
            node.kind = None  # u"" and "" are one text
    return ast.dump(tree)


def _plain(statement: ast.stmt) -> None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        lines = inspect.cleandoc(str(statement.value.value)).split("\n")
        statement.value.value = "\n".join(line.rstrip() for line in lines).strip()


def _spliced(assembled: str, formatted: str, symbols: Collection[str]) -> str:
    before, after = read_layout(assembled), read_layout(formatted)
    lines = list(before.lines)
    edits = [
        (old, new)
        for symbol in _outermost(symbols)
        for old, new in zip(_own(before, symbol), after.spans.get(symbol, ()), strict=False)
    ]
    for (start, end), (first, last) in sorted(edits, reverse=True):
        lines[start:end] = _ended_alike(list(after.lines[first:last]), before.lines[end - 1])
    return "".join(lines)


def _outermost(symbols: Collection[str]) -> list[str]:
    """Leave out methods of classes that are taken themselves."""
    known = set(symbols)
    return [one for one in known if not any(one.startswith(f"{other}.") for other in known)]


def _own(layout: ModuleLayout, symbol: str) -> list[tuple[int, int]]:
    """Return where the symbol stands, unless a line is shared with other code."""
    spans = layout.spans.get(symbol, [])
    shared = any(start in layout.crowded or end - 1 in layout.crowded for start, end in spans)
    return [] if shared else spans


def _ended_alike(lines: list[str], last: str) -> list[str]:
    """End the lines as the module did there: perhaps without a line break."""
    ending = last[len(last.rstrip("\r\n")) :]
    return [*lines[:-1], lines[-1].rstrip("\r\n") + ending]
