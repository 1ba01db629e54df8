"""What a name or an expression evidently stands for inside the package: a module, a class, an instance, a function.

Owns looking up (through imports, stars, re-exports) and the little type inference that edges need. Nothing is
run; what is not evident is unknown, and `references` then goes by the attribute's name.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Literal

from mge_ray.pipeline.atomize.definitions import ClassInfo, Key, Module, Package
from mge_ray.pipeline.atomize.scopes import UNKNOWN, Bindings, Scope, Value, Values, imports_of

DEPTH = 8
_WRAPPERS = frozenset({"Optional", "Union", "Annotated", "Final", "ClassVar", "Type", "type"})


class Resolver:
    """Looks names up through modules, classes and evident types."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._paths = package.by_path()
        self._bindings = {name: imports_of(module) for name, module in package.modules.items()}
        self._returns: dict[Key, Values] = {}
        self._attributes: dict[tuple[Key, str], Values] = {}
        self._link_bases()

    def class_at(self, key: Key) -> ClassInfo:
        """Return the class a value of kind class or instance is of."""
        return self._paths[key.path].classes[key.symbol]

    def in_module(self, name: str, attribute: str, depth: int = DEPTH) -> Values:
        """Return what `attribute` of the package's module `name` stands for."""
        module = self._package.modules.get(name)
        if module is None or depth == 0:
            return UNKNOWN
        found: set[Value] = set()
        key = Key(module.path, attribute)
        if attribute in module.classes:
            found.add(Value("class", key))
        if attribute in module.functions:
            found.add(Value("function", key))
        if attribute in module.variables:
            found.add(Value("variable", key))
        bindings = self._bindings[name]
        for origin, original in bindings.names.get(attribute, ()):
            target = self.in_module(origin, original, depth - 1) if original else self._module(origin)
            found.update(value._replace(imported=True) for value in target)
        if not found:
            for origin in bindings.stars:
                found.update(value._replace(imported=True) for value in self.in_module(origin, attribute, depth - 1))
        return frozenset(found) or self._module(f"{name}.{attribute}")

    def name(self, scope: Scope, name: str) -> Values:
        """Return what a bare name stands for."""
        if name in scope.names:
            return scope.names[name]
        return self.in_module(scope.module.name, name)

    def evaluate(  # noqa: PLR0911 - one for each kind of expression
        self, scope: Scope, node: ast.expr | None, depth: int = DEPTH
    ) -> Values:
        """Return what the expression may be, nothing where it is not evident."""
        if node is None or depth == 0:
            return UNKNOWN
        if isinstance(node, ast.Name):
            return self.name(scope, node.id)
        if isinstance(node, ast.Attribute):
            base = self.evaluate(scope, node.value, depth - 1)
            return frozenset(found for value in sorted(base) for found in self.attribute(value, node.attr, depth - 1))
        if isinstance(node, ast.Call):
            return self._called(scope, node, depth)
        if isinstance(node, ast.IfExp):
            return self.evaluate(scope, node.body, depth - 1) | self.evaluate(scope, node.orelse, depth - 1)
        if isinstance(node, ast.BoolOp):
            return frozenset(found for one in node.values for found in self.evaluate(scope, one, depth - 1))
        if isinstance(node, ast.Await | ast.NamedExpr):
            return self.evaluate(scope, node.value, depth - 1)
        return UNKNOWN

    def attribute(self, value: Value, name: str, depth: int = DEPTH) -> Values:
        """Return what an attribute of the value may be, overrides in subclasses left aside."""
        if depth == 0:
            return UNKNOWN
        if value.kind == "module":
            return self.in_module(self._paths[value.key.path].name, name, depth)
        if value.kind in {"class", "instance"}:
            return self._member(value, name, depth)
        if value.kind == "variable":
            held = self.held(value.key, depth - 1)
            return frozenset(found for one in sorted(held) for found in self.attribute(one, name, depth - 1))
        return UNKNOWN

    def held(self, key: Key, depth: int = DEPTH) -> Values:
        """Return what a module's or class's variable evidently holds."""
        module = self._paths[key.path]
        owner = module.classes.get(key.symbol.rpartition(".")[0])
        scope = Scope(module, owner)
        found: set[Value] = set()
        for node in module.variables.get(key.symbol, ()):
            if isinstance(node, ast.AnnAssign):
                found |= self.annotated(scope, node.annotation)
            if isinstance(node, ast.Assign | ast.AnnAssign):
                found |= self.evaluate(scope, node.value, depth - 1)
        return frozenset(found)

    def annotated(self, scope: Scope, node: ast.expr | None) -> Values:
        """Return the instances an annotation speaks of."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                node = ast.parse(node.value, mode="eval").body
            except (SyntaxError, ValueError, RecursionError):
                return UNKNOWN
        if isinstance(node, ast.BinOp):
            return self.annotated(scope, node.left) | self.annotated(scope, node.right)
        if isinstance(node, ast.Subscript):
            holder = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if holder in _WRAPPERS:
                inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                found = frozenset(value for one in inner for value in self.annotated(scope, one))
                kind: Literal["class", "instance"] = "class" if holder in {"Type", "type"} else "instance"
                return frozenset(value._replace(kind=kind) for value in found)
            node = node.value
        if isinstance(node, ast.Name | ast.Attribute):
            found = self.evaluate(scope, node)
            return frozenset(value._replace(kind="instance") for value in found if value.kind == "class")
        return UNKNOWN

    def _module(self, name: str) -> Values:
        module = self._package.modules.get(name)
        return UNKNOWN if module is None else frozenset({Value("module", Key(module.path, ""))})

    def _called(self, scope: Scope, node: ast.Call, depth: int) -> Values:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            bases = scope.owner.bases if scope.owner else []
            return frozenset(Value("instance", base.key) for base in bases)
        found: set[Value] = set()
        if isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) == 1:
            return frozenset(
                value._replace(kind="class")
                for value in self.evaluate(scope, node.args[0], depth - 1)
                if value.kind == "instance"
            )
        for value in sorted(self.evaluate(scope, node.func, depth - 1)):
            if value.kind == "class":
                found.add(Value("instance", value.key, value.own))
            elif value.kind == "function":
                found |= self.returned(value.key, depth - 1)
            elif value.kind == "variable":
                held = self.held(value.key, depth - 1)
                found.update(Value("instance", one.key) for one in held if one.kind == "class")
                found.update(
                    r for one in sorted(held) if one.kind == "function" for r in self.returned(one.key, depth - 1)
                )
        if isinstance(node.func, ast.Attribute) and node.func.attr == "__new__":
            found |= self.evaluate(scope, node.args[0], depth - 1) if node.args else UNKNOWN
            found = {value._replace(kind="instance") if value.kind == "class" else value for value in found}
        return frozenset(found)

    def returned(self, key: Key, depth: int = DEPTH) -> Values:
        """Return what calling a function evidently gives."""
        if key in self._returns or depth <= 0:
            return self._returns.get(key, UNKNOWN)
        self._returns[key] = UNKNOWN  # recursion ends here
        module = self._paths[key.path]
        owner = module.classes.get(key.symbol.rpartition(".")[0])
        found: set[Value] = set()
        for node in module.functions.get(key.symbol, ()):
            scope = self.local_scope(Scope(module, owner), node, owner)
            found |= self.annotated(scope, node.returns)
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return):
                    found |= self.evaluate(scope, inner.value, depth - 1)
        self._returns[key] = frozenset(found)
        return self._returns[key]

    def _member(self, value: Value, name: str, depth: int) -> Values:
        info = self.class_at(value.key)
        if name == "__class__":
            return frozenset({value._replace(kind="class")})
        key = info.find(name)
        if key is None:
            return self._assigned(info, name, depth) if value.kind == "instance" else UNKNOWN
        module = self._paths[key.path]
        if key.symbol in module.classes:
            return frozenset({Value("class", key)})
        if key.symbol not in module.functions:
            return frozenset({Value("variable", key)})
        decorators = {
            ast.unparse(one).rpartition(".")[2] for f in module.functions[key.symbol] for one in f.decorator_list
        }
        if decorators & {"property", "cached_property"} and value.kind == "instance":
            return self.returned(key, depth - 1)
        return frozenset({Value("function", key)})

    def _assigned(self, info: ClassInfo, name: str, depth: int) -> Values:
        """Return what methods assign to `self.name`."""
        place = (info.key, name)
        if place in self._attributes or depth <= 0:
            return self._attributes.get(place, UNKNOWN)
        self._attributes[place] = UNKNOWN
        found: set[Value] = set()
        for one in info.mro():
            module = self._paths[one.key.path]
            for member in one.members.values():
                for node in module.functions.get(member.symbol, ()):
                    found |= self._assigned_in(node, Scope(module, one), name, depth)
        self._attributes[place] = frozenset(found)
        return self._attributes[place]

    def _assigned_in(self, node: ast.FunctionDef | ast.AsyncFunctionDef, outer: Scope, name: str, depth: int) -> Values:
        targets = [
            (inner, target)
            for inner in ast.walk(node)
            if isinstance(inner, ast.Assign | ast.AnnAssign)
            for target in (inner.targets if isinstance(inner, ast.Assign) else [inner.target])
            if isinstance(target, ast.Attribute) and target.attr == name
        ]
        if not targets:
            return UNKNOWN
        scope = self.local_scope(outer, node, outer.owner)
        found: set[Value] = set()
        for statement, _ in targets:
            found |= self.evaluate(scope, statement.value, depth - 1)
            if isinstance(statement, ast.AnnAssign):
                found |= self.annotated(scope, statement.annotation)
        return frozenset(found)

    def decorating_classes(self, key: Key) -> Values:
        """Return classes of the package that a member is decorated with: reading it may call their `__get__`."""
        module = self._paths[key.path]
        decorators = [one for node in module.functions.get(key.symbol, ()) for one in node.decorator_list]
        found = [value for one in decorators for value in sorted(self.evaluate(Scope(module), one))]
        made = [one for value in found if value.kind == "function" for one in self.returned(value.key)]
        return frozenset(
            value._replace(kind="instance") for value in [*found, *made] if value.kind in {"class", "instance"}
        )

    def local_scope(
        self, outer: Scope, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, owner: ClassInfo | None
    ) -> Scope:
        """Return the scope of a function's body: parameters, assignments and imports, with their evident types."""
        scope = outer.inner()
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for one in [*arguments, node.args.vararg, node.args.kwarg]:
            if one is not None:
                scope.names[one.arg] = self.annotated(outer, one.annotation)
        positional = [*node.args.posonlyargs, *node.args.args][::-1]
        defaults = [*zip(positional, node.args.defaults[::-1], strict=False)]
        for one, default in [*defaults, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]:
            scope.names[one.arg] |= self.evaluate(outer, default)
        if owner is not None and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node in owner.node.body:
            decorators = {ast.unparse(one) for one in node.decorator_list}
            if arguments and "staticmethod" not in decorators:
                is_class = "classmethod" in decorators or node.name in {"__new__", "__init_subclass__"}
                scope.names[arguments[0].arg] = frozenset(
                    {Value("class" if is_class else "instance", owner.key, own=True)}
                )
        _Locals(self, scope).read(node.body if isinstance(node.body, list) else [])
        return scope

    def imported(self, module: Module, node: ast.Import | ast.ImportFrom) -> Mapping[str, Values]:
        """Return what an import statement binds, names from outside the package as unknown."""
        bindings = Bindings()
        bindings.read(module, node)
        bound: dict[str, Values] = {}
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            bound[name] = UNKNOWN
            for origin, original in bindings.names.get(name, ()):
                target = self.in_module(origin, original) if original else self._module(origin)
                bound[name] |= frozenset(value._replace(imported=True) for value in target)
        return bound

    def _link_bases(self) -> None:
        for module in self._package.modules.values():
            for info in module.classes.values():
                for base in info.node.bases:
                    expression = base.value if isinstance(base, ast.Subscript) else base
                    for value in sorted(self.evaluate(Scope(module), expression)):
                        if value.kind == "class" and value.key != info.key:
                            parent = self.class_at(value.key)
                            info.bases.append(parent)
                            parent.subclasses.append(info)


