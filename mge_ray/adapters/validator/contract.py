"""The contract level: the answer defines what the plan asked for, as asked, and nothing else.

Also builds the workspace with the candidate in its place, since only an answer of the right shape can be placed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mge_ray.adapters.validator.signatures import mismatch, read_signature, show
from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.domain.errors import PlanError
from mge_ray.domain.validation import Level, Severity, ValidationIssue
from mge_ray.pipeline.code_layout import (
    Definition,
    PlacementError,
    bound_name,
    import_keys,
    is_docstring,
    parse_imports,
    read_layout,
    text_of,
)
from mge_ray.pipeline.workspace import build_traced


def check_contract(subject: Subject) -> list[ValidationIssue]:
    """Return every breach of the contract; without one, fill in `subject.files` and `subject.trace`."""
    try:
        found = [*_check_symbol(subject), *_check_rest(subject), *_check_imports(subject)]
    except PlacementError as error:
        found = [_error("plan", f"the plan cannot be followed: {error}")]
    if any(one.severity is not Severity.WARNING for one in found):
        return found
    candidate = subject.candidate
    accepted = [(one.atom, one.code) for one in candidate.dependencies if one.code is not None]
    try:
        subject.files, subject.trace = build_traced(candidate.files, accepted, candidate.atom, candidate.code)
    except PlanError as error:
        return [*found, _error("placement", f"the code cannot be placed: {error}")]
    return found


def _check_symbol(subject: Subject) -> Iterator[ValidationIssue]:
    atom = subject.atom
    owner, _, leaf = atom.symbol.rpartition(".")
    named = [node for node in subject.tree.body if bound_name(node) == leaf]
    if not named:
        yield _missing(subject, owner, leaf)
        return
    node = next((node for node in reversed(named) if isinstance(node, Definition)), named[-1])
    if not atom.tests and _is_stub(node):
        yield _error("stub", f"{leaf!r} is not implemented; write its body", node.lineno)
    if not atom.signature.strip():
        return
    expected = read_signature(atom.signature)
    if expected is None:
        message = f"the plan's signature {atom.signature!r} cannot be read, so it was not compared"
        yield issue(Level.CONTRACT, message, rule="plan", severity=Severity.WARNING)
        return
    difference = mismatch(expected, node)
    if difference:
        yield _error("signature", f"the signature differs: {difference}", node.lineno)


def _missing(subject: Subject, owner: str, leaf: str) -> ValidationIssue:
    for node in subject.tree.body:
        if owner and isinstance(node, ast.ClassDef) and node.name == owner.rpartition(".")[2]:
            advice = f"write only the method {leaf!r} itself, starting at column 1, without 'class {node.name}'"
            return _error("symbol", advice, node.lineno)
    defined = sorted({name for name in map(bound_name, subject.tree.body) if name})
    what = f"; it defines {', '.join(map(repr, defined[:5]))}" if defined else ""
    return _error("symbol", f"the code does not define {leaf!r}{what}")


def _check_rest(subject: Subject) -> Iterator[ValidationIssue]:
    """Yield what stands at module level and was not asked for."""
    atom = subject.atom
    allowed = {atom.symbol.rpartition(".")[2], *(name.rpartition(".")[2] for name in atom.defines)}
    for index, node in enumerate(subject.tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom) or (index == 0 and is_docstring(node)):
            continue
        name = bound_name(node)
        if name in allowed:
            continue
        listed = f"; allowed are {', '.join(map(repr, sorted(allowed)))}"
        shown = show(node) if name else text_of(node)
        first = shown.splitlines()[0][:80]
        yield _error("extra", f"`{first}` does not belong to {atom.symbol!r}{listed}", node.lineno)


def _check_imports(subject: Subject) -> Iterator[ValidationIssue]:
    """Yield module-level imports that the plan does not list and the module does not have already."""
    atom = subject.atom
    nodes = [node for node in subject.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    listed = {key for node in parse_imports(atom.imports) for key, _ in import_keys(node)}
    if not nodes:
        return
    known = listed | read_layout(subject.candidate.files.get(atom.file, "").removeprefix("\ufeff")).imports
    for node in nodes:
        for key, alias in import_keys(node):
            if key in known:
                continue
            one = text_of(
                ast.Import([alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            allowed = "; ".join(atom.imports) or "none"
            advice = f"`{one}` is not among the imports this code may add ({allowed}); use those, or import inside"
            yield _error("import", f"{advice} the function", node.lineno)


def _is_stub(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    if any(text_of(item).endswith(("abstractmethod", "overload")) for item in node.decorator_list):
        return False
    body = node.body[1:] if is_docstring(node.body[0]) else node.body
    if not body:
        return True
    if len(body) > 1:
        return False
    only = body[0]
    if isinstance(only, ast.Raise) and only.exc is not None:
        return text_of(only.exc).startswith("NotImplementedError")
    return isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant) and only.value.value is Ellipsis


def _error(rule: str, message: str, line: int | None = None) -> ValidationIssue:
    return issue(Level.CONTRACT, message, rule=rule, line=line)
