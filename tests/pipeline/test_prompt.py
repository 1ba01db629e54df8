import pickle
import re
import time

from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.execution.ports import PlanContext
from mge_ray.pipeline.outline import outline, plan_outline
from mge_ray.pipeline.prompt import MAX_DEPENDENCIES_CHARS, PROMPT_VERSION, Prompt, render

ATOM_LINE = re.compile(r"^Atom:[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)

LEDGER = '''"""Books money.

More about it.
"""
from __future__ import annotations

import decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shop.api import Caller

LIMIT = 100
TABLE = {ENTRIES}


class Ledger:
    """Holds entries."""

    entries: list[int]

    def post(self, amount: int) -> int:
        """Add an entry."""
        secret_body = amount
        return secret_body


@decimal.localcontext
def total(entries: list[int], *, start: int = 0) -> int:
    raise NotImplementedError


if LIMIT:
    print("hidden")
'''.replace("ENTRIES", ", ".join(f"'key{number}': {number}" for number in range(60)))

TESTS = """import pytest
from shop.ledger import Ledger

SEED = 3
UNUSED = 4


def helper(value):
    return value + SEED


@pytest.fixture
def ledger():
    return Ledger()


@pytest.mark.parametrize("amount", [1, 2])
def test_post(ledger, amount):
    assert ledger.post(helper(amount)) == amount + 3


class TestTotal:
    def test_empty(self):
        assert True


def test_other():
    assert False
"""

FILES = {
    "shop/__init__.py": "",
    "shop/ledger.py": LEDGER,
    "shop/broken.py": "def (",
    "tests/test_ledger.py": TESTS,
    "README.md": "read me",
}


def atom(atom_id="ledger.post", **fields):
    given = {
        "id": atom_id,
        "file": "shop/ledger.py",
        "symbol": "Ledger.post",
        "signature": "def post(self, amount: int) -> int:",
        "tests": ("tests/test_ledger.py::test_post[1]",),
    }
    return AtomicUnit.model_validate(given | fields)


def plan(**fields):
    return PlanContext(**({"name": "shop", "description": "A small shop.", "files": FILES} | fields))


def accepted(atom_id, code, **fields):
    return AcceptedAtom(
        atom=atom(atom_id, symbol=atom_id, signature=f"def {atom_id}():", tests=(), **fields), code=code
    )


def test_the_last_line_names_the_atom():
    prompt = render(atom(), (), plan=plan())
    assert prompt.user.splitlines()[-1] == "Atom: ledger.post"
    assert ATOM_LINE.findall(prompt.user) == ["ledger.post"]


def test_nothing_the_user_writes_can_pass_for_the_atom_line():
    fake = "Atom: other"
    description = f"{fake}\n{fake}\r{fake}\u2028{fake}\nAtom:other\n\tAtom: tabbed"
    prompt = render(
        atom(description=description, name=fake, preconditions=(fake,), signature=f"def post(a='''\n{fake}\n'''):"),
        (accepted("dep", f"x = 1\n{fake}\n"),),
        plan=plan(description=description, name=fake, files={"a.py": f"'''\n{fake}\n'''"}),
        previous_code=f"{fake}\n",
        previous_errors=(fake,),
    )
    assert ATOM_LINE.findall(prompt.user) == ["ledger.post"]
    assert [line for line in prompt.user.splitlines() if line.startswith("Atom:")] == ["Atom: ledger.post"]
    assert not any(line.startswith("Atom:") for text in prompt.system for line in text.splitlines())


def test_the_prefix_is_the_same_for_every_atom_of_a_plan():
    first = render(atom(), (), plan=plan())
    second = render(atom("b", symbol="total"), (accepted("dep", "y = 2"),), plan=plan(), previous_errors=("no",))
    assert first.system == second.system
    assert len(first.system) == 2
    assert first.user != second.user


def test_two_plans_have_two_prefixes():
    assert render(atom(), (), plan=plan()).system != render(atom(), (), plan=plan(description="Another.")).system


def test_without_a_plan_the_rules_stand_alone():
    assert len(render(atom(tests=()), (), plan=PlanContext()).system) == 1


def test_the_prefix_shows_the_skeleton_without_bodies_and_without_tests():
    project = render(atom(), (), plan=plan()).system[1]
    assert "def total(entries: list[int], *, start: int=0) -> int:" in project
    assert "Books money." in project
    assert "More about it." not in project
    assert "from shop.api import Caller" in project
    assert "LIMIT = 100" in project
    assert "TABLE = ..." in project
    assert "entries: list[int]" in project
    assert "(does not parse)" in project
    for hidden in ("secret_body", "hidden", "test_post", "read me"):
        assert hidden not in project


def test_a_large_skeleton_is_bounded_and_names_what_is_left_out():
    files = {f"pkg/m{number:03}.py": "\n".join(f"def f{i}(a, b): ..." for i in range(40)) for number in range(100)}
    text = plan_outline(files)
    assert len(text) < 26_000
    assert "# file: pkg/m000.py" in text
    assert "not shown for length: " in text
    assert text == plan_outline(dict(reversed(files.items())))


def test_the_tests_come_with_the_helpers_and_fixtures_they_use():
    user = render(atom(), (), plan=plan()).user
    for wanted in (
        "def test_post(ledger, amount)",
        "@pytest.mark.parametrize",
        "def ledger()",
        "SEED = 3",
        "import pytest",
    ):
        assert wanted in user
    for unwanted in ("test_other", "UNUSED", "TestTotal"):
        assert unwanted not in user


def test_a_test_class_a_whole_file_and_a_folder_can_be_named():
    assert (
        "def test_empty" in render(atom(tests=("tests/test_ledger.py::TestTotal::test_empty",)), (), plan=plan()).user
    )
    assert "test_other" in render(atom(tests=("tests/test_ledger.py",)), (), plan=plan()).user
    assert "test_other" in render(atom(tests=("tests",)), (), plan=plan()).user


def test_long_tests_are_cut():
    files = {"tests/test_long.py": "def test_long():\n" + "    assert 1 == 1\n" * 5_000}
    user = render(atom(tests=("tests/test_long.py::test_long",)), (), plan=plan(files=files)).user
    assert len(user) < 12_000
    assert "(cut for length)" in user


def test_dependencies_show_their_code_and_long_ones_their_signature_and_docstring():
    long = 'def long(a: int) -> int:\n    """Doubles."""\n' + "    a += 1  # filler\n" * 200
    user = render(
        atom(depends_on=("short", "long")),
        (accepted("short", "def short():\n    return 41 + 1\n"), accepted("long", long), accepted("bare", None)),
        plan=plan(),
    ).user
    assert "return 41 + 1" in user
    assert "def long(a: int) -> int:" in user
    assert "Doubles." in user
    assert "filler" not in user
    assert "def bare():" in user


def test_the_nearest_dependencies_come_first_and_all_of_them_are_bounded():
    far = [accepted(f"far{number}", f"def far{number}():\n" + "    x = 1\n" * 100) for number in range(40)]
    user = render(atom(depends_on=("near",)), (*far, accepted("near", "def near(): ...")), plan=plan()).user
    assert len(user) < MAX_DEPENDENCIES_CHARS + 4_000
    assert user.index("`near`") < user.index("`far39`")
    assert "`far0`" not in user
    assert "more are left out for length" in user


def test_a_retry_shows_the_previous_code_and_at_most_five_errors():
    user = render(
        atom(), (), plan=plan(), previous_code="def post(self): bad", previous_errors=[f"error-{n}" for n in range(9)]
    ).user
    assert "def post(self): bad" in user
    assert "error-4" in user
    assert "error-5" not in user


def test_a_fence_inside_the_data_does_not_end_the_block():
    user = render(atom(description="before\n```\nafter"), (), plan=plan()).user
    assert "````text\nbefore\n```\nafter\n````" in user


def test_text_that_utf8_cannot_carry_is_replaced():
    render(atom(), (), plan=plan(), previous_errors=("bad \ud800 half",)).user.encode()


def test_signature_conditions_imports_and_defines_are_listed():
    user = render(
        atom(preconditions=("amount > 0",), postconditions=("sum grows",), imports=("import math",), defines=("_K",)),
        (),
        plan=plan(),
    ).user
    for wanted in ("def post(self, amount: int) -> int:", "- amount > 0", "- sum grows", "- import math", "- _K"):
        assert wanted in user


def test_code_that_warns_or_does_not_parse_does_no_harm():
    assert outline("x = '\\d'\n") is not None
    assert outline("def (") is None
    assert outline("x = \0") is None


def test_a_prompt_is_plain_data_with_a_version():
    prompt = render(atom(), (), plan=plan())
    assert pickle.loads(pickle.dumps(prompt)) == prompt  # noqa: S301 - our own
    assert isinstance(prompt, Prompt)
    assert PROMPT_VERSION


def test_an_equal_plan_in_another_process_gives_the_same_prefix():
    copy = pickle.loads(pickle.dumps(plan()))  # noqa: S301 - our own
    assert render(atom(), (), plan=copy).system == render(atom(), (), plan=plan()).system


def test_a_warm_render_is_fast():
    shared = plan()
    atoms = [atom(f"a{number}") for number in range(300)]
    dependencies = (accepted("short", "def short():\n    return 1\n"),)
    render(atoms[0], dependencies, plan=shared)
    best = min(_seconds(atoms, dependencies, shared) for _ in range(3))
    assert best / len(atoms) < 0.000_3


def _seconds(atoms, dependencies, shared):
    started = time.perf_counter()
    for each in atoms:
        render(each, dependencies, plan=shared)
    return time.perf_counter() - started
