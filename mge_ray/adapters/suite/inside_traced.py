"""Runs in a process of its own: runs tests and writes down which lines each ran, and which function called which.

`python inside_traced.py REQUEST ANSWER`: both files are JSON. How the tests end is not asked here, but by `inside`:
this changes what it watches, since generator functions get a decorator. Imports nothing of mge_ray, whose modules the
package under test must not see.

Calls come from `sys.setprofile`. The caller is the nearest frame below that is the package's, with at most a few frames
of other libraries between: a function handed to `sorted`, or reached through a mix-in of the standard library, is
called by whoever called that. A generator's body starts when it is first asked for a value, by whomever it was given
to; its call is noted where it is made. A callee that every caller had among its own arguments was chosen by somebody
else, often a test, and is left out.
"""

import ast
import builtins
import ctypes
import functools
import importlib.machinery
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, MethodType
from typing import Any

NAME = "_mge_noted_generator"
SUSPENDED = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
MOST_PAIRS = 100_000
PR_SET_PDEATHSIG = 1
MOST_FRAMES_BETWEEN = 6
_compile = importlib.machinery.SourceFileLoader.source_to_code


def main() -> None:
    """Run the tests that are asked for under the watch."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever asked may be killed himself
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    answer = Path(sys.argv[2])
    sys.path[:1] = request["path"]
    sys.argv[:] = ["pytest"]
    answer.write_text(json.dumps(run(request)), "utf-8")


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Return lines by test, by fixture and by what was collected, pairs of calls, and which tests did not pass."""
    import coverage  # noqa: PLC0415 - only once the path is set
    import pytest  # noqa: PLC0415 - the same

    lines = coverage.Coverage(
        data_file=None, include=[str(Path(request["root"], path)) for path in request["files"]], config_file=False
    )
    watch = Watch(request["root"], request["files"])
    contexts = Contexts(lines, request["root"], frozenset(request["selected"]))

    def compiled(loader: Any, data: Any, path: Any, **options: Any) -> Any:  # noqa: ANN401 - importlib's own
        return _compile(loader, watch.marked(data, str(path)), path, **options)

    setattr(builtins, NAME, watch.generator)
    importlib.machinery.SourceFileLoader.source_to_code = compiled  # type: ignore[method-assign, assignment]
    wrapper = pytest.hookimpl(wrapper=True)
    for name in ("make_collect_report", "runtest_protocol", "runtest_setup", "fixture_setup"):
        wrapper(getattr(Contexts, f"pytest_{name}"))
    lines.start()
    threading.setprofile(watch.on_event)
    sys.setprofile(watch.on_event)
    pytest.main(request["arguments"], plugins=[contexts])
    sys.setprofile(None)
    lines.stop()
    return {"calls": watch.told(), **contexts.told(lines.get_data())}


