"""What a Python file looks like from outside: imports, constants, signatures and docstrings, without bodies.

Pure. Serves prompts, where the shape of the project matters and its bodies cost tokens.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePosixPath

MAX_PLAN_CHARS = 24_000
MAX_FILE_CHARS = 500_000
MAX_VALUE_CHARS = 160
MAX_DOC_CHARS = 300
MAX_GUARD_CHARS = 500
MAX_PATHS_NAMED = 20
_SMALLEST_USEFUL = 200
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def is_test_path(path: str) -> bool:
    """Return whether pytest, or a person, would take the file for a test or its support."""
    pure = PurePosixPath(path)
    in_folder = any(part in {"tests", "test"} for part in pure.parts[:-1])
    return in_folder or pure.name == "conftest.py" or pure.name.startswith("test_") or pure.stem.endswith("_test")


def parse(code: str) -> ast.Module | None:
    """Return the syntax tree, or None for what is no Python; what the code is warned about stays silent."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except _UNREADABLE:
        return None


@lru_cache(maxsize=4_096)
def outline(code: str) -> str | None:
    """Return `code` with every function body replaced by `...`, or None if it does not parse."""
    tree = parse(code)
    if tree is None:
        return None
    try:
        return ast.unparse(ast.Module(body=_heads(tree.body), type_ignores=[])).strip()
    except _UNREADABLE:
        return None


def plan_outline(files: Mapping[str, str], *, limit: int = MAX_PLAN_CHARS) -> str:
    """Return the outline of a skeleton: every .py file that is no test, by path, at most about `limit` characters.

    A file that no longer fits is named instead. Equal files give equal text.
    """
    parts: list[str] = []
    omitted: list[str] = []
    left = limit
    for path in sorted(files):
        if not path.endswith(".py") or is_test_path(path):
            continue
        if left < _SMALLEST_USEFUL or len(files[path]) > MAX_FILE_CHARS:
            omitted.append(path)
            continue
        head = outline(files[path])
        part = f"# file: {path}\n" + ("# (does not parse)" if head is None else head)
        if len(part) > left:
            omitted.append(path)
            continue
        parts.append(part.rstrip())
        left -= len(part)
    if omitted:
        more = f" and {len(omitted) - MAX_PATHS_NAMED} more" if len(omitted) > MAX_PATHS_NAMED else ""
        parts.append(f"# not shown for length: {', '.join(omitted[:MAX_PATHS_NAMED])}{more}")
    return "\n\n".join(parts)


def _heads(body: list[ast.stmt]) -> list[ast.stmt]:
    """Reduce statements in place to what is visible from outside."""
    kept: list[ast.stmt] = []
    for index, node in enumerate(body):
        if index == 0 and (doc := _docstring(node)) is not None:
            kept.append(doc)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            doc = _docstring(node.body[0])
            node.body = [*([doc] if doc else []), ast.Expr(ast.Constant(...))]
            kept.append(node)
        elif isinstance(node, ast.ClassDef):
            node.body = _heads(node.body) or [ast.Expr(ast.Constant(...))]
            kept.append(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            if node.value is not None and len(ast.unparse(node.value)) > MAX_VALUE_CHARS:
                node.value = ast.Constant(...)
            kept.append(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)) or _guards_imports(node):
            kept.append(node)
    return kept


def _docstring(node: ast.stmt) -> ast.Expr | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        first = node.value.value.strip().split("\n\n", 1)[0]
        return ast.Expr(ast.Constant(first[:MAX_DOC_CHARS]))
    return None


def _guards_imports(node: ast.stmt) -> bool:
    """Tell `if TYPE_CHECKING:` and `try: import` from other conditional code."""
    if not isinstance(node, (ast.If, ast.Try)):
        return False
    inner = [*node.body, *node.orelse]
    imports = all(isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass)) for statement in inner)
    return imports and len(ast.unparse(node)) <= MAX_GUARD_CHARS
