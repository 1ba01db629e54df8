import warnings

import pytest

from mge_ray.adapters.atomic_validator import AtomicValidator
from mge_ray.adapters.sandbox import Sandbox
from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.plan import Masterplan, ValidationPlan
from mge_ray.domain.validation import Level, Severity
from mge_ray.execution.ports import Candidate

LEDGER = '''"""Ledgers."""

from __future__ import annotations

import math


def double(amount: int) -> int:
    """Return twice the amount."""
    raise NotImplementedError


def quadruple(amount: int) -> int:
    """Return four times the amount."""
    raise NotImplementedError


class Ledger:
    """Entries."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    def post(self, amount: int) -> None:
        raise NotImplementedError
'''
TESTS = """from bank.ledger import Ledger, double, quadruple
import pytest


def test_double():
    assert double(3) == 6


def test_double_of_zero():
    assert double(0) == 0


def test_quadruple():
    assert quadruple(3) == 12


def test_post():
    ledger = Ledger()
    ledger.post(5)
    assert ledger.entries == [5]


@pytest.mark.skip(reason="later")
def test_later():
    raise AssertionError
"""
FILES = {"bank/__init__.py": "", "bank/ledger.py": LEDGER, "tests/test_ledger.py": TESTS}


def atom(symbol="double", tests=("test_double", "test_double_of_zero"), **fields):
    names = tuple(f"tests/test_ledger.py::{test}" for test in tests)
    return AtomicUnit(**{"id": symbol, "file": "bank/ledger.py", "symbol": symbol, "tests": names, **fields})


DOUBLE = atom(signature="def double(amount: int) -> int")


def candidate(code, of=DOUBLE, dependencies=(), *, files=FILES, types=False, timeout_s=20.0):
    validation = ValidationPlan(types=types, check_timeout_s=timeout_s)
    return Candidate(atom=of, code=code, dependencies=tuple(dependencies), files=files, validation=validation)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def validator(sandbox):
    judge = AtomicValidator(sandbox)
    yield judge
    judge.close()


def fails_at(verdict, level, rule, line=None):
    assert not verdict.passed
    assert verdict.level is level
    assert list(verdict.seconds) == [one.value for one in Level if one.value in verdict.seconds]
    found = [one for one in verdict.failures if one.rule == rule]
    assert found, verdict.failures
    assert {one.level for one in verdict.issues} == {level}
    assert found[0].line == line
    return found[0].message


# -- passing ---------------------------------------------------------------------------------------------------------


async def test_right_code_passes_every_level(validator):
    verdict = await validator.validate(candidate("def double(amount: int) -> int:\n    return 2 * amount\n"))

    assert verdict.passed, verdict.issues
    assert verdict.issues == ()
    assert verdict.tests_run == 2
    assert list(verdict.seconds) == ["parse", "contract", "lint", "tests"]


def test_a_method_is_judged_inside_its_class(validator):
    code = "def post(self, amount: int) -> None:\n    self.entries.append(amount)\n"
    verdict = validator.judge(candidate(code, atom("Ledger.post", ["test_post"])))

    assert verdict.passed, verdict.issues


def test_accepted_dependencies_are_part_of_the_workspace(validator):
    accepted = AcceptedAtom(atom=DOUBLE, code="def double(amount: int) -> int:\n    return amount + amount\n")
    code = "def quadruple(amount: int) -> int:\n    return double(double(amount))\n"
    dependent = atom("quadruple", ["test_quadruple"], depends_on=("double",))

    assert validator.judge(candidate(code, dependent, [accepted])).passed
    assert not validator.judge(candidate(code, dependent)).passed


