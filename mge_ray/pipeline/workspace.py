"""Workspaces: atoms' code put where it belongs in the plan's files.

Pure functions over file maps (path -> text). Everything that is not placed stays byte for byte. `code_layout` says
where things are; `output_folder` writes a finished project to disk.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.code_layout import (
    CodeParts,
    ModuleLayout,
    PlacementError,
    import_keys,
    is_future,
    parse_imports,
    read_layout,
    split_code,
    string_lines,
)
from mge_ray.pipeline.output_folder import MARKER, OutputError, write_project

__all__ = [
    "MARKER",
    "OutputError",
    "Piece",
    "PlacementError",
    "assemble",
    "build_traced",
    "build_workspace",
    "place",
    "place_all",
    "write_project",
]

BOM = "\ufeff"
Line = tuple[str, int]  # a line's text, and its number in the traced answer (0: not of it)


@dataclass(frozen=True, slots=True)
class Piece:
    """Code for one symbol of one module, with the import statements and helper names its atom lists."""

    symbol: str
    code: str
    imports: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()

    @classmethod
    def of(cls, atom: AtomicUnit, code: str) -> Piece:
        """Return the piece that `code` is for `atom`."""
        return cls(symbol=atom.symbol, code=code, imports=atom.imports, defines=atom.defines)

    @property
    def parts(self) -> CodeParts:
        """The code taken apart."""
        return split_code(self.code, self.symbol, self.defines)


@dataclass(slots=True)
class _Draft:
    """Edits of one pass over a module: lines [start, end) give way to new ones. Edits never overlap.

    Of insertions at one line, those deeper inside classes come first: there the classes end.
    """

    edits: list[tuple[int, int, int, list[Line]]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)

    def replace(self, start: int, end: int, new: list[Line], *, depth: int = 0) -> None:
        self.edits.append((start, end, -depth, new))

    def apply(self, lines: list[Line]) -> list[Line]:
        result: list[Line] = []
        position = 0
        for start, end, _, new in sorted(self.edits, key=lambda edit: edit[:3]):
            result += lines[position:start]
            if new and result and not result[-1][0].endswith(("\n", "\r")):
                text, number = result.pop()
                result.append((text + "\n", number))
            result += new
            position = max(position, end)
        return result + lines[position:]


def place(module_text: str, symbol: str, code: str, imports: Sequence[str] = (), defines: Sequence[str] = ()) -> str:
    """Return the module with `code` where `symbol` stands, or added where it does not.

    Methods (`Class.method`) are indented into their class without touching the text inside strings. Imports that the
    module lacks go after its docstring and `__future__` imports. Raises PlacementError.
    """
    piece = Piece(symbol=symbol, code=code, imports=tuple(imports), defines=tuple(defines))
    return _place_all(module_text, [piece], traced=None)[0]


def place_all(module_text: str, pieces: Sequence[Piece]) -> str:
    """Return the module with every piece in its place; raises PlacementError."""
    return _place_all(module_text, pieces, traced=None)[0]


def build_workspace(files: Mapping[str, str], placed: Iterable[tuple[AtomicUnit, str]]) -> dict[str, str]:
    """Return `files` with every atom's code in its module; modules and packages that are missing are begun."""
    return _build(files, placed, traced=None)[0]


def build_traced(
    files: Mapping[str, str], placed: Iterable[tuple[AtomicUnit, str]], atom: AtomicUnit, code: str
) -> tuple[dict[str, str], dict[int, int]]:
    """Build the workspace with one more atom and say where its lines went: line of the module -> line of `code`."""
    return _build(files, [*placed, (atom, code)], traced=atom)


def assemble(plan: Masterplan, codes: Mapping[str, str]) -> dict[str, str]:
    """Return the finished project's files: accepted code in place, stubs where there is none, a pyproject.toml."""
    files = build_workspace(plan.files, [(atom, codes[atom.id]) for atom in plan.atoms if atom.id in codes])
    files.setdefault("pyproject.toml", _pyproject(plan.name, files))
    return files


def _build(
    files: Mapping[str, str], placed: Iterable[tuple[AtomicUnit, str]], traced: AtomicUnit | None
) -> tuple[dict[str, str], dict[int, int]]:
    result = dict(files)
    modules: dict[str, list[Piece]] = {}
    the_piece: Piece | None = None
    for atom, code in placed:
        piece = Piece.of(atom, code)
        modules.setdefault(atom.file, []).append(piece)
        the_piece = piece if atom is traced else the_piece
    trace: dict[int, int] = {}
    for path, pieces in modules.items():
        try:
            text, found = _place_all(result.get(path, ""), pieces, the_piece)
        except PlacementError as error:
            raise PlacementError(f"{path}: {error}") from None
        if path not in files:
            _open_packages(path, result)
        result[path] = text
        trace = found or trace
    return result, trace


