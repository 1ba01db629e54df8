import subprocess
import sys

import pytest
from pydantic import ValidationError

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit, check_symbol, test_file, workspace_path
from tests.builders import atom


def test_an_atom_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        atom("a").symbol = "g"


def test_equal_atoms_have_equal_fingerprints_and_any_field_changes_it():
    assert atom("a").fingerprint == atom("a").fingerprint
    changed = [
        atom("b"),
        atom("a", "x"),
        atom("a", symbol="g"),
        atom("a", complexity="high"),
        atom("a", description="d"),
    ]
    assert len({unit.fingerprint for unit in [atom("a"), *changed]}) == 6


def test_a_fingerprint_is_the_same_in_another_process():
    program = (
        "from mge_ray.domain.atom import AtomicUnit;"
        "print(AtomicUnit(id='a', file='app/m.py', symbol='f_a').fingerprint)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == atom("a").fingerprint


def test_the_title_is_the_name_or_else_the_symbol():
    assert atom("a").title == "f_a"
    assert atom("a", name="Parse a line").title == "Parse a line"


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../m.py", "a/../m.py", "./m.py", "a//m.py", "a\\m.py", "m\n.py", ".", "x" * 300 + ".py"],
)
def test_a_file_outside_the_workspace_is_refused_in_one_short_line(path):
    with pytest.raises(ValueError, match="plain relative path") as refused:
        workspace_path(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 160


@pytest.mark.parametrize("path", ["m.py", "app/m.py", "app/.hidden/é.py"])
def test_a_file_inside_the_workspace_is_taken_as_it_is(path):
    assert workspace_path(path) == path


def test_an_atom_lives_in_a_python_file():
    with pytest.raises(ValidationError, match=r"ends with \.py"):
        atom("a", file="notes.txt")


@pytest.mark.parametrize("symbol", ["", "1st", "a b", "Ledger.", ".post", "f()", "f\n", "\ud800"])
def test_a_symbol_that_is_no_dotted_name_is_refused(symbol):
    with pytest.raises(ValidationError, match="is not a name such as"):
        atom("a", symbol=symbol)
    with pytest.raises(ValidationError, match="is not a name such as"):
        atom("a", defines=(symbol,))


def test_dotted_symbols_are_names():
    assert check_symbol("Ledger.post") == "Ledger.post"


@pytest.mark.parametrize("atom_id", ["", "-a", "a b", "a\n", "x" * 129])
def test_an_id_that_could_not_stand_in_a_path_or_a_log_line_is_refused(atom_id):
    with pytest.raises(ValidationError):
        atom(atom_id, symbol="f")


def test_tests_are_files_or_node_ids_inside_the_workspace():
    assert test_file("tests/test_m.py::TestA::test_b") == "tests/test_m.py"
    with pytest.raises(ValidationError, match="plain relative path"):
        atom("a", tests=("../test_m.py::test_a",))


def test_only_python_can_be_checked():
    with pytest.raises(ValidationError, match="only 'python' can"):
        atom("a", language="cobol")


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        AtomicUnit.model_validate({"id": "a", "file": "m.py", "symbol": "f", "code": "x = 1"})


def test_code_stands_beside_an_atom_and_never_in_it():
    assert AcceptedAtom(atom=atom("a")).code is None
    assert AcceptedAtom(atom=atom("a"), code="x").code == "x"


@pytest.mark.parametrize(
    "signature",
    ["def f(a: int) -> str", "def f():", "async def f(x)", "@cached\ndef f()", "class A(B)", "LIMIT: int = 3", ""],
)
def test_a_signature_that_can_be_compared_is_accepted(signature):
    assert AtomicUnit(id="a", file="a.py", symbol="f", signature=signature).signature == signature


@pytest.mark.parametrize("signature", ["f(a)", "def f(", "import os", "def 1()", "(" * 500])
def test_a_signature_that_is_none_is_refused(signature):
    with pytest.raises(ValidationError, match="signature"):
        AtomicUnit(id="a", file="a.py", symbol="f", signature=signature)


@pytest.mark.parametrize("line", ["print(1)", "import", "", "import os; print(1)"])
def test_an_import_that_is_none_is_refused(line):
    with pytest.raises(ValidationError, match="import"):
        AtomicUnit(id="a", file="a.py", symbol="f", imports=(line,))


def test_a_planning_step_answers_with_a_document():
    step = atom("a", language="plan", file="plan/a.json")
    assert (step.language, step.file) == ("plan", "plan/a.json")


@pytest.mark.parametrize(
    ("language", "file", "told"),
    [
        ("plan", "app/m.py", "not a document; a planning step's file ends with .json"),
        ("python", "a.json", "not a Python file"),
    ],
)
def test_a_file_is_of_its_atoms_language(language, file, told):
    with pytest.raises(ValidationError, match=told):
        atom("a", language=language, file=file)
