"""What a check can see of a plan's files, as digests: part of the key that accepted code is kept under (ADR 14).

Errs on the side of too much: a file that is left out must not be able to change a verdict. Imports are resolved by the
ends of paths, as a test runner's search path would have it; code that imports by computed names sees every file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from mge_ray.domain.atom import AtomicUnit, test_file
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.reuse import AtomKeys, ReuseSettings, Surroundings, digest_of
from mge_ray.pipeline.code_layout import PlacementError, first_line, last_line, read_layout, string_lines
from mge_ray.pipeline.outline import parse

DYNAMIC = {"importlib", "__import__", "exec", "eval", "runpy", "pkgutil", "subprocess", "multiprocessing"}
"""Names whose user may run any module of the project without an import statement that says so."""
_Test = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class _Imports:
    """What one file imports: dotted names, names below its own folder, and whether it may import anything."""

    names: frozenset[str] = frozenset()
    relative: frozenset[str] = frozenset()
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class _TestFile:
    """One file of tests, taken apart: the digest of each test and of all else, and which tests each of them uses."""

    whole: str
    beside: str
    uses: dict[str, frozenset[str]]
    digests: dict[str, str]

    @classmethod
    def read(cls, text: str) -> _TestFile:
        tree = parse(text)
        if tree is None:
            return cls(digest_of(text), "", {}, {})
        lines = text.split("\n")
        tests = {node.name: node for node in tree.body if isinstance(node, _Test) and _is_test(node.name)}
        ids = {id(node) for node in tests.values()}
        beside = [node for node in tree.body if id(node) not in ids]
        names = set(tests)
        used = {name: _names_in([node]) & names for name, node in tests.items()}
        used[""] = _names_in(beside) & names
        return cls(
            digest_of(text),
            digest_of([[lines[number] for number in _lines_of(node)] for node in beside]),
            {name: frozenset(others) for name, others in used.items()},
            {name: digest_of([lines[number] for number in _lines_of(node)]) for name, node in tests.items()},
        )

    def digest(self, names: set[str] | None) -> str:
        """Return the digest of the file without the tests that are neither named nor used; of all of it for None."""
        if names is None or not self.beside:
            return self.whole
        todo, seen = ["", *names], {"", *names}
        while todo:
            further = self.uses.get(todo.pop(), frozenset()) - seen
            seen |= further
            todo += further
        return digest_of([self.beside, sorted((name, self.digests[name]) for name in seen if name in self.digests)])


class PlanFiles:
    """The files of one plan as checks see them; each is read once."""

    def __init__(self, plan: Masterplan) -> None:
        self._files = plan.files
        self._symbols: dict[str, set[str]] = {}
        for atom in plan.atoms:
            self._symbols.setdefault(atom.file, set()).update((atom.symbol, *atom.defines))
        self._python = {path for path in plan.files if path.endswith(".py")}
        self._listed: dict[str, list[str]] = {}
        for atom in plan.atoms:
            self._listed.setdefault(atom.file, []).extend(atom.imports)
        self._ends: dict[str, list[str]] = {}
        for path in sorted(self._python | self._symbols.keys()):
            for end in _ends(path):
                self._ends.setdefault(end, []).append(path)
        self._imports: dict[str, _Imports] = {}
        self._reached: dict[tuple[str, frozenset[str]], str] = {}
        self._tests: dict[tuple[str, ...], str] = {}
        self._texts: dict[str, str] = {}
        self._test_files: dict[str, _TestFile] = {}

    def around(self, atom: AtomicUnit) -> Surroundings:
        """Return the digests of what a check of the atom sees besides code."""
        if atom.tests not in self._tests:
            self._tests[atom.tests] = digest_of([list(atom.tests), *self._judging(atom.tests)])
        judging = frozenset(path for test in atom.tests for path in self._under(test_file(test)))
        if (atom.file, judging) not in self._reached:
            reached = self._reach(judging | {atom.file}) - judging
            texts = [[path, self._text(path)] for path in sorted(reached) if path in self._files]
            self._reached[atom.file, judging] = digest_of(texts)
        return Surroundings(self._tests[atom.tests], self._reached[atom.file, judging])

    # ---- tests ----------------------------------------------------------------------------------------------------

    def _judging(self, tests: Iterable[str]) -> Iterator[list[str]]:
        """Yield each judging file's path with the digest of what of it these tests use."""
        named: dict[str, set[str] | None] = {}
        for node_id in tests:
            path, _, inner = node_id.partition("::")
            for file in self._under(path):
                names = named.setdefault(file, set())
                if names is not None and inner:
                    names.add(inner.partition("[")[0].partition("::")[0])
                else:
                    named[file] = None
        for file, names in sorted(named.items()):
            yield [file, self._test_file(file).digest(names)]

    def _test_file(self, path: str) -> _TestFile:
        if path not in self._test_files:
            self._test_files[path] = _TestFile.read(self._files[path])
        return self._test_files[path]

    def _under(self, path: str) -> list[str]:
        if path in self._files:
            return [path]
        return [name for name in self._files if name.startswith(path.rstrip("/") + "/")]

    # ---- files ----------------------------------------------------------------------------------------------------

    def _reach(self, roots: frozenset[str]) -> set[str]:
        seen = {path for path in self._files if path not in self._python}
        todo = [*roots, *(path for root in roots for path in self._above(root))]
        while todo:
            path = todo.pop()
            if path in seen:
                continue
            seen.add(path)
            found = self._imports_of(path)
            if found.dynamic:
                return set(self._files)
            todo += [*self._above(path), *self._resolved(path, found)]
        return seen

    def _above(self, path: str) -> list[str]:
        """Return what Python and pytest load before a file: its packages, and the conftest files above it."""
        folders = [*PurePosixPath(path).parents]
        names = [str(folder / name) for folder in folders for name in ("__init__.py", "conftest.py")]
        return [name for name in names if name in self._python]

    def _resolved(self, path: str, found: _Imports) -> Iterator[str]:
        for name in found.names:
            parts = name.split(".")
            for count in range(1, len(parts) + 1):
                yield from self._ends.get(".".join(parts[:count]), ())
        folder = PurePosixPath(path).parent
        for name in found.relative:
            level = len(name) - len(name.lstrip("."))
            base = [folder, *folder.parents][min(level - 1, len(folder.parts))]
            inner = base.joinpath(*filter(None, name.lstrip(".").split(".")))
            for candidate in (f"{inner}.py", str(inner / "__init__.py"), str(base / "__init__.py")):
                if candidate in self._python:
                    yield candidate

    def _imports_of(self, path: str) -> _Imports:
        if path not in self._imports:
            written, listed = _imports_of(self._files.get(path, "")), _imports_of("\n".join(self._listed.get(path, ())))
            self._imports[path] = _Imports(
                written.names | listed.names, written.relative | listed.relative, written.dynamic or listed.dynamic
            )
        return self._imports[path]

    def _text(self, path: str) -> str:
        """Return a file without the plan's own symbols: their code is in the key of whoever rests on it."""
        if path not in self._texts:
            self._texts[path] = _without_symbols(self._files[path], self._symbols.get(path, set()))
        return self._texts[path]