def test_skipped_tests_beside_passed_ones_are_a_warning(validator):
    whole = atom("double", [])
    whole = whole.model_copy(update={"tests": ("tests/test_few.py",)})
    few = "import pytest\n\n\ndef test_a():\n    pass\n\n\n@pytest.mark.skip\ndef test_b():\n    pass\n"
    files = {**FILES, "tests/test_few.py": few}
    verdict = validator.judge(candidate("def double(amount): return 2 * amount", whole, files=files))

    assert verdict.passed
    assert [(one.severity, one.rule) for one in verdict.issues] == [(Severity.WARNING, "skipped")]


def test_an_atom_without_tests_is_imported_and_says_so(validator):
    verdict = validator.judge(candidate("def double(amount): return 2 * amount", atom(tests=[])))

    assert verdict.passed
    assert [(one.severity, one.rule) for one in verdict.issues] == [(Severity.WARNING, "untested")]


def test_a_src_layout_is_importable(validator):
    files = {"src/" + path if path.startswith("bank") else path: text for path, text in FILES.items()}
    moved = atom().model_copy(update={"file": "src/bank/ledger.py"})
    untested = moved.model_copy(update={"tests": ()})
    code = "def double(amount): return 2 * amount"

    assert validator.judge(candidate(code, moved, files=files)).passed
    assert validator.judge(candidate(code, untested, files=files)).passed


# -- parse -----------------------------------------------------------------------------------------------------------


def test_a_syntax_error_fails_at_parse_with_its_line(validator):
    verdict = validator.judge(candidate("def double(amount):\n    return (2 *\n"))

    assert "never closed" in fails_at(verdict, Level.PARSE, "syntax", line=2)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("x = '\0'", "syntax"),
        ("x = '\ud800'", "syntax"),
        ("x = 1\n" * 60_000, "size"),
        ("x = " + "-" * 150_000 + "1", "nesting"),
        ("x = a" + ".b" * 90_000, "nesting"),
        ("x = " + "(" * 100_000, "nesting"),
        ("x = (1\n" + "+1\n" * 50_000 + ")", "nesting"),
        ("x = 1\\\n" + "+1\\\n" * 40_000, "nesting"),
        ("if a:\n  1\n" + "elif a:\n  1\n" * 10_000, "nesting"),
        ("x = f'{" + "-" * 100_000 + "1}'", "nesting"),
        ("x = " + "9" * 100_000, "syntax"),
        ('"\\' * 90_000, "syntax"),
        ("return 1", "syntax"),
        ("def double(a, a): pass", "syntax"),
    ],
)
def test_hostile_text_fails_at_parse_and_harms_nothing(validator, code, rule):
    verdict = validator.judge(candidate(code))

    fails_at(verdict, Level.PARSE, rule, line=verdict.issues[0].line)
    assert verdict.seconds["parse"] < 2