def _open_packages(path: str, files: dict[str, str]) -> None:
    """Add the `__init__.py` files a new module needs to belong to the package its folders lie in."""
    inside = False
    for folder in reversed(PurePosixPath(path).parents[:-1]):
        init = f"{folder}/__init__.py"
        inside = inside or init in files
        if inside:
            files.setdefault(init, "")


def _place_all(text: str, pieces: Iterable[Piece], traced: Piece | None) -> tuple[str, dict[int, int]]:
    """Place outer symbols before inner ones, in as few passes as that allows: mostly one."""
    bom = BOM if text.startswith(BOM) else ""
    pending = sorted(pieces, key=lambda piece: piece.symbol.count("."))
    lines: list[Line] = []
    text = text.removeprefix(BOM)
    first = True
    while pending:
        layout = read_layout(text)
        lines = [(line, 0) for line in layout.lines] if first else lines
        draft, later = _Draft(), []
        _merge_imports(draft, layout, pending if first else (), traced)
        for piece in pending:
            if _depends_on_taken(piece.symbol, draft.taken):
                later.append(piece)
            else:
                _place_piece(draft, layout, piece, number=piece is traced)
        lines = draft.apply(lines)
        text = "".join([line for line, _ in lines])
        pending, first = later, False
    return bom + text, {row: number for row, (_, number) in enumerate(lines, start=1) if number}


def _depends_on_taken(symbol: str, taken: set[str]) -> bool:
    if not taken or "." not in symbol:
        return False
    parts = symbol.split(".")
    return any(".".join(parts[:count]) in taken for count in range(1, len(parts)))


def _place_piece(draft: _Draft, layout: ModuleLayout, piece: Piece, *, number: bool) -> None:
    parts = piece.parts
    owner = piece.symbol.rpartition(".")[0]
    if owner and owner not in layout.classes:
        _open_class(draft, layout, piece, parts, number=number)
        return
    main = _lines(parts.main, number)
    if owner:
        main = _indented(piece.code, parts, layout.classes[owner].indent, number)
        _put_beside(draft, layout, piece, _lines(parts.beside, number))
    _put_main(draft, layout, piece.symbol, main)
    defined = [name for name in piece.defines if name.rpartition(".")[2] in parts.names and name != piece.symbol]
    for name in defined:
        if name in layout.spans:
            for start, end in _whole(layout, name):
                draft.replace(_after_blanks(layout, start), end, [])
    draft.taken.update([piece.symbol, *defined])


def _put_main(draft: _Draft, layout: ModuleLayout, symbol: str, main: list[Line]) -> None:
    """Replace the first definition of the symbol and drop its others (overloads, setters), or add it at the end."""
    if symbol in layout.spans:
        (start, end), *others = _whole(layout, symbol)
        last = end == len(layout.lines) and not layout.lines[-1].endswith(("\n", "\r"))
        draft.replace(start, end, main if not last else _without_last_break(main))
        for first, after in others:
            draft.replace(_after_blanks(layout, first), after, [])
        return
    owner = symbol.rpartition(".")[0]
    if not owner:
        at_end = layout.tail_at == len(layout.lines)
        blank: list[Line] = [("\n", 0), ("\n", 0)]
        new = [*(blank if layout.lines and at_end else []), *main, *([] if at_end else blank)]
        draft.replace(layout.tail_at, layout.tail_at, new)
        return
    place_in = layout.classes[owner]
    if place_in.one_line_body is not None and owner not in draft.opened:
        row, column = place_in.one_line_body
        line = layout.lines[row]
        body = place_in.indent + line[column:].rstrip("\r\n") + "\n"
        draft.replace(row, row + 1, [(line[:column].rstrip() + "\n", 0), (body, 0)])
        draft.opened.add(owner)
    draft.replace(place_in.end, place_in.end, [("\n", 0), *main], depth=symbol.count("."))


