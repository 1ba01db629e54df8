"""Where things stand in a module's text: the lines of each symbol, its imports, the places to insert at.

Owns reading (by `ast`) and re-indenting; `workspace` owns writing. Lines are counted from 0 here and split exactly as
Python's tokenizer splits them. Results are cached by text, because one skeleton serves every atom of its plan.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from mge_ray.domain.errors import PlanError

ImportKey = tuple[str, str, str, int]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_LINE_END = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")
WARNINGS_LOCK = threading.Lock()


class PlacementError(PlanError):
    """Code that cannot be put where the plan wants it."""


@dataclass(frozen=True, slots=True)
class ClassPlace:
    """Where a class takes new methods: its body's indentation, the line after it, and whether it is a one-liner."""

    indent: str
    end: int
    one_line_body: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ModuleLayout:
    """A parsed module. `spans` maps dotted symbols to half-open line ranges, in order, decorators included."""

    lines: tuple[str, ...]
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    classes: dict[str, ClassPlace] = field(default_factory=dict)
    imports: frozenset[ImportKey] = frozenset()
    future_at: int = 0
    imports_at: int = 0
    tail_at: int = 0
    crowded: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class CodeParts:
    """An answer taken apart: import statements, what belongs at the symbol, what belongs at module level beside it.

    Each line carries its number (from 1) in the answer.
    """

    imports: tuple[tuple[int, ast.Import | ast.ImportFrom], ...]
    main: tuple[tuple[int, str], ...]
    beside: tuple[tuple[int, str], ...]
    names: frozenset[str]


def split_lines(text: str) -> list[str]:
    """Split at the line ends Python sees (LF, CR LF, CR), keeping them."""
    if "\r" not in text:
        lines = text.split("\n")
        return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    return [line for line in _LINE_END.split(text) if line]


def parse_quietly(text: str) -> tuple[ast.Module, list[str]]:
    """Parse `text` and return the tree with the syntax warnings; raises what `ast.parse` raises."""
    with WARNINGS_LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = ast.parse(text)
    return tree, [str(warning.message) for warning in caught]


def text_of(node: ast.AST) -> str:
    """Return the node as code; f-strings that Python cannot write back become `...`."""
    try:
        return ast.unparse(node)
    except ValueError:
        return "..."


def import_keys(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[ImportKey, ast.alias]]:
    """Yield what each alias of an import statement binds: (module, name, bound as, level)."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield (alias.name, "", alias.asname or "", 0), alias
        else:
            yield (node.module or "", alias.name, alias.asname or alias.name, node.level), alias


def parse_imports(statements: Sequence[str]) -> list[ast.Import | ast.ImportFrom]:
    """Parse listed import statements; raise PlacementError for anything that is none."""
    return [node for statement in statements for node in _parse_import(statement)]


@lru_cache(maxsize=4096)
def _parse_import(statement: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    try:
        body = parse_quietly(statement.strip())[0].body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise PlacementError(f"{statement!r} is not an import statement") from None
    nodes = tuple(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    if not nodes or len(nodes) != len(body):
        raise PlacementError(f"{statement!r} is not an import statement")
    return nodes


@lru_cache(maxsize=512)
def read_layout(text: str) -> ModuleLayout:
    """Parse a module and say where its symbols are; raise PlacementError if it is not Python."""
    try:
        tree, _ = parse_quietly(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise PlacementError(f"not valid Python{f' at line {line}' if line else ''}: {error}") from None
    lines = tuple(split_lines(text))
    spans: dict[str, list[tuple[int, int]]] = {}
    classes: dict[str, ClassPlace] = {}
    _read_scope(tree.body, "", lines, spans, classes)
    future_at, imports_at = _import_places(tree.body, lines)
    return ModuleLayout(
        lines=lines,
        spans=spans,
        classes=classes,
        imports=frozenset(key for node in _imports(tree.body) for key, _ in import_keys(node)),
        future_at=future_at,
        imports_at=imports_at,
        tail_at=_tail(tree.body, lines),
        crowded=_crowded(tree),
    )


def first_line(node: ast.stmt) -> int:
    """Return the line (from 0) a statement begins on, its decorators included."""
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def last_line(node: ast.stmt) -> int:
    """Return the line (from 0) a statement ends on."""
    return (node.end_lineno or node.lineno) - 1


def bound_name(node: ast.stmt) -> str | None:
    """Return the one name a definition or plain assignment binds."""
    if isinstance(node, Definition):
        return node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return None


def _read_scope(
    body: list[ast.stmt],
    prefix: str,
    lines: Sequence[str],
    spans: dict[str, list[tuple[int, int]]],
    classes: dict[str, ClassPlace],
) -> None:
    defined = {node.name for node in body if isinstance(node, Definition)}
    for node in body:
        name = bound_name(node)
        if name is None or (name in defined and not isinstance(node, Definition)):
            continue
        spans.setdefault(prefix + name, []).append((first_line(node), last_line(node) + 1))
        if isinstance(node, ast.ClassDef):
            classes[prefix + name] = _class_place(node, lines)
            _read_scope(node.body, f"{prefix}{name}.", lines, spans, classes)


def _class_place(node: ast.ClassDef, lines: Sequence[str]) -> ClassPlace:
    first = node.body[0]
    start = first_line(first)
    line = lines[start]
    end = last_line(node) + 1
    margin = line[: len(line) - len(line.lstrip())]
    column = len(line.encode()[: first.col_offset].decode(errors="ignore"))
    if isinstance(first, Definition) or not line[:column].strip():
        return ClassPlace(indent=margin, end=end)
    header = lines[node.lineno - 1]
    outer = header[: len(header) - len(header.lstrip())]
    return ClassPlace(indent=outer + "    ", end=end, one_line_body=(start, column))


def _imports(body: Sequence[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield module-level imports, those tried in a `try` included: repeating them would undo the fall-back."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try):
            yield from _imports(node.body)


def is_docstring(node: ast.stmt) -> bool:
    """Return whether the statement is nothing but a text."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_future(node: ast.stmt) -> bool:
    """Return whether the statement is a `from __future__` import."""
    return isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.level == 0