def test_what_the_compiler_warns_of_is_a_warning(validator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code = 'def double(amount: int) -> int:\n    assert "\\d"\n    return 2 * amount\n'
        verdict = validator.judge(candidate(code))

    assert verdict.passed, verdict.issues
    assert [(one.severity, one.level) for one in verdict.issues] == [(Severity.WARNING, Level.PARSE)]


# -- contract --------------------------------------------------------------------------------------------------------


def test_another_symbol_fails_the_contract(validator):
    message = fails_at(validator.judge(candidate("def twice(a): return 2 * a")), Level.CONTRACT, "symbol")

    assert message == "the code does not define 'double'; it defines 'twice'"


def test_another_signature_fails_the_contract_and_shows_both(validator):
    verdict = validator.judge(candidate("\ndef double(amount: int, twice=True) -> int:\n    return 2 * amount"))
    message = fails_at(verdict, Level.CONTRACT, "signature", line=2)

    assert "expected `def double(amount: int) -> int`" in message
    assert "found `def double(amount: int, twice=True) -> int`" in message


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        (
            "def double(a: Optional[int] = None, *, b: 'str' = \"x\") -> List[int]",
            "def double(a: int|None=None,*,b: str='x')->list[int]: return [a, b]",
        ),
        ("async def double(a):", "async def double(a): return a"),
        ("def double(a: int) -> int:\n    ...", "def double(a: int) -> int: return a"),
        ("@property\ndef double(a)", "@property\ndef double(a): return a"),
        ("def double(a: typing.Union[int, str])", "def double(a: int | str): return a"),
        ("class double(Exception)", "class double(Exception):\n    pass"),
        ("double: int", "double: int = 3"),
        ("def double(kind: Literal['a', 'b'])", 'def double(kind: Literal["a", "b"]): return kind'),
    ],
)
def test_the_same_signature_may_be_written_in_other_ways(sandbox, signature, code):
    imports = ("from typing import Literal, Optional, List",)
    verdict = AtomicValidator(sandbox).judge(candidate(code, atom(tests=[], signature=signature, imports=imports)))

    assert "signature" not in [one.rule for one in verdict.issues], verdict.issues


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("async def double(a)", "def double(a): return a"),
        ("def double(a)", "async def double(a): return a"),
        ("def double(a=1)", "def double(a=2): return a"),
        ("def double(a) -> int", "def double(a): return a"),
        ("def double(a, /)", "def double(a): return a"),
        ("@property\ndef double(a)", "def double(a): return a"),
        ("class double(Exception)", "class double: pass"),
        ("def double(a)", "double = lambda a: a"),
    ],
)
def test_what_callers_would_notice_is_another_signature(validator, signature, code):
    verdict = validator.judge(candidate(code, atom(signature=signature)))

    fails_at(verdict, Level.CONTRACT, "signature", line=1)


def test_more_than_was_asked_for_fails_the_contract(validator):
    code = "def double(amount: int) -> int:\n    return helper(amount)\n\n\ndef helper(a):\n    return 2 * a\n"

    message = fails_at(validator.judge(candidate(code)), Level.CONTRACT, "extra", line=5)
    assert "`def helper(a)` does not belong to 'double'" in message
    assert validator.judge(candidate(code, atom(defines=("helper",)))).passed


def test_code_that_runs_on_import_fails_the_contract(validator):
    verdict = validator.judge(candidate("def double(a): return a\nprint(double(1))", atom()))
    fails_at(verdict, Level.CONTRACT, "extra", line=2)


def test_an_import_the_plan_does_not_list_fails_the_contract(validator):
    code = "import os\nfrom math import floor\n\ndef double(amount: int) -> int:\n    return floor(2 * amount)\n"

    message = fails_at(validator.judge(candidate(code)), Level.CONTRACT, "import", line=1)
    assert message.startswith("`import os` is not among the imports")
    listed = atom(imports=("import os", "from math import floor, ceil"))
    assert validator.judge(candidate(code, listed)).passed


def test_an_import_the_module_has_already_needs_no_listing(validator):
    head = "from __future__ import annotations\nimport math\n\n"
    code = head + "def double(amount: int) -> int:\n    return math.floor(2 * amount)\n"

    assert validator.judge(candidate(code)).passed


def test_a_method_wrapped_in_its_class_is_told_how_to_be_written(validator):
    code = "class Ledger:\n    def post(self, amount: int) -> None:\n        self.entries.append(amount)\n"
    verdict = validator.judge(candidate(code, atom("Ledger.post", ["test_post"])))

    assert "write only the method 'post' itself" in fails_at(verdict, Level.CONTRACT, "symbol", line=1)


def test_a_stub_without_tests_fails_the_contract(validator):
    code = 'def double(a):\n    """Later."""\n    raise NotImplementedError\n'

    fails_at(validator.judge(candidate(code, atom(tests=[]))), Level.CONTRACT, "stub", line=1)


# -- lint ------------------------------------------------------------------------------------------------------------


def test_an_undefined_name_fails_at_lint_on_the_candidates_line(validator):
    code = "import math\n\n\ndef double(amount: int) -> int:\n    return factor * amount  # noqa\n"

    message = fails_at(validator.judge(candidate(code)), Level.LINT, "F821", line=5)
    assert message == "Undefined name `factor`"


