"""`mge-ray atomize` on packages written here: their suites really run."""

from __future__ import annotations

import ast
import json

import pytest

from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.workspace import assemble

CORE = '''"""Core."""
import os


def double(x):
    """Double."""
    return 2 * x  # twice


def start():
    return {"ready": os.name}


STATE = start()


class Box:
    def __init__(self, x):
        self.x = x

    def twice(self):
        return double(self.x)
'''
TESTS = """import os

import pytest
from pkg.core import Box, double


@pytest.fixture(scope="module")
def box():
    return Box(2)


def test_double():
    assert double(2) == 4


def test_twice(box):
    assert box.twice() == 4


def test_x(box):
    assert box.x == 2


@pytest.mark.skip
def test_skipped():
    assert double(0)


def test_no_key_is_passed_on():
    assert not [name for name in os.environ if "KEY" in name]
"""


@pytest.fixture
def project(tmp_path):
    def write(core: str = CORE, tests: str = TESTS, *, root: str = "") -> None:
        package = tmp_path / root / "pkg"
        package.mkdir(parents=True)
        (tmp_path / "tests").mkdir()
        (package / "__init__.py").write_text("from pkg.core import *\n")
        (package / "core.py").write_text(core)
        (tmp_path / "tests" / "test_core.py").write_text(tests)

    return write


