"""Which imports of a candidate resolve, told without importing anything.

An import may name a module of the workspace (with a name that module binds), the standard library, or a distribution
that is installed where checks run and allowed there.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder

from mge_ray.pipeline.code_layout import bound_name, parse_quietly, text_of

ROOTS = ("", "src/")
_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def unresolved_imports(
    tree: ast.Module, path: str, files: Mapping[str, str], allowed: Collection[str] | None
) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for every import in `tree`, to be placed in `path`, that would fail when it runs."""
    for node in _imports(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                problem = _module_problem(alias.name, files, allowed)
                if problem:
                    yield node.lineno, problem
            continue
        module = node.module or ""
        if node.level:
            package = _package_of(path).split(".") if _package_of(path) else []
            if node.level > len(package):
                yield node.lineno, f"`{text_of(node)}` leaves the package of {path!r}"
                continue
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *([module] if module else [])])
        problem = _module_problem(module, files, allowed)
        if problem:
            yield node.lineno, problem
            continue
        for alias in node.names:
            if not _provides(module, alias.name, files):
                yield node.lineno, f"module {module!r} of the workspace does not define {alias.name!r}"


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield imports at any depth, but those a `try` guards against their failing and those for type checkers."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try) and any(_catches_import_errors(handler) for handler in node.handlers):
            pending.extend([*node.handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.If) and text_of(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
        elif not isinstance(node, ast.expr):
            pending.extend(ast.iter_child_nodes(node))


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or any(
        isinstance(node, ast.Name) and node.id in _IMPORT_ERRORS for node in ast.walk(handler.type)
    )


def _module_problem(module: str, files: Mapping[str, str], allowed: Collection[str] | None) -> str | None:
    top = module.partition(".")[0]
    if _in_workspace(top, files):
        return None if _in_workspace(module, files) else f"the workspace has no module {module!r}"
    if top in sys.stdlib_module_names:
        return None
    if not _is_installed(top):
        if _is_somewhere(top, files):
            return None
        return f"no module named {top!r}: neither the standard library, nor the workspace, nor installed"
    if allowed is not None and top not in allowed:
        return f"the package {top!r} may not be used here"
    return None


def _in_workspace(module: str, files: Mapping[str, str]) -> bool:
    stem = module.replace(".", "/")
    for root in ROOTS:
        if f"{root}{stem}.py" in files or f"{root}{stem}/__init__.py" in files:
            return True
    return any(path.startswith(tuple(f"{root}{stem}/" for root in ROOTS)) for path in files if path.endswith(".py"))


def _is_somewhere(top: str, files: Mapping[str, str]) -> bool:
    """Return whether some folder of the workspace holds it: the plan may put that folder on the path."""
    return any(f"/{top}/" in path or path.endswith(f"/{top}.py") for path in files)


def _provides(module: str, name: str, files: Mapping[str, str]) -> bool:
    """Return whether `from module import name` can work; True wherever it cannot be told."""
    if name == "*" or _in_workspace(f"{module}.{name}" if module else name, files):
        return True
    stem = module.replace(".", "/")
    for root in ROOTS:
        for path in (f"{root}{stem}/__init__.py", f"{root}{stem}.py"):
            if path in files:
                bound = _bound(files[path])
                return bound is None or name in bound
    return not _in_workspace(module, files)


@lru_cache(maxsize=512)
def _bound(text: str) -> frozenset[str] | None:
    """Return the names a module binds at its top level, None if that cannot be told without running it."""
    try:
        tree, _ = parse_quietly(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: set[str] = {"__name__", "__file__", "__doc__", "__path__"}
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        name = bound_name(node) if isinstance(node, ast.stmt) else None
        if name:
            found.add(name)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))
    dynamic = {"*", "__getattr__"} & found or any(word in text for word in ("globals()", "exec(", "sys.modules"))
    return None if dynamic else frozenset(found)


def _package_of(path: str) -> str:
    folder = path.removeprefix("src/").rpartition("/")[0]
    return folder.replace("/", ".")


@lru_cache(maxsize=1024)
def _is_installed(top: str) -> bool:
    paths = sysconfig.get_paths()
    return PathFinder.find_spec(top, list({paths["purelib"], paths["platlib"]})) is not None
