"""Runs the requested tests with pytest in this process and says what happened to each, as plain data.

It shares the interpreter with the candidate, so a hostile candidate can forge the record about itself. It cannot
reach the judge of the next check, which is forked afresh from a runner that never saw the candidate.
"""

import base64
import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .kept_outcomes import FUNCTIONS_BYTES, KeptOutcomes, fitting
from .node_ids import covers

MESSAGE_CHARS = 2000
_NODE_ID_CHARS = 300
_CHECKED_BY_HASH = b"\x03\x00\x00\x00"  # the flags of a bytecode file that names its source by hash
warmed_modules: set[str] = set()  # loaded by the runner to save time and by nobody else
Place = tuple[str, "str | None", "int | None"]  # message, path, line
_INI_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")


def judge(request: dict[str, Any], workspace: Path, plugins: Sequence[object] = ()) -> dict[str, Any]:
    """Write the workspace, import what is to be imported, run the tests; return a record for JSON."""
    unwritable = _write(request["files"], workspace)
    if unwritable is not None:
        return {"outcomes": [], "note": unwritable}
    _lay_bytecode_beside(request.get("compiled", {}), workspace)
    _unload_what_the_workspace_names(workspace)
    sys.path.insert(0, str(workspace))
    sys.argv[:] = ["pytest"]
    importlib.invalidate_caches()
    recorder = Recorder(workspace, request["tests"])
    for name in request["import_modules"]:
        recorder.import_module(name)
    if recorder.kept.failed or not request["tests"]:
        return recorder.kept.record()
    tracers: list[Any] = []
    if request.get("trace"):
        from . import tracing  # noqa: PLC0415 - imports pytest

        tracers.append(tracing.Tracer(workspace))
    note = _run_pytest(recorder, request["tests"], workspace, [*plugins, *tracers])
    recorder.add_missing(note)
    functions = fitting(tracers[0].functions(recorder.kept.failed), FUNCTIONS_BYTES) if tracers else []
    record = recorder.kept.record()
    return {**record, "note": note or record["note"], "functions": functions}


def _write(files: dict[str, str], workspace: Path) -> str | None:
    made: set[str] = set()
    for name, text in files.items():
        path = os.path.join(workspace, name)  # noqa: PTH118 - a third of the time for as many files
        folder = os.path.dirname(path)  # noqa: PTH120
        try:
            if folder not in made:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103
                made.add(folder)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            with os.fdopen(fd, "wb", buffering=0) as file:
                file.write(text.encode("utf-8", "surrogatepass"))
        except OSError as error:
            return f"{name[:_NODE_ID_CHARS]} cannot be written: {error.strerror}"
    return None


def _lay_bytecode_beside(compiled: dict[str, str], workspace: Path) -> None:
    """Write what was compiled ahead where pytest's import hook looks for it; one of another format is ignored by it."""
    if not compiled:
        return
    from _pytest.assertion.rewrite import PYC_TAIL  # noqa: PLC0415 - the hook's own

    for name, code in compiled.items():
        source = workspace / name
        folder = source.parent / "__pycache__"
        with contextlib.suppress(OSError):
            source_hash = importlib.util.source_hash(source.read_bytes())
            folder.mkdir(exist_ok=True)
            bytecode = importlib.util.MAGIC_NUMBER + _CHECKED_BY_HASH + source_hash + base64.b64decode(code)
            (folder / (source.stem + PYC_TAIL)).write_bytes(bytecode)


def _unload_what_the_workspace_names(workspace: Path) -> None:
    """Let a workspace with a queue.py of its own import that one, as in a Python that was not warmed up."""
    for name in {path.name.partition(".")[0] for path in workspace.iterdir()} & warmed_modules:
        for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            del sys.modules[module]


def _run_pytest(recorder: "Recorder", tests: Sequence[str], workspace: Path, more: Sequence[object]) -> str:
    import pytest  # noqa: PLC0415 - warm already, except in a cold run

    from . import selection, warm_pytest  # noqa: PLC0415 - they import it too

    paths = list(dict.fromkeys(test.split("::", 1)[0] for test in tests))
    present = [path for path in paths if (workspace / path).exists()]
    if not present:
        return ""
    arguments = [f"--rootdir={workspace}", f"--confcutdir={workspace}"]
    if not any((workspace / name).exists() for name in _INI_FILES):
        arguments += ["-c", os.devnull]  # or pytest would look for one above the workspace
    plugins = [selection.Selection(tests, recorder, *more), recorder, *more]
    if warm_pytest.run([*arguments, *present], plugins, workspace) == pytest.ExitCode.USAGE_ERROR:
        return "pytest refused its arguments or its configuration, see the output"
    return recorder.internal_error


