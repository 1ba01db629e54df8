"""Which code becomes atoms, and which stays as it is and why.

Functions, small classes as a whole, methods of larger classes one each; several definitions of one name (overloads, a
property with its setter) are one unit. What runs while the package is imported cannot be a stub, so it is kept.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mge_ray.domain.atom import SYMBOL
from mge_ray.pipeline.atomize.definitions import ClassInfo, Function, Key, Module, Package
from mge_ray.pipeline.atomize.observations import Entry
from mge_ray.pipeline.code_layout import first_line, is_docstring, last_line, text_of

SMALL_CLASS_LINES = 15
LONGEST_SYMBOL = 100

NOTHING_TO_WRITE = "has no body to write"
AT_IMPORT = "runs while the package is imported"
CONDITIONAL = "is defined under a condition, or twice"
NO_NAME = "its name is no plain ASCII name"
HOOK = "answers for the module's missing names"
UNTESTED = "no test that could judge it runs it"
UNJUDGED = "is only tested together with what rests on it"
MAKES_NO_STUB = "cannot be cut out and put back unchanged"


@dataclass(frozen=True, slots=True)
class Unit:
    """Code that is generated as one: definitions of one symbol, or with `members` a whole class."""

    key: Key
    nodes: tuple[Function | ast.ClassDef, ...]
    members: tuple[Key, ...] = ()

    @property
    def functions(self) -> list[Function]:
        """Every function whose body is replaced."""
        return [function for node in self.nodes for function in functions_of(node)]


@dataclass(frozen=True, slots=True)
class Kept:
    """A symbol that stays in the skeleton with its code."""

    key: Key
    reason: str


def functions_of(node: Function | ast.ClassDef) -> list[Function]:
    """Return the function, or a class's methods, nested classes included."""
    if not isinstance(node, ast.ClassDef):
        return [node]
    inner = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return [function for one in inner for function in functions_of(one)]


def find_units(package: Package, entered: Iterable[Entry]) -> tuple[list[Unit], list[Kept]]:
    """Return the units in the order of the files, and what is kept."""
    entries: dict[str, set[tuple[int, str]]] = {}
    for entry in entered:
        entries.setdefault(entry.path, set()).add((entry.line, entry.name))
    units: list[Unit] = []
    kept: list[Kept] = []
    for module in sorted(package.modules.values(), key=lambda one: one.path):
        _Sorter(module, entries.get(module.path, set()), units, kept).sort()
    return units, kept


@dataclass(slots=True)
class _Sorter:
    module: Module
    entered: set[tuple[int, str]]
    units: list[Unit]
    kept: list[Kept]

    def sort(self) -> None:
        """Go through the module's top level in order."""
        module = self.module
        symbols = [symbol for symbol in [*module.functions, *module.classes] if "." not in symbol]
        for symbol in sorted(symbols, key=self._line):
            self._place(symbol)

    def _line(self, symbol: str) -> int:
        module = self.module
        return module.functions[symbol][0].lineno if symbol in module.functions else module.classes[symbol].node.lineno

    def _place(self, symbol: str) -> None:
        if symbol in self.module.classes:
            self._class(self.module.classes[symbol])
        else:
            self._function(symbol)

    def _class(self, info: ClassInfo) -> None:
        inside = functions_of(info.node)
        prefix = info.key.symbol + "."
        members = [symbol for symbol in self.module.functions if symbol.startswith(prefix)]
        if all(is_trivial(function) for function in inside):
            self._keep(info.key.symbol, NOTHING_TO_WRITE)
            return
        reasons = [self._reason(symbol) for symbol in members]
        whole = not any(reason and reason != NOTHING_TO_WRITE for reason in reasons) and not self._own(info)
        if whole and code_lines(info.node, self.module.text) <= SMALL_CLASS_LINES and "." not in info.key.symbol:
            keys = [Key(self.module.path, symbol) for symbol in members]
            self.units.append(Unit(info.key, (info.node,), (info.key, *keys)))
            return
        inner = [symbol for symbol in [*self.module.functions, *self.module.classes] if self._is_child(symbol, prefix)]
        for symbol in sorted(inner, key=self._line):
            self._place(symbol)

    @staticmethod
    def _is_child(symbol: str, prefix: str) -> bool:
        return symbol.startswith(prefix) and "." not in symbol[len(prefix) :]

    def _own(self, info: ClassInfo) -> str | None:
        symbol = info.key.symbol
        if symbol in self.module.conditional or symbol in self.module.functions:
            return CONDITIONAL
        return None if SYMBOL.fullmatch(symbol) and symbol.isascii() else NO_NAME

    def _function(self, symbol: str) -> None:
        reason = self._reason(symbol)
        if reason:
            self._keep(symbol, reason)
        else:
            self.units.append(Unit(Key(self.module.path, symbol), tuple(self.module.functions[symbol])))

    def _reason(self, symbol: str) -> str | None:
        """Return why a function cannot be an atom."""
        functions = self.module.functions[symbol]
        if all(is_trivial(function) for function in functions):
            return NOTHING_TO_WRITE
        if symbol in self.module.conditional:
            return CONDITIONAL
        if symbol in {"__getattr__", "__dir__"}:
            return HOOK
        if not SYMBOL.fullmatch(symbol) or not symbol.isascii() or len(symbol) > LONGEST_SYMBOL:
            return NO_NAME
        if any((first_line(one) + 1, one.name) in self.entered for one in functions):
            return AT_IMPORT
        return None

    def _keep(self, symbol: str, reason: str) -> None:
        self.kept.append(Kept(Key(self.module.path, symbol), reason))


def is_trivial(node: Function) -> bool:
    """Return whether there is nothing to write: a docstring, `pass`, `...`, or a bare NotImplementedError."""
    rest = node.body[1:] if is_docstring(node.body[0]) else node.body
    for one in rest:
        constant = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
        refusal = isinstance(one, ast.Raise) and one.exc is not None and text_of(one.exc).startswith("NotImplemented")
        if not (constant or refusal or isinstance(one, ast.Pass)):
            return False
    return True


def body_lines(node: Function) -> range:
    """Return the lines (from 1) of the body behind the docstring; a one-line function's only line."""
    rest = node.body[1:] if is_docstring(node.body[0]) and len(node.body) > 1 else node.body
    return range(first_line(rest[0]) + 1, last_line(node) + 2)


def code_lines(node: Function | ast.ClassDef, text: str) -> int:
    """Count lines that hold code: no docstrings, blank lines or comments."""
    counted = set(range(first_line(node), last_line(node) + 1))
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and is_docstring(inner.body[0]):
            counted -= set(range(first_line(inner.body[0]), last_line(inner.body[0]) + 1))
    lines = text.splitlines()
    return sum(1 for row in counted if row < len(lines) and lines[row].strip() and lines[row].lstrip()[0] != "#") or 1


def owners(units: Sequence[Unit]) -> Mapping[Key, int]:
    """Map each node to the index of the unit it belongs to."""
    return {key: index for index, unit in enumerate(units) for key in (unit.key, *unit.members)}