def _open_class(draft: _Draft, layout: ModuleLayout, piece: Piece, parts: CodeParts, *, number: bool) -> None:
    """Begin the class that a method's symbol asks for and the module does not have."""
    owners = piece.symbol.split(".")[:-1]
    for count in range(1, len(owners) + 1):
        if ".".join(owners[:count]) in layout.spans and ".".join(owners[:count]) not in layout.classes:
            raise PlacementError(f"{piece.symbol!r}: {'.'.join(owners[:count])!r} is not a class")
    known = max((n for n in range(len(owners)) if ".".join(owners[:n]) in layout.classes), default=0)
    outer = layout.classes[".".join(owners[:known])].indent if known else ""
    new: list[Line] = []
    for depth, name in enumerate(owners[known:]):
        new.append((f"{outer}{'    ' * depth}class {name}:\n", 0))
    new += _indented(piece.code, parts, outer + "    " * (len(owners) - known), number)
    _put_beside(draft, layout, piece, _lines(parts.beside, number))
    _put_main(draft, layout, ".".join(owners[: known + 1]), new)
    draft.taken.update(".".join(owners[:count]) for count in range(known + 1, len(owners) + 1))
    draft.taken.add(piece.symbol)


def _put_beside(draft: _Draft, layout: ModuleLayout, piece: Piece, beside: list[Line]) -> None:
    """Put a method's module-level helpers before its class, so that decorators and defaults may use them."""
    if not beside:
        return
    top = piece.symbol.split(".", 1)[0]
    at = layout.spans[top][0][0] if top in layout.spans else layout.tail_at
    draft.replace(at, at, [*beside, ("\n", 0), ("\n", 0)])


def _after_blanks(layout: ModuleLayout, row: int) -> int:
    while row and not layout.lines[row - 1].strip():
        row -= 1
    return row


def _whole(layout: ModuleLayout, symbol: str) -> list[tuple[int, int]]:
    spans = layout.spans[symbol]
    for start, end in spans:
        if start in layout.crowded or end - 1 in layout.crowded:
            raise PlacementError(
                f"{symbol!r} shares line {start + 1} with other code; give it a line of its own in the skeleton"
            )
    return spans


def _lines(numbered: Iterable[tuple[int, str]], number: bool) -> list[Line]:  # noqa: FBT001 - private
    lines = [(text, row if number else 0) for row, text in numbered]
    if lines and not lines[-1][0].endswith(("\n", "\r")):
        lines[-1] = (lines[-1][0] + "\n", lines[-1][1])
    return lines


def _without_last_break(lines: list[Line]) -> list[Line]:
    return [*lines[:-1], (lines[-1][0].rstrip("\r\n"), lines[-1][1])] if lines else lines


def _indented(code: str, parts: CodeParts, indent: str, number: bool) -> list[Line]:  # noqa: FBT001 - private
    fixed = string_lines(code)
    indented = [(row, text if row in fixed or not text.strip() else indent + text) for row, text in parts.main]
    return _lines(indented, number)


def _merge_imports(draft: _Draft, layout: ModuleLayout, pieces: Iterable[Piece], traced: Piece | None) -> None:
    """Add the imports that pieces list or bring along and the module lacks, each once."""
    present = set(layout.imports)
    future: list[Line] = []
    ordinary: list[Line] = []
    for piece in pieces:
        brought = [(row if piece is traced else 0, node) for row, node in piece.parts.imports]
        for row, node in [*brought, *((0, node) for node in parse_imports(piece.imports))]:
            missing = [(key, alias) for key, alias in import_keys(node) if key not in present]
            if missing:
                present.update(key for key, _ in missing)
                (future if is_future(node) else ordinary).append((_statement(node, [a for _, a in missing]), row))
    gap: list[Line] = [("\n", 0)]
    at = layout.future_at
    if future:
        draft.replace(at, at, [*(gap if at and at == layout.imports_at else []), *future])
    if ordinary:
        at = layout.imports_at
        before = gap if at and layout.lines[at - 1].strip() else []
        after = gap if at < len(layout.lines) and not layout.lines[at].startswith(("import ", "from ", "\n")) else []
        draft.replace(at, at, [*before, *ordinary, *(after if layout.lines else gap * 2)])


def _statement(node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> str:
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(names=names)) + "\n"
    return ast.unparse(ast.ImportFrom(module=node.module, names=names, level=node.level)) + "\n"


def _pyproject(name: str, files: Mapping[str, str]) -> str:
    """Name, no version to speak of, the Python that the code was judged with, and where pytest finds it."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "project"
    paths = '["src"]' if any(path.startswith("src/") for path in files) else '["."]'
    return (
        f'[project]\nname = "{slug}"\nversion = "0"\nrequires-python = ">=3.{sys.version_info.minor}"\n\n'
        f"[tool.pytest.ini_options]\npythonpath = {paths}\n"
    )