class Recorder:
    """The pytest plugin that notes an outcome for each test, with the deepest frame inside the workspace."""

    def __init__(self, workspace: Path, tests: Sequence[str]) -> None:
        self.kept = KeptOutcomes(tests)
        self.internal_error = ""
        self._workspace = workspace
        self._uncollected: dict[str, Place] = {}

    def import_module(self, name: str) -> None:
        """Import; an error is an outcome of its own."""
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - SystemExit at import is a failure like any other
            self.kept.add(f"import {name}", "error", *self._describe(error), ran=False)

    def pytest_exception_interact(self, call: Any, report: Any) -> None:  # noqa: ANN401
        """Describe an error while the exception is at hand: after a test's report, before a collector's."""
        place = self._describe(call.excinfo.value)
        if report.when == "collect":
            self._uncollected[report.nodeid] = place
        else:
            self.kept.amend_last(*place)

    def pytest_collectreport(self, report: Any) -> None:  # noqa: ANN401
        """Remember files that could not be collected."""
        if report.failed:
            self._uncollected.setdefault(report.nodeid, (_short(str(report.longrepr)), report.nodeid, None))

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401
        """One outcome per test: its call, or the first phase that went wrong."""
        if report.failed:
            outcome = "failed" if report.when == "call" else "error"
            self.kept.add(report.nodeid, outcome, _short(str(report.longrepr)), None, None, ran=True)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
            self.kept.add(report.nodeid, "skipped", _short(reason), None, None, ran=True)
        elif report.when == "call":
            self.kept.add(report.nodeid, "passed", "", None, None, ran=True)

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:  # noqa: ANN401
        """Treat KeyboardInterrupt and pytest.exit, which the candidate may raise, as what they are: an early end."""
        self.pytest_internalerror(excinfo)

    def pytest_internalerror(self, excinfo: Any) -> None:  # noqa: ANN401
        """Say where the SystemExit came from that ended the session while a file was collected."""
        place = self._describe(excinfo.value)
        self.internal_error = place[0]
        for test in self.kept.missing:
            self._uncollected.setdefault(test.split("::", 1)[0], place)

    def add_missing(self, note: str) -> None:
        """Give every requested test that left no outcome one: an error with the reason it did not run."""
        for test in self.kept.missing:
            path = test.split("::", 1)[0]
            reasons = [place for node, place in self._uncollected.items() if node == path or covers(path, node)]
            if reasons:
                place = reasons[0]
            elif not (self._workspace / path).exists():
                place = (f"{path} does not exist", None, None)
            else:
                place = (note or f"{test} was not collected: no test of this name", path, None)
            self.kept.add(test, "error", *place, ran=False)

    def _describe(self, error: BaseException) -> Place:
        error = _root_cause(error)
        path: str | None = None
        line: int | None = None
        for file, number in _frames(error):
            inside = self._inside(file)
            if inside is not None:
                path, line = inside, number
        try:
            text = "".join(traceback.format_exception_only(type(error), error)).strip()
        except BaseException:  # noqa: BLE001 - a hostile __str__
            text = type(error).__name__
        message = _short(text.replace(f"{self._workspace}/", ""))
        if path is not None:
            message = f"{message} ({path}:{line})"
        return message, path, line

    def _inside(self, file: str) -> str | None:
        try:
            return Path(file).resolve().relative_to(self._workspace.resolve()).as_posix()
        except (ValueError, OSError):
            return None


def _root_cause(error: BaseException) -> BaseException:
    """Look behind pytest's CollectError, which a file that cannot be collected raises from what really happened."""
    while type(error).__name__ == "CollectError" and (error.__cause__ or error.__context__) is not None:
        error = error.__cause__ or error.__context__ or error
    return error


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    step: TracebackType | None = error.__traceback__
    while step is not None:
        yield step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno


def _short(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS else f"{text[: MESSAGE_CHARS - 20]} ... (cut)"
