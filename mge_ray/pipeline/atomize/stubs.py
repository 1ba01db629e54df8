"""The skeleton: bodies of units give way to `raise NotImplementedError`; every byte outside them stays.

libcst edits, because it keeps comments and formatting. Functions are told apart by their dotted name and by how many of
the same name came before.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable

import libcst as cst

from mge_ray.pipeline.atomize.definitions import Function, Module
from mge_ray.pipeline.atomize.project_tree import AtomizeError
from mge_ray.pipeline.atomize.units import is_trivial

STUB = "raise NotImplementedError"
Place = tuple[str, int]  # dotted name, how many of that name came before


def stub_module(module: Module, functions: Iterable[Function]) -> str:
    """Return the module's text with the bodies of these functions replaced; raises AtomizeError."""
    wanted = {id(one) for one in functions if not is_trivial(one)}
    if not wanted:
        return module.text
    places = {place for node, place in _places(module) if id(node) in wanted}
    try:
        tree = cst.parse_module(module.text.encode("utf-8"))
    except (cst.ParserSyntaxError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AtomizeError(f"{module.path}: cannot be edited: {first}; leave the file out or mend it") from None
    return tree.visit(_Stubber(places)).bytes.decode("utf-8")


def _places(module: Module) -> list[tuple[Function, Place]]:
    finder = _Finder()
    finder.visit(module.tree)
    return finder.found


class _Finder(ast.NodeVisitor):
    """Gives every function of a module its place, in the order libcst meets them."""

    def __init__(self) -> None:
        self.found: list[tuple[Function, Place]] = []
        self._path: list[str] = []
        self._seen: Counter[str] = Counter()

    def _definition(self, node: Function | ast.ClassDef) -> None:
        name = ".".join([*self._path, node.name])
        if not isinstance(node, ast.ClassDef):
            self.found.append((node, (name, self._seen[name])))
            self._seen[name] += 1
        self._path.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self._path.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition  # noqa: N815 - ast's names


class _Stubber(cst.CSTTransformer):
    """Replaces the bodies of functions at these places, their docstrings kept."""

    def __init__(self, places: set[Place]) -> None:
        super().__init__()
        self._places = places
        self._path: list[str] = []
        self._seen: Counter[str] = Counter()
        self._replaced: list[bool] = []

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._path.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        self._path.pop()
        return updated_node

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._path.append(node.name.value)
        name = ".".join(self._path)
        self._replaced.append((name, self._seen[name]) in self._places)
        self._seen[name] += 1

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self._path.pop()
        return updated_node.with_changes(body=_stubbed(original_node.body)) if self._replaced.pop() else updated_node


def _stubbed(body: cst.BaseSuite) -> cst.BaseSuite:
    refusal = cst.Raise(exc=cst.Name("NotImplementedError"))
    if isinstance(body, cst.SimpleStatementSuite):
        return body.with_changes(body=[refusal])
    if not isinstance(body, cst.IndentedBlock):
        return body
    first = body.body[0]
    line = cst.SimpleStatementLine(body=[refusal])
    if _is_docstring(first):
        return body.with_changes(body=[first, line], footer=())
    return body.with_changes(body=[line], footer=())


def _is_docstring(node: cst.BaseStatement) -> bool:
    if not isinstance(node, cst.SimpleStatementLine) or len(node.body) != 1 or not isinstance(node.body[0], cst.Expr):
        return False
    value = node.body[0].value
    return isinstance(value, cst.SimpleString | cst.ConcatenatedString) and isinstance(value.evaluated_value, str)