def _import_places(body: Sequence[ast.stmt], lines: Sequence[str]) -> tuple[int, int]:
    rest = list(body)
    future_at = None
    if rest and is_docstring(rest[0]):
        future_at = last_line(rest.pop(0)) + 1
    imports_at = future_at
    while rest and is_future(rest[0]):
        imports_at = last_line(rest.pop(0)) + 1
        future_at = imports_at
    if imports_at is None:
        imports_at = first_line(rest[0]) if rest else len(lines)
    return (imports_at if future_at is None else future_at), imports_at


def _tail(body: Sequence[ast.stmt], lines: Sequence[str]) -> int:
    """Return the line before which new symbols go: a closing `if __name__ == ...` block stays last."""
    if body and isinstance(body[-1], ast.If) and "__name__" in text_of(body[-1].test):
        return first_line(body[-1])
    return len(lines)


def _crowded(tree: ast.Module) -> frozenset[int]:
    """Return the lines on which one statement ends and its sibling begins."""
    shared = set()
    for body in [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        for before, after in itertools.pairwise(body):
            if last_line(before) == first_line(after):
                shared.add(last_line(before))
    return frozenset(shared)


@lru_cache(maxsize=4096)
def split_code(code: str, symbol: str, defines: tuple[str, ...] = ()) -> CodeParts:
    """Take an answer apart; raise PlacementError if it is not Python. Loose texts at module level are dropped.

    Of a method's answer, the method and the `defines` of the same class belong at the symbol, the rest beside it.
    """
    try:
        tree, _ = parse_quietly(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PlacementError(f"the code for {symbol!r} is not valid Python: {error}") from None
    lines = split_lines(code)
    owner, _, leaf = symbol.rpartition(".")
    members = {leaf, *(name.rpartition(".")[2] for name in defines if owner and name.rpartition(".")[0] == owner)}
    imports: list[tuple[int, ast.Import | ast.ImportFrom]] = []
    main: list[tuple[int, str]] = []
    beside: list[tuple[int, str]] = []
    for start, end, nodes in _regions(tree.body, len(lines)):
        numbered = [(number + 1, lines[number]) for number in range(start, end)]
        found = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        imports.extend((node.lineno, node) for node in found)
        if len(found) == len(nodes) or all(is_docstring(node) for node in nodes):
            continue
        if len(found) != 0:
            raise PlacementError(f"line {nodes[0].lineno}: an import shares its line with other code")
        inside = not owner or any(bound_name(node) in members for node in nodes)
        (main if inside else beside).extend(numbered)
    names = frozenset(name for name in map(bound_name, tree.body) if name)
    return CodeParts(tuple(imports), _trimmed(main), _trimmed(beside), names)


def _regions(body: Sequence[ast.stmt], total: int) -> list[tuple[int, int, list[ast.stmt]]]:
    """Cut the lines between statements: comments go with what follows them, the last ones with what precedes."""
    regions: list[tuple[int, int, list[ast.stmt]]] = []
    for node in body:
        start = regions[-1][1] if regions else 0
        end = last_line(node) + 1
        if regions and first_line(node) < start:
            before = regions.pop()
            regions.append((before[0], max(end, start), [*before[2], node]))
        else:
            regions.append((start, end, [node]))
    if regions:
        start, _, nodes = regions.pop()
        regions.append((start, total, nodes))
    return regions


def _trimmed(lines: list[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    while lines and not lines[0][1].strip():
        lines = lines[1:]
    while lines and not lines[-1][1].strip():
        lines = lines[:-1]
    return tuple(lines)


@lru_cache(maxsize=4096)
def string_lines(code: str) -> frozenset[int]:
    """Return the line numbers (from 1) that begin inside a string whose content an indentation would change.

    Docstrings are left out where shifting them as a block leaves their cleaned text the same.
    """
    tree, _ = parse_quietly(code)
    lines = split_lines(code)
    free = {id(node.value) for node in _docstrings(tree) if _can_shift(node, lines)}
    fixed: set[int] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        text = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        if text or type(node).__name__ in {"JoinedStr", "TemplateStr"}:
            if id(node) not in free:
                fixed.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
        else:
            pending.extend(ast.iter_child_nodes(node))
    return frozenset(fixed)


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, Definition) and isinstance(node.body[0], ast.Expr) and is_docstring(node.body[0]):
            yield node.body[0]


def _can_shift(node: ast.Expr, lines: Sequence[str]) -> bool:
    """Return whether indenting the docstring's lines leaves what `inspect.cleandoc` makes of it the same."""
    value = node.value.value if isinstance(node.value, ast.Constant) else None
    source = "".join(lines[node.lineno - 1 : node.end_lineno])
    breaks = (node.end_lineno or node.lineno) - node.lineno
    if not isinstance(value, str) or value.count("\n") != breaks or {"\t", "\\"} & set(source):
        return False
    first, *rest = value.split("\n")
    shifted = [f"    {line}" if line.strip() or number == breaks else line for number, line in enumerate(rest, start=1)]
    return inspect.cleandoc("\n".join([first, *shifted])) == inspect.cleandoc(value)
