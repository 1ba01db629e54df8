"""Finding edges: which node of the package rests on which.

Found by reading the code alone. Where a receiver's type is not evident, a method of that name counts as used, with less
certainty: a missing edge costs a failed check, a superfluous one only some width.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from mge_ray.pipeline.atomize.definitions import ClassInfo, Function, Key, Module, Package
from mge_ray.pipeline.atomize.edges import BINARY, BY_CALL, COMPARED, ITERATING, Doubt, Edge, EdgeKind
from mge_ray.pipeline.atomize.scopes import Scope, Value, Values
from mge_ray.pipeline.atomize.values import Resolver

MOST_NAMESAKES = 4  # classes that have a method of an attribute's name; of more, none is meant in particular
CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__init_subclass__", "__set_name__")
_COMMON = frozenset(name for kind in (list, dict, set, str, bytes, tuple, int) for name in dir(kind))


def find_edges(package: Package) -> set[Edge]:
    """Return every edge between nodes of the package."""
    resolver = Resolver(package)
    members = _members(package)
    found: set[Edge] = set()
    for module in package.modules.values():
        for symbol, functions in module.functions.items():
            owner = module.classes.get(symbol.rpartition(".")[0])
            for function in functions:
                reader = _Reader(resolver, members, Key(module.path, symbol), found, Scope(module, owner))
                reader.read_function(Scope(module, owner), function, owner)
        for info in module.classes.values():
            _read_class(_Reader(resolver, members, info.key, found, Scope(module)), module, info)
        for symbol, statements in module.variables.items():
            owner = module.classes.get(symbol.rpartition(".")[0])
            reader = _Reader(resolver, members, Key(module.path, symbol), found, Scope(module, owner))
            reader.read(Scope(module, owner, _class_names(owner)), statements)
    return {edge for edge in found if edge.source != edge.target}


def _members(package: Package) -> dict[str, list[Key]]:
    found: dict[str, list[Key]] = {}
    for module in package.modules.values():
        for info in module.classes.values():
            for name, key in info.members.items():
                if key.symbol in module.functions:
                    found.setdefault(name, []).append(key)
    return found


def _class_names(owner: ClassInfo | None) -> dict[str, Values]:
    """Return the names that a class's body can use without `self`."""
    if owner is None:
        return {}
    return {name: frozenset({Value("function", key)}) for name, key in owner.members.items()}


