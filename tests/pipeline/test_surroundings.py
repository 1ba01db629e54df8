"""Which edits of a plan's files an atom's key notices, and which it does not."""

from __future__ import annotations

import pytest

from mge_ray.domain.plan import Masterplan
from mge_ray.domain.reuse import ReuseSettings
from mge_ray.pipeline.surroundings import PlanFiles, atom_keys
from tests.builders import atom

FILES = {
    "app/__init__.py": "",
    "app/core.py": "from app.util import helper\n\nLIMIT = 3\n\n\ndef f_a():\n    raise NotImplementedError\n",
    "app/other.py": "import os\n\n\ndef f_b():\n    raise NotImplementedError\n",
    "app/util.py": "def helper():\n    return 1\n",
    "conftest.py": "import pytest\n",
    "data.json": "{}",
    "tests/helpers.py": "TEN = 10\n",
    "tests/test_a.py": (
        "from helpers import TEN\n\nfrom app import core\n\n\ndef shared():\n    return TEN\n\n\n"
        "def test_one():\n    assert core.f_a() == shared()\n\n\ndef test_two():\n    assert test_three\n\n\n"
        "def test_three():\n    assert core.LIMIT\n"
    ),
    "tests/test_b.py": "from app import other\n\n\ndef test_b():\n    assert other.f_b()\n",
}
ATOMS = (
    atom("a", file="app/core.py", tests=("tests/test_a.py::test_one",)),
    atom("two", file="app/core.py", tests=("tests/test_a.py::test_two[x]",)),
    atom("b", file="app/other.py", tests=("tests/test_b.py",)),
    atom("all", file="app/other.py", tests=("tests",)),
)


def around(files=FILES, atoms=ATOMS):
    made = PlanFiles(Masterplan(name="p", atoms=atoms, files=files))
    return {one.id: made.around(one) for one in atoms}


def noticed(path, text, atoms=ATOMS):
    """Return who notices that a file has this text (None: that it is gone), by tests or by files."""
    files = {**FILES, path: text} if text is not None else {name: FILES[name] for name in FILES if name != path}
    before, after = around(atoms=atoms), around(files, atoms)
    return {one for one in before if before[one] != after[one]}


def replaced(path, old, new):
    assert old in FILES[path]
    return path, FILES[path].replace(old, new)


@pytest.mark.parametrize(
    ("edit", "who"),
    [
        (replaced("tests/test_a.py", "f_a() == ", "f_a() >= "), {"a", "all"}),
        (replaced("tests/test_a.py", "assert core.LIMIT", "assert core"), {"two", "all"}),
        (replaced("tests/test_a.py", "return TEN", "return -TEN"), {"a", "two", "all"}),
        (replaced("tests/test_b.py", "f_b()", "f_b"), {"b", "all"}),
        (replaced("tests/helpers.py", "10", "11"), {"a", "two", "all"}),
        (replaced("app/core.py", "LIMIT = 3", "LIMIT = 4"), {"a", "two", "all"}),
        (replaced("app/util.py", "return 1", "return 2"), {"a", "two", "all"}),
        (replaced("conftest.py", "pytest", "os"), {"a", "two", "b", "all"}),
        (("app/__init__.py", "X = 1\n"), {"a", "two", "b", "all"}),
        (("data.json", "[]"), {"a", "two", "b", "all"}),
        (("app/new.py", "import app.core\n"), set()),
        (("tests/test_a.py", FILES["tests/test_a.py"] + "\n\ndef test_four():\n    pass\n"), {"all"}),
        (replaced("app/core.py", "def f_a():\n    raise NotImplementedError\n", "def f_a(x): ...\n"), set()),
        (("app/core.py", FILES["app/core.py"] + "\n\n\ndef f_two():\n    raise NotImplementedError\n"), set()),
    ],
    ids=str,
)
def test_an_edit_is_noticed_by_whoever_it_can_matter_to(edit, who):
    assert noticed(*edit) == who


@pytest.mark.parametrize(
    "line", ["import importlib\n", "from subprocess import run\n", "eval('1')\n", "def broken(:\n"]
)
def test_code_that_may_import_anything_sees_every_file(line):
    files = {**FILES, "app/other.py": FILES["app/other.py"] + line}
    before = around(files)
    after = around({**files, "app/new.py": "X = 1\n"})
    assert {one for one in before if before[one] != after[one]} == {"b", "all"}


def test_imports_that_an_atom_may_add_are_followed():
    atoms = (atom("b", file="app/other.py", imports=("from app import util",)), atom("c", file="app/c.py"))
    assert noticed("app/util.py", "X = 2\n", atoms) == {"b"}


@pytest.mark.parametrize(
    ("statement", "seen"),
    [("from . import util", True), ("from .util import helper", True), ("from .. import app", False)],
)
def test_relative_imports_are_followed(statement, seen):
    atoms = (atom("c", file="app/c.py", imports=(statement,)),)
    assert noticed("app/util.py", "X = 2\n", atoms) == ({"c"} if seen else set())


def test_a_blank_line_inside_a_string_is_text():
    before = {**FILES, "app/util.py": 'T = """a\n\nb"""\n'}
    after = {**FILES, "app/util.py": 'T = """a\nb"""\n'}
    assert around(before)["a"] != around(after)["a"]


def test_files_that_are_no_python_are_taken_as_they_are():
    broken = {**FILES, "tests/test_b.py": "def broken(:\n", "app/util.py": "also broken(:\n"}
    assert around(broken)["b"] != around({**broken, "tests/test_b.py": "def broken((:\n"})["b"]
    assert around(broken)["a"] != around({**broken, "app/util.py": "also broken((:\n"})["a"]


def test_keys_of_a_plan_are_made_of_what_its_checks_see():
    settings = ReuseSettings(provider="live", validator="1")
    made = Masterplan(name="p", atoms=ATOMS, files=FILES)
    other = Masterplan(name="p", atoms=ATOMS, files={**FILES, "tests/test_b.py": FILES["tests/test_b.py"] + "X = 1\n"})
    before, after = atom_keys(made, settings), atom_keys(other, settings)
    assert [one.id for one in ATOMS if before.key(one.id, 0, dict) != after.key(one.id, 0, dict)] == ["b", "all"]
