"""What a package defines: modules, functions, classes, methods and module variables, each with its syntax.

A node is the smallest thing that an edge can lead to. Which nodes become atoms is decided in `units`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mge_ray.pipeline.atomize.project_tree import AtomizeError, ProjectTree
from mge_ray.pipeline.code_layout import Definition, parse_quietly

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Key(NamedTuple):
    """A node's place: file and dotted symbol; the symbol of a module itself is empty."""

    path: str
    symbol: str


@dataclass(slots=True)
class ClassInfo:
    """A class of the package. `bases` are filled in when names have been resolved."""

    key: Key
    node: ast.ClassDef
    members: dict[str, Key] = field(default_factory=dict)
    bases: list[ClassInfo] = field(default_factory=list)
    subclasses: list[ClassInfo] = field(default_factory=list)

    def mro(self) -> Iterator[ClassInfo]:
        """Yield the class and its bases inside the package, each once: near enough to Python's order."""
        seen: set[Key] = set()
        pending = [self]
        while pending:
            one = pending.pop(0)
            if one.key not in seen:
                seen.add(one.key)
                yield one
                pending[:0] = one.bases

    def below(self) -> Iterator[ClassInfo]:
        """Yield every subclass inside the package."""
        seen: set[Key] = {self.key}
        pending = list(self.subclasses)
        while pending:
            one = pending.pop()
            if one.key not in seen:
                seen.add(one.key)
                yield one
                pending += one.subclasses

    def find(self, name: str) -> Key | None:
        """Return the member of this name, own or inherited."""
        return next((one.members[name] for one in self.mro() if name in one.members), None)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement at any depth, its first line (from 0), and the names it binds itself."""

    node: ast.stmt
    first: int
    bound: frozenset[str]


@dataclass(slots=True)
class Module:
    """One parsed module: its nodes by symbol, every definition of each in order.

    The last three are filled in by `answers`, which needs them again and again.
    """

    path: str
    name: str
    text: str
    tree: ast.Module
    functions: dict[str, list[Function]] = field(default_factory=dict)
    classes: dict[str, ClassInfo] = field(default_factory=dict)
    variables: dict[str, list[ast.stmt]] = field(default_factory=dict)
    conditional: set[str] = field(default_factory=set)
    statements: list[Statement] = field(default_factory=list)
    dumps: list[str] = field(default_factory=list)
    syntax: dict[str, list[str]] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Package:
    """All modules by dotted name."""

    modules: Mapping[str, Module]

    def by_path(self) -> dict[str, Module]:
        """Return the modules by file."""
        return {module.path: module for module in self.modules.values()}


def module_name(path: str) -> str:
    """Return the name a file of the project is imported under."""
    parts = path.removeprefix("src/").removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def read_package(tree: ProjectTree) -> Package:
    """Parse every module; raises AtomizeError naming the file and line that is no Python."""
    modules: dict[str, Module] = {}
    for path in tree.modules:
        text = tree.files[path]
        try:
            parsed, _ = parse_quietly(text.removeprefix("\ufeff"))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            where = f"{path}:{line}" if line else path
            raise AtomizeError(f"{where}: is not valid Python: {error}; mend or remove the file") from None
        module = Module(path, module_name(path), text, parsed)
        _read_body(module, parsed.body, "", None, conditional=False)
        modules[module.name] = module
    return Package(modules)


def _read_body(
    module: Module, body: list[ast.stmt], prefix: str, owner: ClassInfo | None, *, conditional: bool
) -> None:
    for node in body:
        for name in _names(node):
            symbol = prefix + name
            if conditional:
                module.conditional.add(symbol)
            if owner is not None:
                owner.members[name] = Key(module.path, symbol)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                module.functions.setdefault(symbol, []).append(node)
            elif isinstance(node, ast.ClassDef):
                if symbol in module.classes:
                    module.conditional.add(symbol)
                    module.conditional.update(_below(module, symbol))
                info = ClassInfo(Key(module.path, symbol), node)
                module.classes[symbol] = info
                _read_body(module, node.body, symbol + ".", info, conditional=symbol in module.conditional)
            else:
                module.variables.setdefault(symbol, []).append(node)
        for inner in _inner_bodies(node):
            _read_body(module, inner, prefix, owner, conditional=True)


def _below(module: Module, symbol: str) -> list[str]:
    return [name for name in [*module.functions, *module.classes] if name.startswith(symbol + ".")]


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, Definition):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    stored = (inner for target in targets for inner in ast.walk(target))
    return [inner.id for inner in stored if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)]


def _inner_bodies(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
        yield node.body
        if not isinstance(node, ast.With):
            yield node.orelse
        if isinstance(node, ast.Try):
            yield from (handler.body for handler in node.handlers)
            yield node.finalbody