def test_faults_of_the_skeleton_are_not_the_candidates(validator):
    files = {**FILES, "bank/ledger.py": LEDGER + "\n\ndef broken():\n    return nowhere\n"}

    assert validator.judge(candidate("def double(amount: int) -> int:\n    return 2 * amount", files=files)).passed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import nonesuch_package", "no module named 'nonesuch_package'"),
        ("from bank.nowhere import x", "the workspace has no module 'bank.nowhere'"),
        ("from bank.ledger import triple", "module 'bank.ledger' of the workspace does not define 'triple'"),
        ("from .ledger import triple", "module 'bank.ledger' of the workspace does not define 'triple'"),
        ("from .. import x", "leaves the package"),
    ],
)
def test_an_import_that_cannot_work_fails_at_lint(validator, line, message):
    code = f"def double(amount: int) -> int:\n    {line}\n    return 2 * amount\n"

    assert message in fails_at(validator.judge(candidate(code)), Level.LINT, "unresolved-import", line=2)


@pytest.mark.parametrize(
    "line",
    [
        "import json, os.path",
        "import pytest",
        "from bank import ledger",
        "from .ledger import Ledger",
        "import bank.ledger as b",
    ],
)
def test_imports_that_work_pass(validator, line):
    code = f"def double(amount: int) -> int:\n    {line}\n    return 2 * amount\n"

    assert validator.judge(candidate(code)).passed


def test_a_package_that_is_not_allowed_fails_at_lint(sandbox):
    code = "def double(amount: int) -> int:\n    import pytest\n    return 2 * amount\n"
    verdict = AtomicValidator(sandbox, allowed_packages=["numpy"]).judge(candidate(code))

    assert "may not be used" in fails_at(verdict, Level.LINT, "unresolved-import", line=2)


def test_a_flood_of_findings_is_cut(validator):
    code = "def double(amount: int) -> int:\n" + "".join(f"    a{row} = b{row}\n" for row in range(5_000))

    assert len(validator.judge(candidate(code)).issues) == 50


def test_a_tree_that_cannot_be_written_back_as_code_is_judged_all_the_same(validator):
    odd = "print(f'{\"\x07\"}')\n"  # unparsing this raises ValueError before Python 3.12

    assert not validator.judge(candidate("def double(amount): return 2 * amount\n" + odd)).passed


# -- types -----------------------------------------------------------------------------------------------------------


def test_a_type_error_fails_at_types_only_when_the_plan_asks(validator):
    code = "def double(amount: int) -> int:\n    if amount > 100:\n        return str(amount)\n    return 2 * amount\n"

    message = fails_at(validator.judge(candidate(code, types=True, timeout_s=60)), Level.TYPES, "return-value", line=3)
    assert 'got "str", expected "int"' in message
    assert validator.judge(candidate(code)).passed
    right = code.replace("str(amount)", "amount * 2")
    assert validator.judge(candidate(right, types=True, timeout_s=60)).passed


# -- tests -----------------------------------------------------------------------------------------------------------


def test_a_wrong_result_fails_at_tests_with_the_assertion(validator):
    verdict = validator.judge(candidate("def double(amount: int) -> int:\n    return 3 * amount\n"))
    message = fails_at(verdict, Level.TESTS, "failed")

    assert message.startswith("tests/test_ledger.py::test_double: ")
    assert "assert 9 == 6" in message
    assert "tests/test_ledger.py:6" in message
    assert verdict.tests_run == 2
    assert len(verdict.failures) == 1


def test_an_exception_in_the_candidate_is_told_with_its_own_line(validator):
    code = "import math\n\n\ndef double(amount: int) -> int:\n    value = amount\n    return value / 0\n"
    message = fails_at(validator.judge(candidate(code)), Level.TESTS, "failed", line=6)

    assert "ZeroDivisionError" in message


