"""Skeleton modules read as syntax: what is to be written in them, what they import, and trivial versions of them.

A function or method whose body is a docstring and `raise NotImplementedError` is to be written; all else is finished.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mge_ray.pipeline.outline import parse

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Skeleton:
    """One module. `stubs` maps symbols (`f`, `Class.f`) to their functions; `names` is what the module binds."""

    tree: ast.Module
    stubs: dict[str, Function] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def methods_of(self, owner: str) -> list[str]:
        """Return the stubs of one class."""
        return [symbol for symbol in self.stubs if symbol.startswith(f"{owner}.")]


def read_module(text: str) -> Skeleton | None:
    """Return what `text` holds, or None where it is no Python."""
    tree = parse(text)
    if tree is None:
        return None
    stubs: dict[str, Function] = {}
    names: set[str] = set()
    for node in tree.body:
        names.update(_bound(node))
        if isinstance(node, Function) and is_stub(node):
            stubs[node.name] = node
        elif isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, Function) and is_stub(inner))
            stubs.update({f"{node.name}.{method.name}": method for method in methods})
    return Skeleton(tree, stubs, frozenset(names))


def is_stub(node: Function) -> bool:
    """Return whether the function only raises NotImplementedError, after a docstring or without one."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if len(body) != 1 or not isinstance(body[0], ast.Raise) or body[0].exc is None:
        return False
    raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def signature_of(node: Function) -> str:
    """Return the function's decorators and `def` line, without the colon."""
    head = ast.unparse(
        type(node)(
            name=node.name,
            args=node.args,
            body=[ast.Expr(ast.Constant(...))],
            decorator_list=node.decorator_list,
            returns=node.returns,
            lineno=0,
            col_offset=0,
        )
    )
    return head.strip().removesuffix("...").rstrip().removesuffix(":")


def package_imports(tree: ast.Module, package: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield (line, module of the package, name or "", bound as) for each import from the package, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level == 0 and base[:1] == [package]:
                base = base[1:]
            elif node.level != 1:
                continue
            for alias in node.names:
                bound = alias.asname or alias.name
                yield (node.lineno, base[0], alias.name, bound) if base else (node.lineno, alias.name, "", bound)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == package and len(parts) > 1:
                    yield node.lineno, parts[1], "", alias.asname or parts[0]


def unannotated(node: Function) -> list[str]:
    """Return the parameters without annotation, and "the result" where it has none."""
    args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    missing = [one.arg for one in args if one and one.annotation is None and one.arg not in {"self", "cls"}]
    return missing + (["the result"] if node.returns is None else [])


def with_bodies(text: str, symbols: Sequence[str], body: str) -> str:
    """Return the module with each of `symbols` answering with `body`, an expression; `__init__` answers nothing.

    `first` in the place of an expression stands for the function's first argument that is not the object itself.
    """
    skeleton = read_module(text)
    if skeleton is None:
        return text
    for symbol in symbols:
        node = skeleton.stubs.get(symbol)
        if node is not None:
            node.body = [ast.Return(_expression(node, body))]
    return ast.unparse(ast.fix_missing_locations(skeleton.tree)) + "\n"


def _expression(node: Function, body: str) -> ast.expr:
    if node.name == "__init__":
        return ast.Constant(None)
    if body != "first":
        return ast.parse(body, mode="eval").body
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args) if one.arg not in {"self", "cls"}]
    return ast.Name(names[0], ast.Load()) if names else ast.Constant(None)


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
