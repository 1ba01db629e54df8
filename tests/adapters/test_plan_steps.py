"""Answers to planning steps before the judge that judges code, too, with its real sandbox."""

import pytest

from mge_ray.adapters.atomic_validator import AtomicValidator
from mge_ray.adapters.plan_steps import WEAK_RULE
from mge_ray.adapters.sandbox import Sandbox
from mge_ray.domain.validation import Level
from mge_ray.simulator.documents import wrong_documents
from tests.specs import DETAILS, DOUBLE, INTERFACE, POINTS, REQUIREMENTS, candidate, changed, text

POINTS_DETAILS = DETAILS["points"]


@pytest.fixture(scope="module")
def validator():
    with Sandbox() as sandbox:
        yield AtomicValidator(sandbox)


def weak(verdict):
    return {
        one.message.partition(": ")[0].partition("::")[2]: one.message
        for one in verdict.issues
        if one.rule == WEAK_RULE
    }


def with_test(index, code):
    return changed(POINTS_DETAILS, "tests", index, "code", to=code)


@pytest.mark.parametrize(
    ("stage", "document", "module"),
    [
        ("requirements", REQUIREMENTS, ""),
        ("interface", INTERFACE, ""),
        ("details", POINTS_DETAILS, "points"),
        ("details", DETAILS["board"], "board"),
    ],
)
def test_good_answers_pass_every_level(validator, stage, document, module):
    verdict = validator.judge(candidate(stage, document, module))
    assert (verdict.issues, verdict.level) == ((), Level.TESTS)


@pytest.mark.parametrize(
    ("stage", "document"), [("requirements", REQUIREMENTS), ("interface", INTERFACE), ("details", POINTS_DETAILS)]
)
def test_every_wrong_document_of_the_simulated_model_is_refused(validator, stage, document):
    spoilt = wrong_documents(document)
    verdicts = [validator.judge(candidate(stage, one)) for one in spoilt]
    assert len(spoilt) > 2
    assert [verdict.passed for verdict in verdicts] == [False] * len(spoilt)
    assert {verdict.level for verdict in verdicts} <= {Level.PARSE, Level.CONTRACT}


def test_code_that_nests_too_deeply_is_refused_before_it_is_parsed(validator):
    deep = changed(INTERFACE, "modules", 0, "skeleton", to=f"X = {'(' * 5_000}1{')' * 5_000}\n")
    (issue,) = validator.judge(candidate("interface", deep)).failures
    assert (issue.level, issue.rule) == (Level.PARSE, "nesting")


def test_names_that_nothing_defines_are_told_with_their_line(validator):
    verdict = validator.judge(candidate("details", with_test(0, DOUBLE.replace("[6, 3]", "EXPECTED"))))
    assert verdict.level is Level.LINT
    assert "Undefined name `EXPECTED` in `assert" in verdict.failures[0].message


@pytest.mark.parametrize(
    "line", ["import numpy", "from scores.points import triple", "from scores.pints import double"]
)
def test_imports_that_nothing_provides_are_told(validator, line):
    document = {**POINTS_DETAILS, "preamble": f"{line}\n{POINTS_DETAILS['preamble']}"}
    assert not validator.judge(candidate("details", document)).passed


def test_a_package_that_cannot_be_imported_is_refused(validator):
    document = changed(INTERFACE, "modules", 0, "skeleton", to=f"{POINTS}\n\nWORDS = show(1)\n")
    verdict = validator.judge(candidate("interface", document))
    assert verdict.level is Level.TESTS
    assert "NotImplementedError" in verdict.failures[0].message


def test_tests_that_call_open_functions_at_import_are_refused(validator):
    document = {**POINTS_DETAILS, "preamble": f"{POINTS_DETAILS['preamble']}\nTHREE = show(3)\n"}
    verdict = validator.judge(candidate("details", document))
    assert [issue.message for issue in verdict.failures] == [
        "the test file calls open functions while it is imported; call them in tests or fixtures alone"
    ]


def test_a_skipped_test_is_refused(validator):
    verdict = validator.judge(candidate("details", with_test(0, f"@pytest.mark.skip\n{DOUBLE}")))
    assert "is skipped" in verdict.failures[0].message


WEAK = {
    "asserts nothing of the result": ("def test_double():\n    assert True\n", "although every function raises"),
    "takes any error": (
        "def test_double():\n    with pytest.raises(Exception):\n        double(1, 6)\n",
        "although every function raises",
    ),
    "takes any result": ("def test_double():\n    double(1, 6)\n", "return None and on functions that return True"),
    "expects one constant": ("def test_double():\n    assert double(0, 6) == 0\n", "passes on functions that return 0"),
    "expects the argument": (
        "def test_double():\n    assert [double(n, 0) for n in (1, 2)] == [1, 2]\n",
        "passes on functions that return their first argument",
    ),
}


@pytest.mark.parametrize("case", WEAK)
def test_weak_tests_pass_with_a_warning_that_says_why(validator, case):
    code, why = WEAK[case]
    verdict = validator.judge(candidate("details", with_test(0, code)))
    assert verdict.passed
    assert list(weak(verdict)) == ["test_double"]
    assert why in weak(verdict)["test_double"]


def test_a_constant_beside_another_result_is_not_weak(validator):
    zero = {
        **POINTS_DETAILS["tests"][0],
        "name": "test_zero",
        "code": "def test_zero():\n    assert double(0, 6) == 0\n",
    }
    document = {**POINTS_DETAILS, "tests": [*POINTS_DETAILS["tests"], zero]}
    assert weak(validator.judge(candidate("details", document))) == {}


def test_a_document_that_is_no_text_of_its_own_is_refused_not_raised(validator):
    for answer in ("", "null", "[" * 50_000, '{"title": "\\ud800"}', text({"title": 1})):
        assert not validator.judge(candidate("requirements", answer)).passed