def test_an_endless_loop_fails_with_a_timeout(validator):
    code = "def double(amount: int) -> int:\n    while True:\n        pass\n"

    fails_at(validator.judge(candidate(code, timeout_s=1.0)), Level.TESTS, "timeout")


def test_ending_the_process_is_not_a_pass(validator):
    code = "def double(amount: int) -> int:\n    import os\n    os._exit(0)\n"

    assert not validator.judge(candidate(code)).passed


def test_a_test_that_does_not_exist_is_not_a_pass(validator):
    verdict = validator.judge(candidate("def double(a): return 2 * a", atom(tests=["test_nothing"])))

    assert "test_nothing" in fails_at(verdict, Level.TESTS, "error")


def test_only_skipped_tests_show_nothing(validator):
    verdict = validator.judge(candidate("def double(a): return 2 * a", atom(tests=["test_later"])))

    assert not verdict.passed
    assert {one.rule for one in verdict.issues} == {"no-pass", "skipped"}


def test_an_import_that_raises_fails_an_atom_without_tests(validator):
    verdict = validator.judge(candidate("double = [][1]", atom(tests=[])))

    assert "IndexError" in verdict.failures[0].message
    assert verdict.failures[0].line == 1


# -- acceptance ------------------------------------------------------------------------------------------------------

QUADRUPLE = atom("quadruple", ["test_quadruple"], depends_on=("double",))
CODES = {
    "double": "def double(amount): return 2 * amount",
    "quadruple": "def quadruple(amount): return double(double(amount))",
}


def plan(*acceptance):
    return Masterplan(name="bank", atoms=(DOUBLE, QUADRUPLE), files=FILES, acceptance_tests=acceptance)


async def test_the_assembled_project_is_judged_by_the_acceptance_tests(validator):
    accepted = await validator.accept(plan("tests/test_ledger.py::test_quadruple"), CODES)
    refused = await validator.accept(plan("tests"), CODES)

    assert accepted.passed
    assert accepted.tests_run == 1
    assert [one.message.split(":")[2] for one in refused.failures] == ["test_post"]


def test_a_plan_without_acceptance_tests_is_imported_and_says_so(validator):
    verdict = validator.judge_acceptance(plan(), CODES)

    assert verdict.passed
    assert [one.rule for one in verdict.issues] == ["untested"]


# -- above the single atom -------------------------------------------------------------------------------------------


def gated_plan(*tests):
    waves = [{"wave_id": 1, "atom_ids": ["double"], "tests": tests}, {"wave_id": 2, "atom_ids": ["quadruple"]}]
    return Masterplan(name="bank", atoms=(DOUBLE, QUADRUPLE), files=FILES, execution_plan=waves)


def test_a_wave_s_tests_run_on_what_is_accepted_so_far(validator):
    made = gated_plan("tests/test_ledger.py::test_double")
    right = validator.judge_acceptance(made, {"double": CODES["double"]}, 1)
    wrong = validator.judge_acceptance(made, {"double": "def double(amount): return 3 * amount"}, 1)

    assert (right.passed, right.level, right.tests_run, right.blamed) == (True, Level.WAVE, 1, ())
    assert (wrong.passed, wrong.level, wrong.blamed) == (False, Level.WAVE, ("double",))
    assert {one.level for one in wrong.failures} == {Level.WAVE}


def test_the_atom_that_only_failing_tests_run_is_blamed_and_not_what_it_rests_on(validator):
    codes = {**CODES, "quadruple": "def quadruple(amount): return double(amount)"}
    tests = ("tests/test_ledger.py::test_double", "tests/test_ledger.py::test_quadruple")
    verdict = validator.judge_acceptance(plan(*tests), codes)

    assert verdict.level is Level.SYSTEM
    assert [one.message.partition(":")[0] for one in verdict.failures] == ["tests/test_ledger.py"]
    assert verdict.blamed == ("quadruple",)


