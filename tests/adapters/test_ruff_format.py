"""Formatting by the real ruff."""

import pytest

from mge_ray.adapters import ruff_format
from mge_ray.adapters.ruff_format import format_plan, format_project
from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.workspace import assemble

STUBS = "def f():\n    raise NotImplementedError\n\n\ndef g():\n    raise NotImplementedError\n"
UNTIDY = STUBS.replace("\n\n\n", "\n") + "x = {'a':1}\n"
CODE = "def f( ) :\n  return {'a' : 'a text that is long enough to be wrapped at sixty columns'}\n"
TIDY = 'def f():\n    return {"a": "a text that is long enough to be wrapped at sixty columns"}\n'


def project(files, code=CODE, **more):
    plan = Masterplan(
        name="p", atoms=(AtomicUnit(id="f", file="m.py", symbol="f", description="f", **more),), files=files
    )
    return format_project(plan, {"f"}, assemble(plan, {"f": code}))


def test_a_module_whose_skeleton_is_formatted_comes_out_formatted():
    done = project({"m.py": STUBS})
    assert (done.files["m.py"], done.problems) == (TIDY + STUBS[STUBS.index("\n\ndef g") :], ())


def test_a_module_without_skeleton_comes_out_formatted():
    assert project({}, "import os,  sys\n" + CODE, imports=("import os, sys",)).files["m.py"] == (
        "import os, sys\n\n\n" + TIDY
    )


def test_of_a_module_that_is_not_formatted_only_the_atoms_lines_change():
    assert project({"m.py": UNTIDY}).files["m.py"] == TIDY + UNTIDY[UNTIDY.index("def g") :]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.ruff]\nline-length = 60\nformat.quote-style = 'single'\n"),
        ("ruff.toml", "line-length = 60\nformat.quote-style = 'single'\n"),
    ],
)
def test_the_project_s_own_configuration_counts(name, text):
    done = project({"m.py": STUBS, name: text})
    assert done.files["m.py"].startswith("def f():\n    return {\n        'a': 'a text that")


def test_modules_the_configuration_leaves_out_stay():
    done = project({"m.py": STUBS, "ruff.toml": "exclude = ['m.py']\n"})
    assert (done.files["m.py"].startswith(CODE), done.problems) == (True, ())


def test_a_configuration_that_is_wrong_leaves_everything_as_it_is_and_is_told():
    done = project({"m.py": STUBS, "ruff.toml": "line-length = 'long'\n"})
    assert done.files["m.py"].startswith(CODE)
    assert len(done.problems) == 1
    assert "ruff format ended with 2" in done.problems[0]
    assert "/tmp" not in done.problems[0]  # noqa: S108


def test_code_in_docstrings_that_would_change_is_kept_and_told():
    code = "def f():\n    '''F.\n\n    >>> f( )\n    '''\n    return  1\n"
    done = project({"m.py": STUBS, "ruff.toml": "format.docstring-code-format = true\n"}, code)
    assert done.files["m.py"].startswith(code)
    assert done.problems == ("m.py is not formatted: formatting would change more than its layout",)


def test_too_much_to_format_is_left_alone(monkeypatch):
    monkeypatch.setattr(ruff_format, "MOST_CHARS", 10)
    done = project({"m.py": STUBS})
    assert done.files["m.py"].startswith(CODE)
    assert done.problems == ("m.py is too large to be formatted",)


def test_without_ruff_the_project_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(ruff_format, "ruff_binary", lambda: "/nowhere/ruff")
    done = project({"m.py": STUBS})
    assert done.files["m.py"].startswith(CODE)
    assert done.problems[0].startswith("nothing was formatted: ")


def test_a_planned_skeleton_is_formatted_with_its_tests():
    plan = Masterplan(
        name="p",
        atoms=(AtomicUnit(id="f", file="m.py", symbol="f", description="f", tests=("test_m.py::test_f",)),),
        files={"m.py": UNTIDY, "test_m.py": "def test_f(): assert  1\n", "note.md": "x  = 1\n"},
    )
    tidy = format_plan(plan)
    assert tidy.files["m.py"] == STUBS + '\n\nx = {"a": 1}\n'
    assert tidy.files["test_m.py"] == "def test_f():\n    assert 1\n"
    assert tidy.files["note.md"] == "x  = 1\n"
    assert tidy.atoms == plan.atoms
    assert format_plan(tidy) is tidy
