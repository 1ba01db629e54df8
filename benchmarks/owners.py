"""Which lines of a module belong to which of its definitions. Owns nothing else."""

from __future__ import annotations

import ast
from collections.abc import Mapping


def line_owners(text: str, owned: Mapping[str, str]) -> dict[int, str]:
    """Return line -> owner, for definitions by their dotted names; the innermost that is owned wins."""
    lines: dict[int, str] = {}

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                walk(child, prefix)
                continue
            name = prefix + child.name
            if name in owned:
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                lines.update(dict.fromkeys(range(first, (child.end_lineno or child.lineno) + 1), owned[name]))
            if isinstance(child, ast.ClassDef):
                walk(child, f"{name}.")

    walk(ast.parse(text), "")
    return lines