def _read_class(reader: _Reader, module: Module, info: ClassInfo) -> None:
    scope = Scope(module, info, _class_names(info))
    outer = Scope(module)
    with_kind = [(base, EdgeKind.BASE) for base in [*info.node.bases, *(word.value for word in info.node.keywords)]]
    with_kind += [(decorator, EdgeKind.DECORATOR) for decorator in info.node.decorator_list]
    for node, kind in with_kind:
        reader.read(outer, [node], kind)
    statements = [
        one for one in info.node.body if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    reader.read(scope, statements)
    for name in CONSTRUCTORS:
        target = info.find(name)
        if target is not None:
            reader.add(target, EdgeKind.CALL)
    for base in info.mro():
        for word in base.node.keywords:
            if word.arg == "metaclass":
                for value in reader.resolver.evaluate(Scope(module), word.value):
                    reader.members_of([value], ("__call__", "__new__", "__init__"), Doubt.NONE)


class _Reader(ast.NodeVisitor):
    """Reads the code of one node and notes where its names and attributes lead."""

    def __init__(
        self, resolver: Resolver, members: dict[str, list[Key]], source: Key, found: set[Edge], scope: Scope
    ) -> None:
        self.resolver = resolver
        self._namesakes = members
        self._source = source
        self._found = found
        self._scope = scope
        self._kind: EdgeKind | None = None
        self._called: set[int] = set()
        self._spoken_of: set[Value] = set()
        self._protocols: set[str] = set()
        self._unknown: set[str] = set()

    def add(self, target: Key, kind: EdgeKind, doubt: Doubt = Doubt.NONE) -> None:
        """Note one edge."""
        self._found.add(Edge(self._source, target, self._kind or kind, doubt))

    def read_function(self, outer: Scope, node: Function, owner: ClassInfo | None) -> None:
        """Read a function: its decorators and defaults outside, its body inside."""
        self._outside(Scope(outer.module, owner, _class_names(owner)), node)
        self._scope = self.resolver.local_scope(outer, node, owner)
        for statement in node.body:
            self.visit(statement)
        self._finish()

    def read(self, scope: Scope, nodes: Iterable[ast.AST], kind: EdgeKind | None = None) -> None:
        """Read statements or expressions in a scope."""
        self._scope, self._kind = scope, kind
        for node in nodes:
            self.visit(node)
        self._kind = None
        self._finish()

    def _outside(self, scope: Scope, node: Function | ast.Lambda) -> None:
        before = self._scope, self._kind
        self._scope = scope
        parts = [(one, EdgeKind.DECORATOR) for one in getattr(node, "decorator_list", [])]
        parts += [(one, EdgeKind.DEFAULT) for one in [*node.args.defaults, *node.args.kw_defaults] if one is not None]
        for part, self._kind in parts:
            self.visit(part)
        self._scope, self._kind = before

    def _finish(self) -> None:
        """Follow what only makes sense once the whole code was read."""
        for value in self._spoken_of:
            self.members_of([value], self._protocols, Doubt.PROTOCOL)
            self.members_of([value], self._unknown, Doubt.PROTOCOL)
        for name in self._unknown - _COMMON:
            namesakes = self._namesakes.get(name, [])
            if len(namesakes) <= MOST_NAMESAKES:
                for key in namesakes:
                    self.add(key, EdgeKind.ATTRIBUTE, Doubt.NAMESAKE)
        self._spoken_of, self._protocols, self._unknown = set(), set(), set()

    # what names and attributes lead to

    def _lead(self, value: Value, kind: EdgeKind) -> None:
        if value.imported and kind in {EdgeKind.CALL, EdgeKind.NAME}:
            kind = EdgeKind.IMPORT
        if value.kind in {"class", "function", "variable"} and not (value.kind == "class" and value.own):
            self.add(value.key, kind)
        if value.kind in {"class", "instance"} and not value.own:
            self._spoken_of.add(value)
        if value.kind == "variable":
            self._spoken_of.update(one for one in self.resolver.held(value.key) if one.kind in {"class", "instance"})

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            kind = EdgeKind.CALL if id(node) in self._called else EdgeKind.NAME
            for value in self.resolver.name(self._scope, node.id):
                self._lead(value, kind)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        base = self.resolver.evaluate(self._scope, node.value)
        if not base:
            self._unknown.add(node.attr)
        for value in base:
            held = self.resolver.held(value.key) if value.kind == "variable" else [value]
            for one in held:
                self._attribute(one, node.attr)
            if not held:
                self._unknown.add(node.attr)

    def _attribute(self, value: Value, name: str) -> None:
        found = self.resolver.attribute(value, name)
        if value.kind == "module":
            for one in found:
                self._lead(one, EdgeKind.IMPORT)
        elif value.kind in {"class", "instance"}:
            self.members_of([value], (name,), Doubt.NONE)
            self._spoken_of.update(one for one in found if one.kind in {"class", "instance"} and not one.own)
            if self.resolver.class_at(value.key).find(name) is None:
                for one in found:
                    if one.kind == "function":  # kept in `self.name`, and called through it
                        self.add(one.key, EdgeKind.ATTRIBUTE, Doubt.OVERRIDE)

    def members_of(self, values: Iterable[Value], names: Iterable[str], doubt: Doubt) -> None:
        """Note edges to members of classes by name, and to what overrides them below."""
        wanted = tuple(names)
        for value in values:
            if value.kind not in {"class", "instance"}:
                continue
            info = self.resolver.class_at(value.key)
            for name in wanted:
                key = info.find(name)
                if key is not None:
                    self.add(key, EdgeKind.ATTRIBUTE, doubt)
                    self._descriptors(key, doubt)
                for below in info.below():
                    if name in below.members:
                        self.add(below.members[name], EdgeKind.ATTRIBUTE, max(doubt, Doubt.OVERRIDE))
            if value.own and not any(info.find(name) for name in wanted):
                self._beside(info, wanted)

    def _descriptors(self, key: Key, doubt: Doubt) -> None:
        held = [one for one in self.resolver.held(key) if one.kind == "instance"]
        for value in [*self.resolver.decorating_classes(key), *held]:
            info = self.resolver.class_at(value.key)
            for name in ("__get__", "__set__", "__call__"):
                target = info.find(name)
                if target is not None:
                    self.add(target, EdgeKind.DECORATOR, max(doubt, Doubt.OVERRIDE))

    def _beside(self, info: ClassInfo, names: Iterable[str]) -> None:
        """Note members that a mix-in's `self` has from classes it is mixed with."""
        for below in info.below():
            for name in names:
                key = below.find(name)
                if key is not None:
                    self.add(key, EdgeKind.ATTRIBUTE, Doubt.OVERRIDE)

    # operators and other syntax that calls methods

    def _operator(self, operand: ast.expr, *names: str) -> None:
        values = self.resolver.evaluate(self._scope, operand)
        evident = [value for value in values if value.kind == "instance"]
        evident += [
            one for v in values if v.kind == "variable" for one in self.resolver.held(v.key) if one.kind == "instance"
        ]
        self.members_of(evident, names, Doubt.NONE)
        if not evident:
            self._protocols.update(names)

    def visit_Call(self, node: ast.Call) -> None:
        self._called.add(id(node.func))
        if isinstance(node.func, ast.Name):
            if node.func.id in BY_CALL and node.args and node.func.id not in self._scope.names:
                self._operator(node.args[0], *BY_CALL[node.func.id])
            if node.func.id in ITERATING and node.func.id not in self._scope.names:
                for argument in node.args:
                    self._operator(argument, "__iter__", "__next__")
            if node.func.id in {"getattr", "hasattr", "setattr"} and len(node.args) > 1:
                self._by_text(node)
        for value in self.resolver.evaluate(self._scope, node.func):
            if value.kind == "class" and value.own:
                self.members_of([value], CONSTRUCTORS, Doubt.NONE)
        self._operator(node.func, "__call__")
        self.generic_visit(node)

    def _by_text(self, node: ast.Call) -> None:
        name = node.args[1]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            self.visit_Attribute(ast.Attribute(node.args[0], name.value, ast.Load()))

    def visit_Subscript(self, node: ast.Subscript) -> None:
        name = {ast.Load: "__getitem__", ast.Store: "__setitem__", ast.Del: "__delitem__"}[type(node.ctx)]
        extra = ("__missing__", "__class_getitem__") if name == "__getitem__" else ()
        self._operator(node.value, name, *extra)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        name = BINARY[type(node.op).__name__]
        self._operator(node.left, f"__{name}__")
        self._operator(node.right, f"__r{name}__")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        name = BINARY[type(node.op).__name__]
        self._operator(node.target, f"__i{name}__", f"__{name}__")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        names = {"USub": ("__neg__",), "UAdd": ("__pos__",), "Invert": ("__invert__",), "Not": ("__bool__", "__len__")}
        self._operator(node.operand, *names[type(node.op).__name__])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for index, operator in enumerate(node.ops):
            kind = type(operator).__name__
            if kind in {"In", "NotIn"}:
                self._operator(operands[index + 1], "__contains__", "__iter__")
                self._protocols.update(("__eq__", "__hash__"))
            elif kind in COMPARED:
                self._operator(operands[index], COMPARED[kind], "__eq__")
                self._operator(operands[index + 1], COMPARED[kind], "__lt__", "__gt__")
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._operator(node.iter, "__iter__", "__next__", "__aiter__", "__anext__")
        self.generic_visit(node)

    visit_AsyncFor = visit_For  # noqa: N815 - ast's name

    def visit_Starred(self, node: ast.Starred) -> None:
        self._operator(node.value, "__iter__", "__next__")
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._operator(node.value, "__iter__", "__next__")
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self._operator(node.value, "__await__")
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        self._operator(node.context_expr, "__enter__", "__exit__", "__aenter__", "__aexit__")
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._operator(node.value, "__format__", "__str__", "__repr__")
        self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if isinstance(node.test, ast.Name | ast.Attribute):
            self._operator(node.test, "__bool__", "__len__")
        self.generic_visit(node)

    visit_While = visit_IfExp = visit_If  # noqa: N815 - ast's names

    # scopes inside

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._outside(self._scope, node)
        before = self._scope
        self._scope = self.resolver.local_scope(before, node, None)
        for statement in node.body:
            self.visit(statement)
        self._scope = before

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._outside(self._scope, node)
        before = self._scope
        self._scope = self.resolver.local_scope(before, node, None)
        self.visit(node.body)
        self._scope = before

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        before = self._scope
        self._scope = before.inner()
        for name in _stored(node.generators):
            self._scope.names[name] = frozenset()
        for one in node.generators:
            self._operator(one.iter, "__iter__", "__next__", "__aiter__", "__anext__")
        self.generic_visit(node)
        self._scope = before

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # noqa: N815 - ast's names

    def visit_arguments(self, node: ast.arguments) -> None:
        """Leave out annotations; defaults were read outside."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)


def _stored(generators: Iterable[ast.comprehension]) -> Iterator[str]:
    for one in generators:
        for node in ast.walk(one.target):
            if isinstance(node, ast.Name):
                yield node.id