class _Locals(ast.NodeVisitor):
    """Reads a function's own names, in the order of its statements; nested scopes are left to their own reading."""

    def __init__(self, resolver: Resolver, scope: Scope) -> None:
        self._resolver = resolver
        self._scope = scope
        self._free: set[str] = set()

    def read(self, body: list[ast.stmt]) -> None:
        for statement in body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Global):
                    self._free.update(node.names)
        for statement in body:
            self.visit(statement)

    def _bind(self, name: str, values: Values) -> None:
        if name in self._free:
            return
        known = self._scope.names.get(name, UNKNOWN)
        self._scope.names[name] = known | values

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name, UNKNOWN)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, UNKNOWN)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Leave lambdas alone."""

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Leave comprehensions' targets alone."""

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, values in self._resolver.imported(self._scope.module, node).items():
            self._bind(name, values)

    visit_ImportFrom = visit_Import  # noqa: N815 - ast's name

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._bind(target.id, self._resolver.evaluate(self._scope, node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self._bind(node.target.id, self._resolver.annotated(self._scope, node.annotation))
            self._bind(node.target.id, self._resolver.evaluate(self._scope, node.value))

    def visit_withitem(self, node: ast.withitem) -> None:
        self.generic_visit(node)
        if isinstance(node.optional_vars, ast.Name):
            self._bind(node.optional_vars.id, self._resolver.evaluate(self._scope, node.context_expr))

    def visit_ListComp(self, node: ast.AST) -> None:
        """Leave comprehensions alone: their names are their own."""

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # noqa: N815 - ast's names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store | ast.Del):
            self._bind(node.id, UNKNOWN)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, self._resolver.annotated(self._scope, node.type))
        self.generic_visit(node)