def atom_keys(plan: Masterplan, settings: ReuseSettings) -> AtomKeys:
    """Return the keys of a plan's atoms."""
    return AtomKeys(plan, settings, PlanFiles(plan).around)


def _ends(path: str) -> Iterator[str]:
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    for start in range(len(parts)):
        yield ".".join(parts[start:])


def _imports_of(text: str) -> _Imports:
    tree = parse(text)
    if tree is None:
        return _Imports(dynamic=bool(text))
    names: set[str] = set()
    relative: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            dots = module if module.endswith(".") else f"{module}."
            (relative if node.level else names).update((module, *(f"{dots}{alias.name}" for alias in node.names)))
        elif isinstance(node, ast.Name) and node.id in DYNAMIC:
            return _Imports(dynamic=True)
    return _Imports(frozenset(names), frozenset(relative), dynamic=not DYNAMIC.isdisjoint(_first_parts(names)))


def _first_parts(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _is_test(name: str) -> bool:
    return name.startswith(("test", "Test"))


def _lines_of(node: ast.stmt) -> range:
    return range(first_line(node), last_line(node) + 1)


def _names_in(nodes: Iterable[ast.stmt]) -> set[str]:
    return {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}


def _without_symbols(text: str, symbols: Iterable[str]) -> str:
    """Leave the symbols out, and blank lines between statements, which come and go with them."""
    try:
        layout = read_layout(text)
    except PlacementError:
        return text
    spans = [span for symbol in symbols for span in layout.spans.get(symbol, ())]
    gone = {number for start, end in spans for number in range(start, end)}
    inside = string_lines(text)
    kept = [line for n, line in enumerate(layout.lines) if n not in gone and (line.strip() or n + 1 in inside)]
    return "".join(kept)
