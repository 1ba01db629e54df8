"""What an atom's description says: the docstring, and what can be read off the code without giving it away."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from mge_ray.domain.atom import Complexity, parse_signature
from mge_ray.pipeline.atomize.definitions import Function
from mge_ray.pipeline.atomize.units import Unit
from mge_ray.pipeline.code_layout import Definition, text_of

MOST_CHARS = 18_000
MOST_NAMED = 12
SIGNATURE_CHARS = 2_000
SIMPLE_LINES = 5
HARD_LINES = 25
HARD_BRANCHES = 8
_BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.comprehension, ast.BoolOp, ast.AsyncFor)


def describe(unit: Unit, rests_on: Sequence[str]) -> str:
    """Return the spec of a unit, at most about 18,000 characters."""
    parts = []
    for node in unit.nodes:
        docstring = ast.get_docstring(node)
        head = f"`{unit.key.symbol}`" if len(unit.nodes) == 1 else f"`{signature_of(node) or node.name}`"
        parts.append(f"{head}: {docstring}" if docstring else f"{head} has no docstring; its tests say what it does.")
        facts = _class_facts(node) if isinstance(node, ast.ClassDef) else _facts(node)
        parts += [facts] if facts else []
    if rests_on:
        more = f" and {len(rests_on) - MOST_NAMED} more" if len(rests_on) > MOST_NAMED else ""
        parts.append(f"It may use: {', '.join(rests_on[:MOST_NAMED])}{more}.")
    return "\n\n".join(parts)[:MOST_CHARS]


def _class_facts(node: ast.ClassDef) -> str:
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    named = [f"- `{signature_of(one)}`{'. ' + facts if (facts := _facts(one)) else ''}" for one in methods]
    return "The class as the skeleton begins it, with these methods written:\n" + "\n".join(named)


def _facts(node: Function) -> str:
    inside = list(_own(node))
    facts = []
    if any(isinstance(one, ast.Yield | ast.YieldFrom) for one in inside):
        facts.append("It is a generator.")
    elif any(isinstance(one, ast.Return) and one.value is not None for one in inside):
        facts.append("It returns a value.")
    raised = {
        text_of(one.exc).partition("(")[0] for one in inside if isinstance(one, ast.Raise) and one.exc is not None
    }
    if raised:
        facts.append(f"It raises {', '.join(sorted(raised)[:MOST_NAMED])}.")
    caught = {text_of(one.type) for one in inside if isinstance(one, ast.ExceptHandler) and one.type is not None}
    if caught:
        facts.append(f"It handles {', '.join(sorted(caught)[:MOST_NAMED])}.")
    return " ".join(facts)


def _own(node: Function) -> list[ast.AST]:
    found: list[ast.AST] = []
    pending: list[ast.AST] = list(node.body)
    while pending:
        one = pending.pop()
        found.append(one)
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(one))
    return found


def signature_of(node: Function | ast.ClassDef) -> str:
    """Return the head with its decorators, or nothing where it is too long or cannot be read back."""
    head: list[str] = [f"@{text_of(one)}" for one in node.decorator_list]
    if isinstance(node, ast.ClassDef):
        inside = [text_of(one) for one in node.bases] + [
            f"{k.arg}={text_of(k.value)}" if k.arg else f"**{text_of(k.value)}" for k in node.keywords
        ]
        head.append(f"class {node.name}" + (f"({', '.join(inside)})" if inside else ""))
    else:
        returns = f" -> {text_of(node.returns)}" if node.returns is not None else ""
        word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        head.append(f"{word} {node.name}({text_of(node.args)}){returns}")
    text = "\n".join(head)
    return text if len(text) <= SIGNATURE_CHARS and isinstance(parse_signature(text), Definition) else ""


def complexity_of(unit: Unit, lines: int) -> Complexity:
    """Judge by lines and branches."""
    branches = sum(isinstance(inner, _BRANCHES) for node in unit.nodes for inner in ast.walk(node))
    if lines > HARD_LINES or branches > HARD_BRANCHES:
        return Complexity.HIGH
    return Complexity.LOW if lines <= SIMPLE_LINES and branches <= 1 else Complexity.MEDIUM
