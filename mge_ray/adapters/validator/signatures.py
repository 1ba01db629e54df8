"""Signatures compared by meaning: spacing, quotes and spellings (`Optional[int]`, `int | None`) do not count."""

from __future__ import annotations

import ast
import copy
from functools import lru_cache

from mge_ray.domain.atom import Signed, parse_signature
from mge_ray.pipeline.code_layout import Definition, parse_quietly, text_of

QUOTED_CHARS = 500  # of a quoted annotation; a longer one is compared as text

_BUILTIN = {name: name.lower() for name in ("List", "Dict", "Set", "FrozenSet", "Tuple", "Type")}
_TYPING = frozenset({"typing", "t", "typing_extensions"})


@lru_cache(maxsize=4096)
def read_signature(text: str) -> Signed | None:
    """Parse a `def`, `class` or assignment line, decorators and closing colon optional; None if it is none of them."""
    return parse_signature(text)


def mismatch(expected: Signed, found: ast.stmt) -> str | None:
    """Return both signatures as text if they differ in meaning, None if they agree."""
    if _key(expected, expected) == _key(found, expected):
        return None
    return f"expected `{show(expected)}`, found `{show(found)}`"


def show(node: ast.stmt) -> str:
    """Return the statement's head on one line."""
    if isinstance(node, Definition):
        head = copy.copy(node)
        head.body = [ast.Expr(ast.Constant(...))]
        lines = text_of(head).strip().splitlines()
        return "; ".join(line for line in lines[:-1] if line.strip()).removesuffix(":")
    return text_of(node)


def _key(node: ast.stmt, expected: Signed) -> object:
    """Return what must be equal; decorators count only where the expected signature has some."""
    decorators = [ast.dump(item) for item in getattr(node, "decorator_list", [])]
    if not getattr(expected, "decorator_list", []):
        decorators = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return (type(node).__name__, node.name, _arguments(node.args), _annotation(node.returns), decorators)
    if isinstance(node, ast.ClassDef):
        bases = [ast.dump(base) for base in [*node.bases, *(word.value for word in node.keywords)]]
        return ("ClassDef", node.name, bases, [word.arg for word in node.keywords], decorators)
    if isinstance(node, ast.AnnAssign):
        return ("AnnAssign", text_of(node.target), _annotation(node.annotation))
    if isinstance(node, ast.Assign):
        return ("Assign", [text_of(target) for target in node.targets])
    return type(node).__name__


def _arguments(arguments: ast.arguments) -> object:
    def many(found: list[ast.arg]) -> list[object]:
        return [(argument.arg, _annotation(argument.annotation)) for argument in found]

    def one(found: ast.arg | None) -> object:
        return None if found is None else (found.arg, _annotation(found.annotation))

    return (
        many(arguments.posonlyargs),
        many(arguments.args),
        one(arguments.vararg),
        many(arguments.kwonlyargs),
        one(arguments.kwarg),
        [ast.dump(default) for default in arguments.defaults],
        [None if default is None else ast.dump(default) for default in arguments.kw_defaults],
    )


def _annotation(node: ast.expr | None) -> str | None:
    return None if node is None else ast.dump(_Plain().visit(copy.deepcopy(node)))


class _Plain(ast.NodeTransformer):
    """Rewrites an annotation to its plainest spelling: no quotes, no `typing.`, unions with `|`."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str) or len(node.value) > QUOTED_CHARS:
            return node
        try:
            (only,) = parse_quietly(node.value.strip())[0].body
        except (SyntaxError, ValueError):
            return node
        return self.visit(only.value) if isinstance(only, ast.Expr) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in _TYPING:
            return ast.Name(_BUILTIN.get(node.attr, node.attr), ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(_BUILTIN.get(node.id, node.id), ast.Load())

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        holder = self.visit(node.value)
        name = holder.id if isinstance(holder, ast.Name) else ""
        if name == "Literal":  # its texts are values, not quoted types
            return ast.Subscript(holder, node.slice, ast.Load())
        inner = self.visit(node.slice)
        if name == "Optional":
            return ast.BinOp(inner, ast.BitOr(), ast.Constant(None))
        if name == "Union":
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            union = members[0]
            for member in members[1:]:
                union = ast.BinOp(union, ast.BitOr(), member)
            return union
        return ast.Subscript(holder, inner, ast.Load())
