import ast
import inspect
import json

import pytest

import mge_ray.simulator.limits as some_real_module
from mge_ray.simulator.answers import broken, wrong
from mge_ray.simulator.documents import document_of, wrong_documents
from mge_ray.simulator.mutations import destructive, mutants

CODE = '''\
from typing import TYPE_CHECKING, Literal, cast
import logging

if TYPE_CHECKING:
    from decimal import Decimal

logger = logging.getLogger("x")
__all__ = ["discount"]


def discount(price: int, kind: Literal["new", "old"] = "new", *, limit: int = 10) -> int | None:
    """Take 5 off; "new" customers get more."""
    # é: a comment that stays
    if price < 0 and kind != "old":  # noqa: PLR2004
        raise ValueError("negative price")
    logger.info("discount %d", 1)
    values = [part for part in (price, limit) if part]
    for value in values:
        if value > limit:
            break
        price -= cast("int", value) * 2
    return max(price, 0) if values else None


class Till:
    """A till."""

    currency: str = "EUR"

    def __init__(self, start: int = 0) -> None:
        self.total = start

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self.total
'''


def signatures(code):
    """Everything a contract looks at."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.dump(item) for item in node.decorator_list]
            returns = node.returns and ast.dump(node.returns)
            found.append((node.name, ast.dump(node.args), returns, ast.get_docstring(node), decorators))
        elif isinstance(node, ast.ClassDef):
            fields = [ast.dump(item) for item in node.body if isinstance(item, ast.AnnAssign)]
            found.append((node.name, ast.get_docstring(node), fields))
    return found


SOURCES = [CODE, inspect.getsource(some_real_module)]


@pytest.mark.parametrize("code", SOURCES)
def test_every_mutant_compiles_differs_and_keeps_its_signatures(code):
    found = mutants(code)
    original, expected = ast.dump(ast.parse(code)), signatures(code)
    dumps = {ast.dump(ast.parse(mutant.code)) for mutant in found}
    assert len(found) == len(dumps) > 20  # no two mean the same
    assert original not in dumps
    for mutant in found:
        compile(mutant.code, "mutant", "exec")
        assert signatures(mutant.code) == expected, mutant.description


def test_mutant_differs_in_the_line_it_names_and_keeps_comments():
    before = CODE.splitlines()
    for mutant in mutants(CODE):
        after = mutant.code.splitlines()
        changed = [number for number, pair in enumerate(zip(before, after, strict=True), 1) if pair[0] != pair[1]]
        assert changed == [mutant.line], mutant.description
        assert "# é: a comment that stays" in mutant.code


def test_places_that_cannot_matter_are_left_alone():
    for mutant in mutants(CODE):
        for kept in ('__all__ = ["discount"]', '"negative price"', "TYPE_CHECKING:", 'logger.info("discount %d", 1)'):
            assert kept in mutant.code or mutant.description == "raise removed"
        assert 'cast("' not in mutant.code or 'cast("int"' in mutant.code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(a, b):\n    return a < b\n", {"a <= b", "a >= b", "None"}),
        ("def f(a, b):\n    return a == b\n", {"a != b", "None"}),
        ("def f(a, b):\n    return a + b\n", {"(a - b)", "None"}),
        (
            "def f(a, b):\n    return c and not (a or b)\n",
            {"(c or not (a or b))", "c and (a or b)", "c and not ((a and b))", "None"},
        ),
        ("def f(a, b):\n    return True\n", {"False", "None"}),
        ("def f(a, b):\n    return a[-1]\n", {"a[(1)]", "a[-2]", "a[-0]", "None"}),
        ("def f(a, b):\n    return g(a, b)\n", {"g(b, a)", "None"}),
        ("def f(a, b):\n    return max(a, b)\n", {"min(a, b)", "None"}),
        ("def f(a, b):\n    return None\n", set()),
        ("def f(a, b):\n    return f'{a + 1}'\n", {"None"}),
        ("def f(a, b):\n    return a if b else c\n", {"(c if b else a)", "None"}),
    ],
)
def test_operators(code, expected):
    assert {mutant.code.split("return ", 1)[1].strip() for mutant in mutants(code)} == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(x):\n    x.append(1)\n", "statement removed"),
        ("async def f(x):\n    await x.send(y)\n", "statement removed"),
        ("def f(x):\n    x.y = z\n", "assignment removed"),
        ("def f(x):\n    x += y\n", "+= becomes -="),
        ("def f(x):\n    raise ValueError(x)\n", "raise removed"),
        ("def f(x):\n    for y in x:\n        break\n", "break becomes continue"),
        ("def f(x):\n    yield x\n", "yielded value dropped"),
        ("def f(x):\n    if x:\n        g()\n", "condition negated"),
        ("def f(x):\n    match x:\n        case 1:\n            g()\n", "1 becomes 2"),
        ("def f(x):\n    return [y for y in x if y]\n", "condition negated"),
        ("def f(x):\n    with x as y:\n        y.go()\n", "statement removed"),
        ("def f(x):\n    try:\n        g()\n    except E:\n        return 1\n", "1 becomes 2"),
        ("class C:\n    A = 1\n", "1 becomes 2"),
    ],
)
def test_statements(code, expected):
    assert expected in {mutant.description for mutant in mutants(code)}


def test_type_unions_are_no_arithmetic():
    assert mutants("Number = int | float\nMaybe = Number | None\n") == []


def test_code_that_does_not_compile_has_no_mutants():
    assert mutants("def f(:\n") == []
    assert destructive("def f(:\n") == []


def test_good_tests_notice_most_mutants():
    code = (
        "def clamp(value, low, high):\n"
        "    if value < low:\n        return low\n"
        "    if value > high:\n        return high\n"
        "    return value\n"
    )

    def passes(text):
        names = {}
        exec(text, names)  # noqa: S102 - a mutant of ours
        clamp = names["clamp"]
        return [clamp(x, 0, 10) for x in (-5, 0, 5, 10, 15)] == [0, 0, 5, 10, 10]

    assert passes(code)
    found = mutants(code)
    killed = [mutant for mutant in found if not passes(mutant.code)]
    survivors = {mutant.description for mutant in found} - {mutant.description for mutant in killed}
    assert survivors == {"< becomes <=", "> becomes >="}  # equal in effect here: both branches give the bound
    assert len(killed) / len(found) > 0.7


def test_destructive_versions_raise_in_every_function_and_keep_the_text():
    for mutant in destructive(CODE):
        assert signatures(mutant.code) == signatures(CODE)
        assert "# noqa: PLR2004" in mutant.code
        names = {}
        exec(mutant.code, names)  # noqa: S102 - a mutant of ours
        for call in (lambda names=names: names["discount"](5), names["Till"]):
            with pytest.raises((RuntimeError, AssertionError, BufferError)):
                call()


def test_body_on_the_line_of_its_def_is_destroyed_too():
    for mutant in destructive("def f(): return 1\n\n\nasync def g():\n    return 2\n"):
        names = {}
        exec(mutant.code, names)  # noqa: S102 - a mutant of ours
        with pytest.raises((RuntimeError, AssertionError, BufferError)):
            names["f"]()


def test_code_without_functions_is_mutated_or_fails_on_import():
    assert wrong("LIMIT = 3\n") == ("LIMIT = 4\n", "LIMIT = 2\n")
    (only,) = wrong("from dataclasses import dataclass\n\n\n@dataclass\nclass P:\n    x: int\n")
    with pytest.raises(RuntimeError):
        exec(only, {"__name__": "p"})  # noqa: S102 - a mutant of ours


@pytest.mark.parametrize("code", [*SOURCES, "LIMIT = 3\n", ""])
def test_broken_versions_never_compile(code):
    for text in broken(code):
        with pytest.raises(SyntaxError):
            compile(text, "broken", "exec")


def test_wrong_documents_differ_from_the_document_and_from_each_other():
    document = {"title": "t", "items": [{"id": "a", "covers": ["R1"]}, {"id": "b", "covers": []}], "none": []}
    found = [json.loads(one) for one in wrong_documents(document)]
    assert {"title": "t", "none": []} in found
    assert any(one.get("items", [{}])[0] == {"covers": ["R1"]} for one in found)
    assert any(one.get("items", [{}])[0] == {"id": "a", "covers": ["R1", "R9999"]} for one in found)
    assert document not in found
    assert len({json.dumps(one) for one in found}) == len(found) == 4


@pytest.mark.parametrize("text", ["x = 1", "{broken", "[1]", "{1: 2}", "", '{"a": 1} # code'])
def test_code_is_no_document(text):
    assert document_of(text) is None
