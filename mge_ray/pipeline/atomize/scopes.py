"""Names and what they are bound to: values, scopes, and the bindings that a module's imports make."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mge_ray.pipeline.atomize.definitions import ClassInfo, Key, Module


class Value(NamedTuple):
    """One thing an expression may be. `own` marks `self` and `cls`, which may as well be of a subclass."""

    kind: Literal["module", "class", "instance", "function", "variable"]
    key: Key
    own: bool = False
    imported: bool = False


Values = frozenset[Value]
UNKNOWN: Values = frozenset()


@dataclass(slots=True)
class Scope:
    """Local names with what they may be; a name that is local and unknown hides the module's."""

    module: Module
    owner: ClassInfo | None = None
    names: dict[str, Values] = field(default_factory=dict)

    def inner(self) -> Scope:
        """Return a scope inside this one."""
        return Scope(self.module, self.owner, dict(self.names))


@dataclass(slots=True)
class Bindings:
    """What a module's imports bind: name -> (module, name in it, "" for the module itself), and star imports."""

    names: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)

    def read(self, module: Module, node: ast.Import | ast.ImportFrom) -> None:
        """Take in one statement."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                target = alias.name if alias.asname else alias.name.partition(".")[0]
                self.names.setdefault(alias.asname or target, []).append((target, ""))
            return
        origin = node.module or ""
        if node.level:
            parts = module.package.split(".")
            base = parts[: len(parts) - node.level + 1]
            origin = ".".join([*base, *([origin] if origin else [])])
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(origin)
            else:
                self.names.setdefault(alias.asname or alias.name, []).append((origin, alias.name))


def imports_of(module: Module) -> Bindings:
    """Return what imports outside functions and classes bind, conditional ones included."""
    bindings = Bindings()
    pending: list[ast.AST] = list(module.tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            bindings.read(module, node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            pending.extend(ast.iter_child_nodes(node))
    return bindings
