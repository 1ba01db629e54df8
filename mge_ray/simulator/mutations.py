"""Small wrong versions of a piece of code.

`mutants` makes the classical ones, each a single edit of the source text, so comments and layout stay; their share
that a test suite notices is its mutation score. `destructive` makes versions that no test calling the code survives.
Signatures, docstrings, decorators and annotations are never touched. Where edits go is decided in `mutation_sites`.
"""

import ast
from dataclasses import dataclass

from mge_ray.simulator.mutation_sites import Edit, edits, is_docstring

_GUARDS = ("RuntimeError", "AssertionError", "BufferError")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A version of some code that compiles and means something else; `line` counts from 1."""

    code: str
    description: str
    line: int


def compiles(code: str) -> bool:
    """Whether Python accepts the text."""
    return _parsed(code) is not None


def mutants(code: str) -> list[Mutant]:
    """Make all single edits of `code` in the order of the source, without duplicates; none if it does not compile.

    Comparisons, arithmetic, boolean logic, constants, returns, arguments and statements are changed. Code that cannot
    matter to a test by construction (type checking blocks, logging, messages of errors) is left alone. A mutant may
    loop for ever: run its tests under a time limit.
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    tree = _parsed(code)
    if tree is None:
        return []
    source = _Source(code)
    seen = {code}
    found: list[Mutant] = []
    for edit in sorted(edits(tree), key=lambda item: (item.node.lineno, item.node.col_offset)):
        changed = source.with_edit(edit)
        if changed not in seen and compiles(changed):
            seen.add(changed)
            found.append(Mutant(changed, edit.description, edit.node.lineno))
    return found


def destructive(code: str) -> list[Mutant]:
    """Versions in which every function with a body raises at once; none where there is no such function.

    The raise hides behind a condition that only a run can decide, so that style and type checks stay content and the
    tests are what notices.
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    tree = _parsed(code)
    if tree is None:
        return []
    bodies = [body for body in map(_working_body, _functions(tree)) if body]
    if not bodies:
        return []
    found = []
    for name in _GUARDS:
        changed = _with_guards(code, tree, bodies, name)
        if compiles(changed):
            found.append(Mutant(changed, f"every function raises {name}", bodies[0][0].lineno))
    return found


class _Source:
    """Text that is edited by the byte offsets `ast` reports."""

    def __init__(self, code: str) -> None:
        self._raw = code.encode()
        self._starts = [0]
        for line in self._raw.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def with_edit(self, edit: Edit) -> str:
        start = self._starts[edit.node.lineno - 1] + edit.node.col_offset
        end = self._starts[(edit.node.end_lineno or edit.node.lineno) - 1] + (edit.node.end_col_offset or 0)
        return (self._raw[:start] + edit.replacement.encode() + self._raw[end:]).decode()


def _parsed(code: str) -> ast.Module | None:
    try:
        tree = ast.parse(code)
        compile(tree, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return tree


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Find functions and methods, the nested ones left out: they only run when an outer one does."""
    found: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node)
        elif isinstance(node, ast.ClassDef | ast.If | ast.Try):
            waiting += node.body
    return found


def _working_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """Take the statements after the docstring; empty for a stub."""
    body = node.body[1:] if is_docstring(node.body[0]) else node.body
    if all(isinstance(item, ast.Pass) or (isinstance(item, ast.Expr) and _is_ellipsis(item.value)) for item in body):
        return []
    return body


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _with_guards(code: str, tree: ast.Module, bodies: list[list[ast.stmt]], exception: str) -> str:
    lines = code.split("\n")
    firsts = [_first_line(body[0]) for body in bodies]
    if any(lines[line - 1][: body[0].col_offset].strip() for line, body in zip(firsts, bodies, strict=True)):
        return _with_guards_unparsed(tree, exception)
    for line, body in sorted(zip(firsts, bodies, strict=True), key=lambda item: -item[0]):
        indent = lines[line - 1][: body[0].col_offset]
        lines[line - 1 : line - 1] = [f"{indent}if __name__:", f"{indent}    raise {exception}"]
    return "\n".join(lines)


def _first_line(node: ast.stmt) -> int:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.decorator_list:
        return node.decorator_list[0].lineno
    return node.lineno


def _with_guards_unparsed(tree: ast.Module, exception: str) -> str:
    """For bodies on the line of their `def`: the layout is lost, the behaviour is what counts."""
    copy = ast.parse(ast.unparse(tree))
    for node in _functions(copy):
        if _working_body(node):
            guard = ast.parse(f"if __name__:\n    raise {exception}").body
            node.body[1 if is_docstring(node.body[0]) else 0 : 0] = guard
    return ast.unparse(ast.fix_missing_locations(copy)) + "\n"
