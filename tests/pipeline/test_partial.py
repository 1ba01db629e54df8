"""A project that is not finished: what is missing is named, and what is there can be imported."""

import subprocess
import sys

import pytest

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.partial import mark_partial
from mge_ray.pipeline.report import AtomReport, ExecutionReport
from mge_ray.pipeline.workspace import assemble

MODULE = '''\
from typing import overload


@overload
def f(x: int) -> int: ...
@overload
def f(x: str) -> str: ...
def f(x):
    """é."""
    raise NotImplementedError


class C:
    def g(self): pass

    def h(self):
        return 1

    def there(self): raise NotImplementedError("now")
'''


def unit(symbol, **more):
    return AtomicUnit(id=f"id:{symbol}", file=more.pop("file", "m.py"), symbol=symbol, description=symbol, **more)


def report(plan, **atoms):
    fields = {name: 0 for name, one in ExecutionReport.model_fields.items() if one.is_required()}
    calls = {"answers": 0, "billed_without_answer": 0, "unknown_spend": 0, "not_billed": 0, "by_kind": {}}
    told = [atoms.get(atom.symbol, {}) for atom in plan.atoms]
    texts = {"execution_id": "0123456789", "masterplan_id": "", "name": "", "status": "paused", "reason": "budget"}
    lists = {"acceptance_errors": (), "waves": (), "acceptance_passed": None, "budget_usd": None, "calls": calls}
    rows = [
        AtomReport(
            atom_id=atom.id, wave_id=1, status=one.get("status", "pending"), cause=one.get("cause", ""), attempts=(),
            transport_errors=0, total_cost_usd=0, unknown_cost_usd=0, total_time_seconds=0,
        )
        for atom, one in zip(plan.atoms, told, strict=True)
    ]  # fmt: skip
    flags = {"partial": True, "simulated": True, "success_after_retry": None}
    return ExecutionReport(**{**fields, **texts, **lists, **flags, "atoms": tuple(rows)})


def marked(atoms, files, codes=None, **told):
    plan = Masterplan(name="p", atoms=tuple(atoms), files=files)
    codes = codes or {}
    return mark_partial(plan, codes, assemble(plan, codes), report(plan, **told))


def run(files, code, tmp_path):
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1:] or [done.stdout.strip()]


def test_stubs_of_missing_atoms_name_them_and_nothing_else_changes():
    files = marked(
        [unit("f"), unit("C.g"), unit("C.there")], {"m.py": MODULE}, {"id:C.there": "def there(self):\n    return 2\n"}
    )
    expected = MODULE.replace(
        "    raise NotImplementedError\n", '    raise NotImplementedError("id:f is not written")\n'
    )
    expected = expected.replace("g(self): pass", 'g(self): raise NotImplementedError("id:C.g is not written")')
    expected = expected.replace(
        'def there(self): raise NotImplementedError("now")', "def there(self):\n        return 2"
    )
    assert files["m.py"] == expected


def test_a_missing_class_names_itself_in_its_methods_and_leaves_those_of_others():
    files = marked([unit("C"), unit("C.there")], {"m.py": MODULE}, {"id:C.there": "def there(self): raise ValueError"})
    assert 'def g(self): raise NotImplementedError("id:C is not written")' in files["m.py"]
    assert "def h(self):\n        return 1" in files["m.py"]
    assert "def there(self): raise ValueError" in files["m.py"]


def test_names_without_skeleton_can_be_imported(tmp_path):
    atoms = [
        unit("f", signature="def f(x: Money = Money(1)) -> Money"),
        unit("K", signature="class K(Base)"),
        unit("K.m", signature="def m(self) -> int"),
        unit("MOST", signature="MOST: int = 3"),
        unit("g", file="pkg/n.py"),
    ]
    files = marked(
        atoms, {"pkg/__init__.py": "from pkg.n import g\n", "use.py": "from m import f, K\nfrom pkg import g\n"}
    )
    assert run(files, "import use", tmp_path) == [""]
    for call, atom in (("f(1)", "f"), ("K(2)", "K"), ("K.m(0)", "K.m"), ("g()", "g")):
        assert run(files, f"from use import *; {call}", tmp_path) == [f"NotImplementedError: id:{atom} is not written"]


def test_the_list_says_what_is_there_and_why_the_rest_is_not():
    atoms = [unit("f"), unit("C.g"), unit("C.there")]
    told = {"f": {"status": "failed", "cause": "all 4 attempts failed\n| <b>`x`"}, "C.g": {"status": "executing"}}
    listed = marked(atoms, {"m.py": MODULE}, {"id:C.there": "def there(self): pass"}, **told)["PARTIAL.md"]
    assert "1 of 3 atoms are here" in listed
    assert "- status: paused: budget" in listed
    assert "| id:f | m.py, `f` | failed: all 4 attempts failed \\| \\<b>\\`x\\` |" in listed
    assert "| id:C.g | m.py, `C.g` | under way when the run stopped |" in listed
    assert "- id:C.there: m.py, `C.there`" in listed


def test_a_file_of_the_plan_is_not_overwritten():
    files = marked([unit("f")], {"m.py": MODULE, "PARTIAL.md": "mine"})
    assert (files["PARTIAL.md"], "0 of 1 atoms" in files["MGE-RAY-PARTIAL.md"]) == ("mine", True)


def test_a_finished_project_is_not_marked():
    assert "PARTIAL.md" not in marked([unit("f")], {"m.py": MODULE}, {"id:f": "def f(x): return x"})


@pytest.mark.parametrize("text", ["def f(:\n", "f = 1; g = 2\n"])
def test_a_module_that_cannot_be_edited_stays(text):
    assert marked([unit("f")], {"m.py": text})["m.py"] == text