@pytest.mark.parametrize("root", ["", "src"])
def test_a_package_becomes_a_plan_and_its_answers_the_package(cli, project, tmp_path, root, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    project(root=root)
    package = f"{root}/pkg".lstrip("/")
    ran = cli("atomize", package, "--tests", "tests", "--out", "plan.json", "--answers", "answers.json")
    assert ran.code == 0, ran.err
    assert "2 atoms in 2 waves" in ran.out
    assert "runs while the package is imported 1" in ran.out
    plan = load_plan(tmp_path / "plan.json")
    assert [(atom.symbol, atom.tests) for atom in plan.atoms] == [
        ("double", ("tests/test_core.py::test_double",)),
        ("Box", ("tests/test_core.py::test_x", "tests/test_core.py::test_twice")),
    ]
    assert plan.acceptance_tests == ("tests",)
    rebuilt = assemble(plan, json.loads((tmp_path / "answers.json").read_text()))
    assert ast.dump(ast.parse(rebuilt[f"{package}/core.py"])) == ast.dump(ast.parse(CORE))
    assert cli("check", "plan.json").code == 0


def test_failing_tests_are_named_and_can_be_left_out(cli, project, tmp_path):
    project(tests=TESTS + "\n\ndef test_wrong():\n    assert double(1) == 3\n")
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json")
    assert ran.code == 2
    assert "1 of the tests fail already: tests/test_core.py::test_wrong" in ran.err
    assert cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json", "--allow-failing").code == 0
    assert "tests/test_core.py::test_wrong" not in load_plan(tmp_path / "plan.json").acceptance_tests


def test_a_test_the_sandbox_forbids_judges_nothing(cli, project, tmp_path):
    many = "\n\ndef test_file():\n    assert double(1)\n    open('big', 'wb').truncate(1 << 30)\n"
    project(tests=TESTS + many)
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json")
    assert "left out (tests/test_core.py::test_file)" in ran.out
    plan = load_plan(tmp_path / "plan.json")
    assert "tests/test_core.py::test_file" not in {test for atom in plan.atoms for test in atom.tests}


CALLS = """class Table:
    def __init__(self, rows):
        self.rows = rows
        self.first = 1
        self.second = 2
        self.third = 3
        self.fourth = 4

    def __getitem__(self, at):
        return self.rows[at]

    def __contains__(self, one):
        return one in self.rows

    def __len__(self):
        return len(self.rows)


def upto(n):
    yield from range(n)


HANDLERS = {"all": upto}


def pick(things, at):
    return things[at]


def run(name, n):
    return list(HANDLERS[name](n))


def apply(f, x):
    return f(x)
"""
CALLS_CHECKS = """import beside
from pkg.core import Table, apply, pick, run, upto


def check_pick():
    assert pick(Table([beside.SEVEN]), 0) == 7
    assert 7 in Table([7])
    assert len(Table([7])) == 1


def check_upto():
    assert list(upto(1)) == [0]


def check_run():
    assert run("all", 2) == [0, 1]


def check_apply():
    assert apply(len, Table([1])) == 1
"""


def test_seen_calls_pytest_options_and_modules_beside_find_their_way_into_the_plan(cli, project, tmp_path):
    project(CALLS, "def test_not_collected():\n    assert False\n")
    (tmp_path / "tests" / "check_core.py").write_text(CALLS_CHECKS)
    (tmp_path / "beside.py").write_text("SEVEN = 7\n")
    options = (
        "python_files = check_*.py\npython_functions = check_*\naddopts = --no-such-option --import-mode=importlib\n"
    )
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{options}")
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json")
    assert ran.code == 0, ran.err
    assert "the project's own options are carried in pytest.ini" in ran.out
    plan = load_plan(tmp_path / "plan.json")
    rests_on = {atom.symbol: {plan.by_id[one].symbol for one in atom.depends_on} for atom in plan.atoms}
    assert "Table" in rests_on["pick"]
    assert "upto" in rests_on["run"]
    assert "beside.py" in plan.files
    assert "no-such-option" not in plan.files["pytest.ini"]
    assert "--import-mode=importlib" in plan.files["pytest.ini"]


def test_pytest_options_under_which_less_passes_are_left_out(cli, project, tmp_path):
    warning = "\n\ndef test_warns():\n    import warnings\n    warnings.warn('old')\n    assert double(1) == 2\n"
    project(tests=TESTS + warning)
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\nfilterwarnings = error\n")
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json")
    assert ran.code == 0, ran.err
    assert "are left out: more tests pass without" in ran.out
    assert "pytest.ini" not in load_plan(tmp_path / "plan.json").files


def test_neither_a_test_file_nor_a_module_that_cannot_be_imported_stops_the_others(cli, project, tmp_path):
    project()
    (tmp_path / "pkg" / "other_platform.py").write_text("assert False\n\n\ndef f():\n    return 1\n")
    (tmp_path / "tests" / "test_broken.py").write_text("import no_such_thing\n")
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json", "--allow-failing")
    assert ran.code == 0, ran.err
    assert "1 left out (tests/test_broken.py)" in ran.out
    assert load_plan(tmp_path / "plan.json").acceptance_tests == ("tests/test_core.py",)


@pytest.mark.parametrize(
    "case",
    [
        (CORE, TESTS, ("--all", "--keep-weak"), "contradict each other"),
        ("def f(:\n", TESTS, (), "pkg/core.py:1: is not valid Python"),
        ("import no_such_thing\n", TESTS, (), "install 'no_such_thing' beside mge-ray"),
        ("raise SystemExit(3)\n", TESTS, (), "cannot be imported"),
        ("import os\nos._exit(0)\n", TESTS, (), "ended the process"),
        (CORE, "X = 1\n", (), "holds no test that pytest finds"),
        (CORE, "import pytest\npytest.skip(allow_module_level=True)\n", (), "no test"),
        (CORE, "import missing_helper\n", (), "1 of the tests fail already: tests/test_core.py"),
        (CORE, "import time\ndef test_x():\n    time.sleep(60)\n", ("--timeout", "3"), "did not end within 3 s"),
        ("X = 1\n", "def test_x():\n    pass\n", (), "can be an atom"),
    ],
    ids=["flags", "syntax", "missing", "exit", "killed", "empty", "skipped", "uncollected", "endless", "nothing"],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, project, case):
    core, tests, options, expected = case
    project(core, tests)
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json", *options)
    assert ran.code == 2, ran.out
    assert expected in ran.err
    assert ran.err.count("\n") == 1


def test_paths_that_do_not_fit_are_one_line(cli, project, tmp_path):
    project()
    (tmp_path / "notes.txt").write_text("")
    for arguments, expected in [
        (("nowhere", "--tests", "tests"), "there is no 'nowhere'"),
        (("pkg", "--tests", "nowhere"), "there is no 'nowhere'"),
        (("tests", "--tests", "tests"), "has no __init__.py"),
        (("notes.txt", "--tests", "tests"), "is no Python module"),
        (("pkg",), "say --no-tests"),
    ]:
        ran = cli("atomize", *arguments, "--out", "plan.json")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert expected in ran.err


def test_an_enormous_tree_is_refused_unread(cli, project, tmp_path):
    project()
    with (tmp_path / "pkg" / "data.txt").open("wb") as data:
        data.truncate(65 << 20)
    ran = cli("atomize", "pkg", "--tests", "tests", "--out", "plan.json")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "hold more than 64 MiB" in ran.err


def test_c_extensions_are_named_when_the_package_needs_them(cli, project, tmp_path):
    project(core="from pkg._fast import double\n")
    (tmp_path / "pkg" / "_fast.so").write_bytes(b"\x7fELF\0")
    ran = cli("atomize", "pkg", "--no-tests", "--out", "plan.json")
    assert ran.code == 2
    assert "C extensions (pkg/_fast.so)" in ran.err


def test_a_single_module_without_tests_becomes_a_plan_on_request(cli, tmp_path):
    (tmp_path / "one.py").write_text("def f():\n    return 1\n")
    ran = cli("atomize", "one.py", "--no-tests", "--out", "plan.json")
    assert ran.code == 0, ran.err
    assert "1 atoms have no test of their own (one:f)" in ran.out
