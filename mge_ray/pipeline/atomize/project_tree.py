"""The files of an existing project that a plan holds: its package, its tests, and where they lie.

Owns reading them from disk, bounded as skeletons are. Paths are relative to the project's root, the nearest folder
around package and tests, so that what tests import and read is where they expect it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mge_ray.domain.atom import workspace_path
from mge_ray.domain.errors import MgeRayError, PlanError
from mge_ray.pipeline.atomize.pytest_options import INI_FILE, carried_options
from mge_ray.pipeline.code_layout import parse_quietly
from mge_ray.pipeline.outline import is_test_path
from mge_ray.pipeline.skeleton_folder import read_skeleton

COMPILED = (".so", ".pyd", ".pyx")
SOURCE_ROOTS = ("", "src/")


class AtomizeError(MgeRayError):
    """A package that no plan can be made of as it is; says what can still be done."""


@dataclass(frozen=True, slots=True)
class ProjectTree:
    """Texts by path; `modules` are the package's own, `tests` where the suite lies (a folder, a file, or nothing)."""

    name: str
    files: Mapping[str, str]
    modules: tuple[str, ...]
    tests: str | None
    compiled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    configured: bool = False
    """Whether its `pytest.ini` is pytest's configuration."""

    def unconfigured(self) -> ProjectTree:
        """Return the tree without a configuration of pytest."""
        files = {name: text for name, text in self.files.items() if name != INI_FILE}
        return replace(self, files=files, configured=False)

    @property
    def source_root(self) -> str:
        """The folder that has to be on the path: "src/" or nothing."""
        return "src/" if self.modules[0].startswith("src/") else ""


def read_project(package: Path, tests: Path | None, include: Iterable[Path] = ()) -> ProjectTree:
    """Read the package (a folder with an __init__.py or one module) with its tests; raises AtomizeError."""
    package = _existing(package, "PACKAGE_DIR")
    _check_package(package)
    more = [_existing(path, "--include") for path in include]
    suite = None if tests is None else _existing(tests, "--tests")
    outside = [path for path in [suite, *more] if path is not None]
    root = Path(os.path.commonpath([package.parent, *(path.parent for path in outside)]))
    if package.parent.name == "src" and root == package.parent:
        root = root.parent
    inside = package.parent.relative_to(root).as_posix()
    if inside not in {".", "src"}:
        raise AtomizeError(
            f"{package}: lies in {inside!r} of {root}, and only the root itself and 'src' are put on the path; "
            f"copy the package and its tests beside each other"
        )
    files: dict[str, str] = {}
    left_out: list[str] = []
    for path in [package, *outside]:
        _add(path, root, files, left_out)
    for folder in {parent for path in outside for parent in path.parents if parent.is_relative_to(root)}:
        for name in ("conftest.py", "__init__.py"):
            if (folder / name).is_file() and (folder != root or name == "conftest.py"):
                _add(folder / name, root, files, left_out)
    _add_siblings(package, root, files, left_out)
    options = None if suite is None else carried_options(root)
    if options is not None:
        files[INI_FILE] = options
    place = package.relative_to(root).as_posix()
    test_place = None if suite is None else suite.relative_to(root).as_posix()
    modules = tuple(sorted(path for path in files if _belongs(path, place) and _is_code(path, place, test_place)))
    compiled = tuple(sorted(name for name in left_out if name.endswith(COMPILED) and _belongs(name, place)))
    return ProjectTree(
        package.stem,
        dict(sorted(files.items())),
        modules,
        test_place,
        compiled,
        tuple(sorted(left_out)),
        configured=options is not None,
    )


def _existing(path: Path, what: str) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise AtomizeError(f"{what}: there is no {str(path)!r}") from None


def _check_package(package: Path) -> None:
    if package.is_file():
        if package.suffix != ".py":
            raise AtomizeError(f"{package}: is no Python module; name a folder with an __init__.py or a .py file")
        return
    if not (package / "__init__.py").is_file():
        raise AtomizeError(f"{package}: has no __init__.py; name the package's own folder, or a single .py file")
    if (package.parent / "__init__.py").is_file():
        raise AtomizeError(f"{package}: is part of the package {package.parent.name!r}; name that folder instead")


def _add(path: Path, root: Path, files: dict[str, str], left_out: list[str]) -> None:
    prefix = path.relative_to(root).as_posix()
    try:
        if path.is_file():
            found = {prefix: path.read_text("utf-8")}
        else:
            inner = read_skeleton(path)
            found = {f"{prefix}/{name}": text for name, text in inner.items()}
            left_out += [f"{prefix}/{name}" for name in _names_below(path) if name not in inner]
        for name in found:
            workspace_path(name)
    except PlanError as error:
        raise AtomizeError(f"{path}: {str(error).removeprefix('skeleton: ')}") from None
    except (OSError, ValueError) as error:
        raise AtomizeError(f"{path}: cannot be read: {error}") from None
    files.update(found)


def _add_siblings(package: Path, root: Path, files: dict[str, str], left_out: list[str]) -> None:
    """Add modules and packages that lie beside the package and that it, or its tests, import by name."""
    seen = {package.stem, *(name.partition("/")[0].removesuffix(".py") for name in files)}
    pending = list(files.items())
    while pending:
        name, text = pending.pop()
        for top in _imported(name, text) - seen:
            seen.add(top)
            beside = [package.parent / top / "__init__.py", package.parent / f"{top}.py"]
            found = next((path for path in beside if path.is_file()), None)
            if found is not None:
                before = set(files)
                _add(found.parent if found.name == "__init__.py" else found, root, files, left_out)
                pending += [(new, files[new]) for new in files.keys() - before]


def _imported(name: str, text: str) -> set[str]:
    """Return the first parts of the modules a file imports; nothing where it is no Python."""
    if not name.endswith(".py"):
        return set()
    try:
        tree, _ = parse_quietly(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _names_below(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [path.relative_to(folder).as_posix() for path in found]


def _belongs(path: str, place: str) -> bool:
    return path == place or path.startswith(place + "/")


def _is_code(path: str, package: str, tests: str | None) -> bool:
    """Return whether the file is the package's own code: no test, nor support for tests inside it."""
    inner = path.removeprefix(package + "/")
    return path.endswith(".py") and not (tests is not None and _belongs(path, tests)) and not is_test_path(inner)
