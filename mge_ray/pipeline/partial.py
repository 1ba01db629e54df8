"""A project that is not finished says so: a list of what is missing, and stubs that name their atom when called.

Owns what is added to an assembled project whose atoms were not all accepted. Whatever can be imported without the
missing code still can; a name that the skeleton does not have gets a stub.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence

from mge_ray.domain.atom import AtomicUnit, parse_signature
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import AtomStatus
from mge_ray.pipeline.code_layout import PlacementError, parse_quietly, read_layout, split_lines, text_of
from mge_ray.pipeline.report import AtomReport, ExecutionReport
from mge_ray.pipeline.workspace import build_workspace

LIST_FILE = "PARTIAL.md"
_CAUSE_CHARS = 300
Function = ast.FunctionDef | ast.AsyncFunctionDef


def mark_partial(
    plan: Masterplan, codes: Collection[str], files: Mapping[str, str], report: ExecutionReport
) -> dict[str, str]:
    """Return the assembled `files` with what is missing marked; `codes` holds the ids of the atoms that are there."""
    missing = [atom for atom in plan.atoms if atom.id not in codes]
    if not missing:
        return dict(files)
    result = _with_stubs(files, missing)
    owners = {(atom.file, symbol): atom.id for atom in plan.atoms for symbol in (atom.symbol, *atom.defines)}
    for path in dict.fromkeys(atom.file for atom in missing):
        of_file = {symbol: atom_id for (file, symbol), atom_id in owners.items() if file == path}
        result[path] = _named(result.get(path, ""), of_file, codes)
    result[_free_name(files)] = _list(plan, missing, report)
    return result


def _with_stubs(files: Mapping[str, str], missing: Sequence[AtomicUnit]) -> dict[str, str]:
    """Add the symbols that the skeleton lacks, so that modules which import them can be imported."""
    lacking = []
    for atom in missing:
        try:
            known = read_layout(files.get(atom.file, "")).spans
        except PlacementError:
            continue
        stub = _stub(atom)
        if atom.symbol not in known and stub is not None:
            lacking.append((atom.model_copy(update={"imports": (), "defines": ()}), stub))
    try:
        return build_workspace(files, lacking)
    except PlacementError:
        return dict(files)


def _stub(atom: AtomicUnit) -> str | None:
    """Return code that can be imported whatever else is missing; None where the atom is no function or class."""
    name = atom.symbol.rpartition(".")[2]
    signed = parse_signature(atom.signature) if atom.signature else None
    if isinstance(signed, ast.ClassDef):
        head = f"class {name}:\n    def __init__(self, *args: object, **kwargs: object) -> None:\n        "
    elif signed is None or isinstance(signed, Function):
        head = f"def {name}(*args: object, **kwargs: object) -> object:\n    "
    else:
        return None
    return f"{head}{_raise(atom.id)}\n"


def _raise(atom_id: str) -> str:
    return f'raise NotImplementedError("{atom_id} is not written")'


def _named(text: str, owners: Mapping[str, str], codes: Collection[str]) -> str:
    """Let the stubs of missing atoms name them; whatever is no stub stays."""
    try:
        tree, _ = parse_quietly(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    lines = split_lines(text)
    for symbol, node in sorted(_functions(tree.body, ""), key=lambda found: -found[1].lineno):
        atom_id = _owner(symbol, owners)
        statement = _stub_statement(node)
        if atom_id is None or atom_id in codes or statement is None or statement.end_lineno != statement.lineno:
            continue
        line = lines[statement.lineno - 1].encode()
        before, after = line[: statement.col_offset], line[statement.end_col_offset :]
        lines[statement.lineno - 1] = before.decode() + _raise(atom_id) + after.decode()
    return "".join(lines)


def _functions(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}.")


def _owner(symbol: str, owners: Mapping[str, str]) -> str | None:
    while symbol:
        if symbol in owners:
            return owners[symbol]
        symbol = symbol.rpartition(".")[0]
    return None


def _stub_statement(node: Function) -> ast.stmt | None:
    """Return the one statement of a function that does nothing yet; None if it does something or only declares."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if len(body) != 1 or any("overload" in text_of(one) or "abstract" in text_of(one) for one in node.decorator_list):
        return None
    (statement,) = body
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return statement if isinstance(raised, ast.Name) and raised.id == "NotImplementedError" else None
    empty = (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and statement.value.value is ...
    )
    return statement if empty or isinstance(statement, ast.Pass) else None


def _free_name(files: Mapping[str, str]) -> str:
    return LIST_FILE if LIST_FILE not in files else f"MGE-RAY-{LIST_FILE}"


def _list(plan: Masterplan, missing: Sequence[AtomicUnit], report: ExecutionReport) -> str:
    absent = {atom.id for atom in missing}
    present = [atom for atom in plan.atoms if atom.id not in absent]
    atoms = {atom.atom_id: atom for atom in report.atoms}
    status = f"{report.status}: {report.reason}" if report.reason else report.status
    lines = [
        f"# {_plain(plan.name)}: partial",
        "",
        f"{len(present)} of {len(plan.atoms)} atoms are here. What is missing raises NotImplementedError with the name",
        f"of its atom.{' The acceptance tests have not run.' if report.acceptance_passed is None else ''}",
        "",
        f"- execution: {report.execution_id}",
        f"- status: {_plain(status)}",
        f"- more: `mge-ray status {report.execution_id[:8]}`",
        "",
        f"## Missing ({len(missing)})",
        "",
        "| atom | place | why |",
        "|---|---|---|",
        *[f"| {atom.id} | {atom.file}, `{atom.symbol}` | {_plain(_why(atoms.get(atom.id)))} |" for atom in missing],
        "",
        f"## Here ({len(present)})",
        "",
        *[f"- {atom.id}: {atom.file}, `{atom.symbol}`" for atom in present],
    ]
    return "\n".join(lines) + "\n"


def _why(atom: AtomReport | None) -> str:
    if atom is None:
        return "unknown"
    if atom.cause:
        return f"{atom.status.value}: {atom.cause}"
    if atom.status in {AtomStatus.GENERATING, AtomStatus.ANSWERED, AtomStatus.EXECUTING}:
        return "under way when the run stopped"
    if atom.attempts:
        return f"not finished: attempt {len(atom.attempts)} failed at {atom.attempts[-1].failed_level}"
    return "not begun"


def _plain(text: str) -> str:
    """Return text that a model may have written as text of one table cell."""
    shown = " ".join(text.split())
    shown = shown if len(shown) <= _CAUSE_CHARS else f"{shown[:_CAUSE_CHARS]} ..."
    for mark in ("\\", "|", "`", "<", "[", "*", "_"):
        shown = shown.replace(mark, f"\\{mark}")
    return shown
