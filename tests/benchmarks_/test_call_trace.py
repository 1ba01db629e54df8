import json
import os
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "benchmarks" / "plugins"
MODULE = """\
def leaf():
    return 1


def numbers():
    yield leaf()


def made():
    return numbers()


def first(values):
    return next(values)


def sorting():
    return sorted([1], key=lambda one: leaf())


leaf()
"""


def test_calls_are_noted_where_they_are_made_and_generators_where_they_are_created(tmp_path):
    (tmp_path / "here.py").write_text(MODULE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(
        "import here\n\ndef test_it():\n    assert here.first(here.made()) == 1\n    here.sorting()\n"
    )
    out = tmp_path / "calls.json"
    environment = {"MGE_TRACE_ROOT": str(tmp_path), "MGE_TRACE_OUT": str(out), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "call_trace", "tests"]
    path = os.pathsep.join([str(tmp_path), str(PLUGIN)])
    subprocess.run(command, cwd=tmp_path, env=os.environ | environment | {"PYTHONPATH": path}, check=True)
    calls = {(caller, callee) for file, caller, _, callee, _ in json.loads(out.read_text()) if file == "here.py"}
    assert calls == {(0, 1), (5, 1), (9, 5), (17, 18), (18, 1)}
