"""Where a program can be changed by one edit so that it means something else.

Owns the operators and the places they stay away from: annotations, decorators, defaults, docstrings, type checking
blocks, logging, the messages of errors, and anything whose change could not be observed by construction.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_OPPOSITES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "lower": "upper",
    "upper": "lower",
    "startswith": "endswith",
    "endswith": "startswith",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
    "find": "rfind",
    "rfind": "find",
    "ceil": "floor",
    "floor": "ceil",
}
_COMMUTATIVE = {"min", "max", "gcd", "lcm", "hypot", "isclose"}
_LOGGING = {"log", "logger", "logging", "_log", "_logger", "LOG", "LOGGER", "warnings"}
_TYPE_CALLS = {"cast", "TypeVar", "TypeVarTuple", "ParamSpec", "NewType", "NamedTuple", "TypedDict", "namedtuple"}
_TYPE_SUBSCRIPTS = {"Literal", "Annotated", "Optional", "Union", "Callable"}
_NOT_BEHAVIOUR = {"__all__", "__slots__", "__match_args__", "__version__", "__author__", "__doc__"}
_TYPE_NAMES = {"int", "str", "float", "bool", "bytes", "complex", "object", "list", "dict", "set", "tuple", "frozenset"}


@dataclass(frozen=True, slots=True)
class Edit:
    """The text of `node` gives way to `replacement`."""

    node: ast.expr | ast.stmt
    replacement: str
    description: str


def edits(tree: ast.Module) -> Iterator[Edit]:
    """Find every place and way, unordered; not each gives code that compiles."""
    for statement in tree.body:
        yield from _statement(statement, in_class=False)


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a string that stands alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _statement(node: ast.stmt, *, in_class: bool) -> Iterator[Edit]:  # noqa: C901 - one arm per kind of statement
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if not any(_name(decorator) == "overload" for decorator in node.decorator_list):
            yield from _block(node.body)
    elif isinstance(node, ast.ClassDef):
        yield from _block(node.body, in_class=True)
    elif isinstance(node, ast.AnnAssign):
        # A field's default belongs to the signature of its class.
        if not in_class and _name(node.annotation) != "TypeAlias":
            yield from _expression(node.value)
    elif isinstance(node, ast.Assign):
        yield from _assign(node)
    elif isinstance(node, ast.If):
        yield from _if(node)
    elif isinstance(node, ast.Expr):
        yield from _bare_expression(node)
    elif isinstance(node, ast.Raise):
        yield Edit(node, "pass", "raise removed")
        yield from _expression(node.exc, text=False)
    elif isinstance(node, ast.Return):
        yield from _return(node)
    else:
        yield from _other_statement(node)


def _block(body: list[ast.stmt], *, in_class: bool = False) -> Iterator[Edit]:
    for statement in body:
        yield from _statement(statement, in_class=in_class)


def _assign(node: ast.Assign) -> Iterator[Edit]:
    if any(isinstance(target, ast.Name) and target.id in _NOT_BEHAVIOUR for target in node.targets):
        return
    if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
        yield Edit(node, "pass", "assignment removed")
    for part in (*node.targets, node.value):
        yield from _expression(part)


def _if(node: ast.If) -> Iterator[Edit]:
    names = {_name(item) for item in ast.walk(node.test) if isinstance(item, ast.Name | ast.Attribute)}
    if "TYPE_CHECKING" not in names and "__name__" not in names:
        yield from _negated(node.test)
        yield from _expression(node.test)
        yield from _block(node.body)
    yield from _block(node.orelse)


def _bare_expression(node: ast.Expr) -> Iterator[Edit]:
    value = node.value.value if isinstance(node.value, ast.Await) else node.value
    if isinstance(value, ast.Call) and _root(value.func) not in _LOGGING:
        yield Edit(node, "pass", "statement removed")
    if not isinstance(value, ast.Constant):
        yield from _expression(value)


def _return(node: ast.Return) -> Iterator[Edit]:
    if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
        return
    yield Edit(node, "return None", "result dropped")
    yield from _expression(node.value)


def _other_statement(node: ast.stmt) -> Iterator[Edit]:
    if isinstance(node, ast.AugAssign):
        yield Edit(node, "pass", "assignment removed")
        other = _ARITHMETIC[type(node.op)]
        changed = ast.AugAssign(node.target, other(), node.value)
        yield Edit(node, ast.unparse(changed), f"{_symbol(node.op)}= becomes {_symbol(other())}=")
    elif isinstance(node, ast.Break):
        yield Edit(node, "continue", "break becomes continue")
    elif isinstance(node, ast.Continue):
        yield Edit(node, "break", "continue becomes break")
    elif isinstance(node, ast.Delete):
        yield Edit(node, "pass", "del removed")
    yield from _children(node)


def _children(node: ast.AST, *, text: bool = True) -> Iterator[Edit]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _statement(child, in_class=False)
        elif isinstance(child, ast.expr):
            yield from _expression(child, text=text)
        elif not isinstance(child, ast.arguments):
            yield from _children(child, text=text)


def _expression(node: ast.expr | None, *, text: bool = True) -> Iterator[Edit]:
    """`text` false leaves strings alone: nobody should test the wording of an error."""
    if node is None or isinstance(node, ast.JoinedStr):
        # Offsets inside f-strings are wrong before Python 3.12.
        return
    if isinstance(node, ast.Constant):
        yield from _constant(node, text=text)
    elif isinstance(node, ast.Compare):
        yield from _compare(node)
    elif isinstance(node, ast.BinOp):
        yield from _arithmetic(node)
    elif isinstance(node, ast.Call):
        if _root(node.func) in _LOGGING or _name(node.func) in _TYPE_CALLS:
            return
        yield from _call(node)
    elif isinstance(node, ast.Subscript) and _name(node.value) in _TYPE_SUBSCRIPTS | _TYPE_NAMES:
        return
    else:
        yield from _logic(node)
    yield from _children(node, text=text)


def _constant(node: ast.Constant, *, text: bool) -> Iterator[Edit]:
    value = node.value
    others: tuple[object, ...] = ()
    if isinstance(value, bool):
        others = (not value,)
    elif isinstance(value, int):
        others = (value + 1, value - 1) if value > 0 else (value + 1,)
    elif isinstance(value, float):
        others = (value + 1.0,)
    elif isinstance(value, str) and text:
        others = ("" if value else "mutated",)
    elif isinstance(value, bytes) and text:
        others = (b"" if value else b"mutated",)
    for other in others:
        yield Edit(node, repr(other), f"{value!r:.40} becomes {other!r}")


def _compare(node: ast.Compare) -> Iterator[Edit]:
    for index, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
            changed = ast.Compare(node.left, operators, node.comparators)
            yield Edit(node, ast.unparse(changed), f"{_symbol(operator)} becomes {_symbol(other())}")


def _arithmetic(node: ast.BinOp) -> Iterator[Edit]:
    if isinstance(node.op, ast.BitOr) and (_is_type(node.left) or _is_type(node.right)):
        return
    if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
        return
    other = _ARITHMETIC[type(node.op)]
    changed = ast.BinOp(node.left, other(), node.right)
    yield Edit(node, f"({ast.unparse(changed)})", f"{_symbol(node.op)} becomes {_symbol(other())}")


def _call(node: ast.Call) -> Iterator[Edit]:
    name = _name(node.func)
    opposite = _OPPOSITES.get(name)
    if opposite is not None:
        if isinstance(node.func, ast.Attribute):
            yield Edit(node.func, f"{ast.unparse(node.func.value)}.{opposite}", f"{name} becomes {opposite}")
        else:
            yield Edit(node.func, opposite, f"{name} becomes {opposite}")
    plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
    if len(node.args) > 1 and plain and name not in _COMMUTATIVE:
        first, second, *rest = node.args
        if ast.dump(first) != ast.dump(second):
            changed = ast.Call(node.func, [second, first, *rest], node.keywords)
            yield Edit(node, ast.unparse(changed), "first two arguments swapped")


def _logic(node: ast.expr) -> Iterator[Edit]:
    if isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        changed = ast.BoolOp(other, node.values)
        yield Edit(node, f"({ast.unparse(changed)})", f"{_symbol(node.op)} becomes {_symbol(other)}")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield Edit(node, f"({ast.unparse(node.operand)})", f"{_symbol(node.op)} removed")
    elif isinstance(node, ast.IfExp):
        changed_if = ast.IfExp(node.test, node.orelse, node.body)
        yield Edit(node, f"({ast.unparse(changed_if)})", "branches swapped")
    elif isinstance(node, ast.Yield) and node.value is not None:
        yield Edit(node.value, "None", "yielded value dropped")
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        for generator in node.generators:
            for test in generator.ifs:
                yield from _negated(test)


def _negated(test: ast.expr) -> Iterator[Edit]:
    """Negate tests that no operator of their own negates."""
    flipped = isinstance(test, ast.Compare) and len(test.ops) == 1
    if not flipped and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        yield Edit(test, f"(not ({ast.unparse(test)}))", "condition negated")


def _name(node: ast.expr) -> str:
    """Take the last part of a dotted name; of a call, that of what is called."""
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _root(node: ast.expr) -> str:
    """Take the first part of a dotted name."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_type(node.value)
    if isinstance(node, ast.BinOp):
        return _is_type(node.left) or _is_type(node.right)
    return (isinstance(node, ast.Constant) and node.value is None) or _name(node) in _TYPE_NAMES


def _symbol(operator: ast.AST) -> str:
    """Write an operator as it is written."""
    left, right = ast.Name("a"), ast.Name("b")
    if isinstance(operator, ast.cmpop):
        return ast.unparse(ast.Compare(left, [operator], [right]))[2:-2]
    if isinstance(operator, ast.operator):
        return ast.unparse(ast.BinOp(left, operator, right))[2:-2]
    if isinstance(operator, ast.boolop):
        return ast.unparse(ast.BoolOp(operator, [left, right]))[2:-2]
    return "not" if isinstance(operator, ast.Not) else "-" if isinstance(operator, ast.USub) else "~"