class Watch:
    """What was called by what, as pairs of code objects: their number is bounded, not that of the calls."""

    def __init__(self, root: str, files: list[str]) -> None:
        self._root = root + os.sep
        self._files = frozenset(self._root + name for name in files)
        self._chosen: set[tuple[CodeType, CodeType]] = set()

    def on_event(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call of a function of the package."""
        code = frame.f_code
        if event == "call" and not code.co_flags & SUSPENDED and code.co_filename in self._files:
            self._note(frame.f_back, code)

    def generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a generator function so that its callers are noted."""

        @functools.wraps(function)
        def noting(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            self._note(sys._getframe(1), function.__code__)  # noqa: SLF001 - there is no other way to the caller
            return function(*arguments, **named)

        return noting

    def _note(self, below: FrameType | None, callee: CodeType) -> None:
        for _ in range(MOST_FRAMES_BETWEEN):
            if below is None or below.f_code.co_filename in self._files:
                break
            if below.f_code.co_filename.startswith(self._root):
                return  # a test's own function called it
            below = below.f_back
        if below is None or below.f_code.co_filename not in self._files:
            return
        pair = (below.f_code, callee)
        if pair not in self._chosen and len(self._chosen) < MOST_PAIRS and not _handed_in(below, callee):
            self._chosen.add(pair)

    def marked(self, data: Any, path: str) -> Any:  # noqa: ANN401 - bytes or a tree
        """Return a module's source with the package's generator functions marked."""
        if path in self._files and isinstance(data, bytes):
            return ast.fix_missing_locations(_Marker().visit(ast.parse(data)))
        return data

    def told(self) -> list[list[Any]]:
        """Return [path, line, name, path, line, name] of callers and callees, code at module level left out."""
        pairs = [(*self._place(caller), *self._place(callee)) for caller, callee in self._chosen]
        return [list(one) for one in sorted(set(pairs)) if "<module>" not in {one[2], one[5]}]

    def _place(self, code: CodeType) -> tuple[str, int, str]:
        return code.co_filename.removeprefix(self._root), code.co_firstlineno, code.co_name


def _handed_in(frame: FrameType, callee: CodeType) -> bool:
    code = frame.f_code
    flags = bool(code.co_flags & inspect.CO_VARARGS), bool(code.co_flags & inspect.CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + sum(flags)]
    values = [frame.f_locals.get(name) for name in names]
    values += [one for value in values if type(value) is tuple for one in value]
    return any(_code_of(one) is callee for one in values)


def _code_of(value: object) -> object:
    """Return the code that calling the value runs, where that is Python's."""
    if isinstance(value, functools.partial):
        value = value.func
    if not inspect.isroutine(value):
        value = getattr(type(value), "__call__", None)  # noqa: B004 - the method itself is asked for
    if isinstance(value, MethodType):
        value = value.__func__
    return inspect.unwrap(value).__code__ if inspect.isfunction(value) else None


class Contexts:
    """The pytest plugin that tells coverage which test is running, which file is collected, which fixture is set up."""

    def __init__(self, watch: Any, root: str, selected: frozenset[str]) -> None:  # noqa: ANN401 - imported late
        self._watch = watch
        self._root = root + os.sep
        self._selected = selected
        self._stack: list[str] = [""]
        self._fixtures: dict[str, list[str]] = {}
        self._failed: set[str] = set()

    def _within(self, context: str) -> Iterator[None]:
        self._stack.append(context)
        self._watch.switch_context(context)
        try:
            return (yield)
        finally:
            self._stack.pop()
            self._watch.switch_context(self._stack[-1])

    def pytest_make_collect_report(self, collector: Any) -> Any:  # noqa: ANN401
        """While a file is collected, what runs is that file's."""
        return (yield from self._within(f"collect {collector.nodeid.partition('::')[0]}"))

    def pytest_runtest_protocol(self, item: Any) -> Any:  # noqa: ANN401
        """While a test runs, what runs is the test's."""
        self._fixtures[item.nodeid] = []
        return (yield from self._within(f"test {item.nodeid}"))

    def pytest_runtest_setup(self, item: Any) -> Any:  # noqa: ANN401
        """Note which fixtures a test shares with others; they are only known once it is set up."""
        try:
            return (yield)
        finally:
            shared = getattr(item, "_fixtureinfo", None)
            found = [one for many in (shared.name2fixturedefs.values() if shared else ()) for one in many]
            self._fixtures[item.nodeid] = [_fixture(one) for one in found if one.scope != "function"]

    def pytest_fixture_setup(self, fixturedef: Any) -> Any:  # noqa: ANN401
        """Give what a shared fixture runs to every test that uses it, not only to the first one."""
        if fixturedef.scope == "function":
            return (yield)
        return (yield from self._within(f"fixture {_fixture(fixturedef)}"))

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out what is not asked for."""
        items[:] = [item for item in items if item.nodeid.partition("[")[0] in self._selected]

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401
        """Note a test that does not pass under the watch."""
        if report.failed:
            self._failed.add(report.nodeid.partition("[")[0])

    def told(self, data: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the lines of each test and of each file's collection, and the tests that failed."""
        by_context: dict[str, dict[str, list[int]]] = {}
        for path in data.measured_files():
            name = path.removeprefix(self._root)
            for line, contexts in data.contexts_by_lineno(path).items():
                for context in contexts:
                    by_context.setdefault(context, {}).setdefault(name, []).append(line)
        tests = {}
        for node_id, fixtures in self._fixtures.items():
            lines: dict[str, set[int]] = {}
            for context in [f"test {node_id}", *(f"fixture {one}" for one in fixtures)]:
                for name, numbers in by_context.get(context, {}).items():
                    lines.setdefault(name, set()).update(numbers)
            tests[node_id] = {name: sorted(numbers) for name, numbers in lines.items()}
        collected = {c[len("collect ") :]: lines for c, lines in by_context.items() if c.startswith("collect ")}
        return {"lines": tests, "collected": collected, "failed": sorted(self._failed)}


def _fixture(fixturedef: Any) -> str:  # noqa: ANN401
    return f"{fixturedef.baseid}:{fixturedef.argname}"


class _Marker(ast.NodeTransformer):
    """Puts the decorator on generator functions, innermost; lines stay."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        if _yields(node):
            node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node


def _yields(function: ast.FunctionDef) -> bool:
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending.extend(ast.iter_child_nodes(node))
    return False


if __name__ == "__main__":
    main()
