"""Runs in a process of its own: imports a package, or runs its suite under coverage, and writes down what ran.

`python inside.py REQUEST ANSWER`: both files are JSON. Imports nothing of mge_ray, whose modules the package under
test must not see.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MESSAGE_CHARS = 500


def main() -> None:
    """Do what the request asks."""
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    answer = Path(sys.argv[2])
    sys.path[:1] = request["path"]
    sys.argv[:] = ["pytest"]
    work = import_modules if request["do"] == "import" else run_tests
    answer.write_text(json.dumps(work(request)), "utf-8")


def import_modules(request: dict[str, Any]) -> dict[str, Any]:
    """Import every module and note which functions were entered meanwhile."""
    root = request["root"] + os.sep
    entered: set[tuple[str, int, str]] = set()

    def enter(frame: Any, event: str, _: Any) -> None:  # noqa: ANN401 - the interpreter's frames
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(root):
            entered.add((code.co_filename[len(root) :], code.co_firstlineno, code.co_name))

    failures = []
    for name in request["modules"]:
        sys.setprofile(enter)
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - SystemExit at import is a failure like any other
            sys.setprofile(None)
            failures.append({"module": name, **_told(error, root)})
        finally:
            sys.setprofile(None)
    return {"entered": sorted(entered), "failures": failures}


def _told(error: BaseException, root: str) -> dict[str, Any]:
    place: dict[str, Any] = {"path": "", "line": 0, "name": ""}
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename.startswith(root):
            place = {"path": code.co_filename[len(root) :], "line": code.co_firstlineno, "name": code.co_name}
        step = step.tb_next
    text = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
    return {"error": (text[-1] if text else type(error).__name__)[:MESSAGE_CHARS], "missing": missing, **place}


def run_tests(request: dict[str, Any]) -> dict[str, Any]:
    """Run the suite and return each test's outcome, time and lines."""
    import coverage  # noqa: PLC0415 - an import run does without
    import pytest  # noqa: PLC0415 - the same

    watch = coverage.Coverage(
        data_file=None, include=[os.path.join(request["root"], path) for path in request["files"]], config_file=False
    )
    plugin = Contexts(watch, request["root"])
    watch.start()
    arguments = ["-q", "-s", "--tb=line", f"--rootdir={request['root']}", f"--confcutdir={request['root']}"]
    arguments += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "-c", os.devnull, request["tests"]]
    code = int(pytest.main(arguments, plugins=[plugin]))
    watch.stop()
    return {"code": code, "uncollected": plugin.uncollected, **plugin.told(watch.get_data())}


class Contexts:
    """The pytest plugin that tells coverage which test is running, which file is collected, which fixture is set up."""

    def __init__(self, watch: Any, root: str) -> None:  # noqa: ANN401 - coverage is imported late
        self._watch = watch
        self._root = root + os.sep
        self._stack: list[str] = [""]
        self._tests: dict[str, dict[str, Any]] = {}
        self.uncollected: list[dict[str, str]] = []

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
        self._tests[item.nodeid] = {"outcome": "", "seconds": 0.0, "fixtures": []}
        return (yield from self._within(f"test {item.nodeid}"))

    def pytest_runtest_setup(self, item: Any) -> Any:  # noqa: ANN401
        """Note which fixtures a test shares with others; they are only known once it is set up."""
        try:
            return (yield)
        finally:
            shared = getattr(item, "_fixtureinfo", None)
            found = [one for many in (shared.name2fixturedefs.values() if shared else ()) for one in many]
            self._tests[item.nodeid]["fixtures"] = [_fixture(one) for one in found if one.scope != "function"]

    def pytest_fixture_setup(self, fixturedef: Any) -> Any:  # noqa: ANN401
        """What a shared fixture runs is every test's that uses it, not only the first one's."""
        if fixturedef.scope == "function":
            return (yield)
        return (yield from self._within(f"fixture {_fixture(fixturedef)}"))

    def pytest_collectreport(self, report: Any) -> None:  # noqa: ANN401
        """Note files that could not be collected."""
        if report.failed:
            text = str(report.longrepr).strip().splitlines()
            self.uncollected.append({"node_id": report.nodeid, "error": (text[-1] if text else "")[:MESSAGE_CHARS]})

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401
        """Keep the worst of a test's phases; an expected failure counts as skipped."""
        record = self._tests.setdefault(report.nodeid, {"outcome": "", "seconds": 0.0, "fixtures": []})
        record["seconds"] += report.duration
        if report.failed:
            record["outcome"] = "failed"
        elif (report.skipped or hasattr(report, "wasxfail")) and record["outcome"] != "failed":
            record["outcome"] = "skipped"
        elif report.when == "call" and not record["outcome"]:
            record["outcome"] = "passed"

    def told(self, data: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return tests with their lines, and the lines of each file's collection."""
        by_context: dict[str, dict[str, list[int]]] = {}
        for path in data.measured_files():
            name = path[len(self._root) :] if path.startswith(self._root) else path
            for line, contexts in data.contexts_by_lineno(path).items():
                for context in contexts:
                    by_context.setdefault(context, {}).setdefault(name, []).append(line)
        tests = []
        for node_id, record in self._tests.items():
            lines: dict[str, set[int]] = {}
            for context in [f"test {node_id}", *(f"fixture {one}" for one in record["fixtures"])]:
                for name, numbers in by_context.get(context, {}).items():
                    lines.setdefault(name, set()).update(numbers)
            tests.append(
                {
                    "node_id": node_id,
                    "outcome": record["outcome"] or "failed",
                    "seconds": record["seconds"],
                    "lines": {name: sorted(numbers) for name, numbers in lines.items()},
                }
            )
        collected = {c[len("collect ") :]: lines for c, lines in by_context.items() if c.startswith("collect ")}
        return {"tests": tests, "collected": collected}


def _fixture(fixturedef: Any) -> str:  # noqa: ANN401
    return f"{fixturedef.baseid}:{fixturedef.argname}"


def _hooks() -> None:
    """Mark the wrappers; pytest is only there when a suite runs."""
    import pytest  # noqa: PLC0415 - an import run does without

    wrapper = pytest.hookimpl(wrapper=True)
    for name in ("make_collect_report", "runtest_protocol", "runtest_setup", "fixture_setup"):
        wrapper(getattr(Contexts, f"pytest_{name}"))


if __name__ == "__main__":
    if json.loads(Path(sys.argv[1]).read_text("utf-8"))["do"] != "import":
        _hooks()
    main()
