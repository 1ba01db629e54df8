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


def applied(function):
    return sorted([1], key=function)


def sorting():
    return sorted([1], key=lambda one: leaf())


def same(one):
    return one


leaf()
"""


TEST = """\
import here


def test_it():
    assert here.first(here.made()) == 1
    here.sorting()
    here.applied(here.same)
"""


def test_calls_are_noted_where_they_are_made_and_generators_where_they_are_created(tmp_path):
    (tmp_path / "here.py").write_text(MODULE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(TEST)
    out = tmp_path / "calls.json"
    environment = {"MGE_TRACE_ROOT": str(tmp_path), "MGE_TRACE_OUT": str(out), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "call_trace", "tests"]
    path = os.pathsep.join([str(tmp_path), str(PLUGIN)])
    subprocess.run(command, cwd=tmp_path, env=os.environ | environment | {"PYTHONPATH": path}, check=True)
    rows = [row for row in json.loads(out.read_text()) if row[0] == "here.py"]
    calls = {(caller, callee, handed_in) for _, caller, _, callee, _, handed_in in rows}
    chosen = {(0, 1), (5, 1), (9, 5), (21, 22), (22, 1)}
    assert calls == {(*pair, False) for pair in chosen} | {(17, 25, True)}
