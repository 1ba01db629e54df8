"""Runs in a process of its own: imports a package, or runs its suite as it is, and writes down how that ended.

`python inside.py REQUEST ANSWER`: both files are JSON. Imports nothing of mge_ray, whose modules the package under
test must not see.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

MESSAGE_CHARS = 500
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do what the request asks."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever asked may be killed himself
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
    """Run the suite and return each test's outcome and time."""
    import pytest  # noqa: PLC0415 - an import run does without

    plugin = Outcomes()
    code = int(pytest.main(request["arguments"], plugins=[plugin]))
    return {"code": code, "uncollected": plugin.uncollected, "tests": list(plugin.tests.values())}


class Outcomes:
    """The pytest plugin that keeps how each test ended."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self.uncollected: list[dict[str, str]] = []

    def pytest_collectreport(self, report: Any) -> None:  # noqa: ANN401
        """Note files that could not be collected."""
        if report.failed:
            text = str(report.longrepr).strip().splitlines()
            self.uncollected.append({"node_id": report.nodeid, "error": (text[-1] if text else "")[:MESSAGE_CHARS]})

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401
        """Keep the worst of a test's phases; an expected failure counts as skipped."""
        unseen = {"node_id": report.nodeid, "outcome": "", "seconds": 0.0, "reports": 0}
        record = self.tests.setdefault(report.nodeid, unseen)
        record["seconds"] += report.duration
        record["reports"] += report.when == "call"
        if report.failed:
            record["outcome"] = "failed"
        elif (report.skipped or hasattr(report, "wasxfail")) and record["outcome"] != "failed":
            record["outcome"] = "skipped"
        elif report.when == "call" and not record["outcome"]:
            record["outcome"] = "passed"


if __name__ == "__main__":
    main()
