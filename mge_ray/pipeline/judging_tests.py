"""The source of an atom's tests, cut out of the plan's test files: what the answer will be judged by.

Pure. Files are parsed once; running the tests is left to the validator.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mge_ray.pipeline.outline import MAX_FILE_CHARS, is_test_path, parse

MAX_TESTS_CHARS = 8_000
CUT = "# ... (cut for length)"

_Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class JudgingTests:
    """The test files of one plan, by pytest node id."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._parsed: dict[str, _TestFile | None] = {}

    def source(self, node_ids: Sequence[str], *, limit: int = MAX_TESTS_CHARS) -> str:
        """Return the tests with the imports and helpers of their files they use; at most about `limit` characters."""
        wanted: dict[str, list[str] | None] = {}
        for node_id in node_ids:
            path, _, inner = node_id.partition("::")
            if not inner:
                wanted.update(dict.fromkeys(self._files_of(path)))
            elif (names := wanted.setdefault(path, [])) is not None:
                names.append(inner.partition("[")[0].partition("::")[0])
        return _cut("\n\n".join(filter(None, (self._excerpt(path, names) for path, names in wanted.items()))), limit)

    def _files_of(self, path: str) -> list[str]:
        if path in self._files:
            return [path]
        folder = path.rstrip("/") + "/"
        return sorted(name for name in self._files if name.startswith(folder) and is_test_path(name))

    def _excerpt(self, path: str, names: list[str] | None) -> str:
        text = self._files.get(path)
        if text is None:
            return ""
        found = self._file(path, text) if names is not None else None
        shown = found.excerpt(names or []) if found else text
        return f"# {path}\n{shown.strip()}"

    def _file(self, path: str, text: str) -> _TestFile | None:
        if path not in self._parsed:
            self._parsed[path] = _TestFile.read(text)
        return self._parsed[path]


@dataclass(slots=True)
class _TestFile:
    """One parsed test file: its lines, its imports, and which lines define which name."""

    lines: list[str]
    imports: list[ast.stmt] = field(default_factory=list)
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    uses: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> _TestFile | None:
        tree = parse(text) if len(text) <= MAX_FILE_CHARS else None
        if tree is None:
            return None
        found = cls(text.split("\n"))
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found.imports.append(node)
            for name in _defined(node):
                found.definitions.setdefault(name, node)
        return found

    def excerpt(self, names: Iterable[str]) -> str:
        """Return the imports, the named tests, and the definitions these use, in the order of the file."""
        todo = [name for name in names if name in self.definitions]
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo.extend(self._used_by(name))
        nodes = {id(node): node for node in (self.definitions[name] for name in seen)}
        blocks = [self._text(node) for node in sorted(nodes.values(), key=lambda node: node.lineno)]
        return "\n\n".join(filter(None, ["\n".join(map(self._text, self.imports)), *blocks]))

    def _used_by(self, name: str) -> frozenset[str]:
        if name not in self.uses:
            found: set[str] = set()
            for node in ast.walk(self.definitions[name]):
                if isinstance(node, ast.Name):
                    found.add(node.id)
                elif isinstance(node, ast.arg):  # pytest passes fixtures by argument name
                    found.add(node.arg)
            self.uses[name] = frozenset(found & self.definitions.keys())
        return self.uses[name]

    def _text(self, node: ast.stmt) -> str:
        start = node.lineno
        if isinstance(node, _Definition) and node.decorator_list:
            start = min(decorator.lineno for decorator in node.decorator_list)
        return "\n".join(self.lines[start - 1 : node.end_lineno])


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, _Definition):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit].rpartition(chr(10))[0]}\n{CUT}"