def test_the_atom_in_which_an_exception_is_raised_is_blamed_first(validator):
    codes = {**CODES, "double": "def double(amount): return amount.nothing"}
    verdict = validator.judge_acceptance(plan("tests/test_ledger.py::test_quadruple"), codes)

    assert verdict.blamed[0] == "double"


def test_an_undefined_name_is_found_on_the_module_before_any_test_runs(validator):
    codes = {**CODES, "quadruple": "def quadruple(amount): return doubel(amount)"}
    verdict = validator.judge_acceptance(plan("tests"), codes)

    assert (verdict.level, verdict.tests_run, verdict.blamed) == (Level.MODULE, 0, ("quadruple",))
    assert "doubel" in fails_at(verdict, Level.MODULE, "F821")


def test_a_module_that_does_not_import_blames_the_atom_that_breaks_it(validator):
    codes = {**CODES, "double": "def double(amount, unit=[][0]): return 2 * amount"}
    verdict = validator.judge_acceptance(plan("tests/test_ledger.py::test_double"), codes)

    assert "IndexError" in verdict.failures[0].message
    assert verdict.blamed == ("double",)


def test_types_of_modules_are_checked_where_the_plan_asks(validator):
    typed = plan("tests/test_ledger.py::test_double").model_copy(update={"validation": ValidationPlan(types=True)})
    codes = {**CODES, "double": 'def double(amount: int) -> int: return "two"'}
    verdict = validator.judge_acceptance(typed, codes)

    assert (verdict.level, verdict.blamed) == (Level.MODULE, ("double",))


# -- beneath the single atom -----------------------------------------------------------------------------------------


def accepted(of, code):
    return AcceptedAtom(atom=of, code=code)


def judged_on(validator, double, quadruple="def quadruple(amount): return double(double(amount))"):
    """Judge `quadruple` on top of this `double`, which has no test of its own, and an atom it does not run."""
    beside = accepted(atom("Ledger.post", []), "def post(self, amount): self.entries.append(amount)")
    below = [accepted(atom("double", []), double), beside]
    whole = atom("quadruple", ["test_quadruple"], depends_on=("double", "Ledger.post"))
    return validator.judge(candidate(quadruple, whole, below, timeout_s=3.0))


def test_a_failing_atom_names_the_dependency_that_its_tests_run(validator):
    verdict = judged_on(validator, "def double(amount): return 3 * amount")

    assert (verdict.level, verdict.blamed) == (Level.TESTS, ("double",))
    assert "assert 27 == 12" in verdict.failures[0].message


def test_a_passing_atom_and_one_that_never_reached_its_tests_name_nobody(validator):
    assert judged_on(validator, "def double(amount): return 2 * amount").blamed == ()
    odd = judged_on(validator, "def double(amount): return 3 * amount", "def quadruple(amount): return doubel(amount)")
    assert (odd.level, odd.blamed) == (Level.LINT, ())


def test_a_dependency_without_tests_is_named_before_one_that_has_some(validator):
    below = [
        accepted(DOUBLE, "def double(amount: int) -> int: return 2 * amount"),
        accepted(atom("Ledger.post", []), "def post(self, amount): raise KeyError(amount)"),
    ]
    whole = atom("quadruple", ["test_quadruple"], depends_on=("double", "Ledger.post"))
    code = "def quadruple(amount):\n    Ledger().post(double(amount))\n    return 4 * amount"
    verdict = validator.judge(candidate(code, whole, below))

    assert verdict.blamed == ("Ledger.post", "double")


def test_where_the_tests_never_end_the_direct_dependencies_are_named(validator):
    verdict = judged_on(validator, "def double(amount):\n    while True: pass")

    assert verdict.failures[0].rule == "timeout"
    assert verdict.blamed == ("double", "Ledger.post")
