"""Starts the processes in which a package is imported and its suite is run, and reads what they wrote down.

This executes the package's own code with the user's rights, as running its tests by hand would: in a copy of the files,
with an environment that carries no keys, within a time limit after which the whole process group is ended. It is no
sandbox.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mge_ray.domain.errors import MgeRayError
from mge_ray.pipeline.atomize import Entry, Observations, ObservedTest, ProjectTree
from mge_ray.pipeline.atomize.judging import MOST_REPORTS
from mge_ray.pipeline.atomize.pytest_options import INI_FILE

INSIDE = Path(__file__).with_name("inside.py")
INSIDE_TRACED = Path(__file__).with_name("inside_traced.py")
MOST_WATCHED_S = 1.5
OUTPUT_BYTES = 1 << 20
SHOWN_CHARS = 300
MOST_ANSWER_BYTES = 512 << 20
PYTEST_INTERNAL = {2, 3, 4}


class SuiteError(MgeRayError):
    """The package could not be imported, or its suite did not run to its end."""


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """A module that could not be imported: what was raised, and the innermost function of the package on its way."""

    module: str
    error: str
    entry: Entry
    missing: str | None


@dataclass(frozen=True, slots=True)
class SuiteRecord:
    """The suite's tests, without what they ran, and files that could not be collected with the reason."""

    tests: tuple[ObservedTest, ...]
    uncollected: tuple[tuple[str, str], ...]

    @property
    def passing(self) -> int:
        """How many tests pass."""
        return sum(one.outcome == "passed" for one in self.tests)


def import_package(
    tree: ProjectTree, files: Mapping[str, str], modules: Sequence[str], *, timeout_s: float
) -> tuple[frozenset[Entry], tuple[ImportFailure, ...]]:
    """Import the modules from a copy of `files`; return the functions entered, and what failed. Raises SuiteError."""
    with _copy(files) as root:
        request = {"do": "import", "root": str(root), "path": _path(tree, root), "modules": list(modules)}
        answer = _run(request, root, timeout_s, "importing the package")
    entered = frozenset(Entry(path, line, name) for path, line, name in answer["entered"])
    failures = [
        ImportFailure(one["module"], one["error"], Entry(one["path"], one["line"], one["name"]), one["missing"])
        for one in answer["failures"]
    ]
    return entered, tuple(failures)


def run_suite(tree: ProjectTree, *, timeout_s: float) -> SuiteRecord:
    """Run the tests once, unwatched, from a copy of the files; raises SuiteError where that says nothing."""
    with _copy(tree.files) as root:
        request = {"do": "tests", "root": str(root), "path": _path(tree, root), "arguments": _arguments(tree, root)}
        answer = _run(request, root, timeout_s, "the test suite")
    if answer["code"] in PYTEST_INTERNAL and not answer["tests"] and not answer["uncollected"]:
        raise SuiteError(f"pytest could not run {tree.tests!r} (exit code {answer['code']}); run it by hand to see")
    tests = [
        ObservedTest(one["node_id"], one["outcome"] or "failed", one["seconds"], reports=one["reports"] or 1)
        for one in answer["tests"]
    ]
    return SuiteRecord(tuple(tests), tuple((one["node_id"], one["error"]) for one in answer["uncollected"]))


def watch_suite(
    tree: ProjectTree, observed: Observations, *, timeout_s: float, most_test_s: float = MOST_WATCHED_S
) -> Observations:
    """Run the tests that can judge an atom once more, and note what they run and what calls what.

    Left out are those that take longer than `most_test_s` unwatched, or have more reports than a check can hold. A test
    that fails for being watched judges nothing. Raises SuiteError.
    """
    spoiled = {one.base_id for one in observed.tests if one.outcome == "failed"}
    cost: dict[str, tuple[float, int]] = {}
    for one in observed.tests:
        seconds, reports = cost.get(one.base_id, (0.0, 0))
        cost[one.base_id] = seconds + one.seconds, reports + one.reports
    fit = [n for n, (s, r) in cost.items() if n not in spoiled and s <= most_test_s and r <= MOST_REPORTS]
    with _copy(tree.files) as root:
        request = {
            "root": str(root),
            "path": _path(tree, root),
            "files": list(tree.modules),
            "selected": fit,
            "arguments": _arguments(tree, root),
        }
        answer = _run(request, root, timeout_s, "watching the test suite", INSIDE_TRACED)
    lines = {node_id: _frozen(ran) for node_id, ran in answer["lines"].items()}
    failed = frozenset(answer["failed"])
    tests = [
        replace(
            one,
            lines=lines.get(one.node_id, {}),
            watched=one.node_id in lines and one.base_id not in failed,
        )
        for one in observed.tests
    ]
    return replace(
        observed,
        tests=tuple(tests),
        collected={path: _frozen(ran) for path, ran in answer["collected"].items()},
        calls=frozenset((Entry(*one[:3]), Entry(*one[3:])) for one in answer["calls"]),
    )


def _arguments(tree: ProjectTree, root: Path) -> list[str]:
    """Return what pytest is told: as the sandbox tells it, so that both read the same configuration."""
    ini = str(root / INI_FILE) if tree.configured else os.devnull
    flags = [
        "-q",
        "-s",
        "--tb=line",
        f"--rootdir={root}",
        f"--confcutdir={root}",
        "-c",
        ini,
        "--continue-on-collection-errors",
    ]
    return [*flags, "-p", "no:cacheprovider", "-p", "no:faulthandler", tree.tests or "."]


def _frozen(lines: Mapping[str, Sequence[int]]) -> dict[str, frozenset[int]]:
    return {path: frozenset(numbers) for path, numbers in lines.items()}


def _path(tree: ProjectTree, root: Path) -> list[str]:
    return [str(root / "src"), str(root)] if tree.source_root else [str(root)]


@contextmanager
def _copy(files: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mge-atomize-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve() / "project"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        yield root


def _run(
    request: Mapping[str, object], root: Path, timeout_s: float, what: str, script: Path = INSIDE
) -> dict[str, Any]:
    asked, answer, output = (root.parent / name for name in ("request.json", "answer.json", "output.txt"))
    asked.write_text(json.dumps(request), "utf-8")
    answer.unlink(missing_ok=True)
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-X", "utf8", str(script), str(asked), str(answer)],
            cwd=root,
            env=_environment(root.parent),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise SuiteError(
                f"{what} did not end within {timeout_s:g} s; give it more with --timeout, or name fewer tests"
            ) from None
        finally:
            _end(process)
    if not answer.exists() or answer.stat().st_size > MOST_ANSWER_BYTES:
        raise SuiteError(f"{what} ended the process ({_cause(process.returncode)}){_last_line(output)}")
    found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all it left running in its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(home: Path) -> dict[str, str]:
    """Return all the environment it sees: no keys, no settings of the user's, the same hash seed every time."""
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _last_line(output: Path) -> str:
    with output.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - OUTPUT_BYTES))
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()[:SHOWN_CHARS]}" if lines else ""
