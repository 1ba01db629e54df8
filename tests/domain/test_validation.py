import pytest

from mge_ray.domain.validation import LEVELS, Level, Severity, ValidationIssue, ValidationResult, failed_at
from tests.builders import PASSED, failed


def issue(severity, message="m"):
    return ValidationIssue(severity=severity, level=Level.LINT, message=message)


@pytest.mark.parametrize(
    ("severity", "passed"), [("critical", False), ("error", False), ("warning", True), ("info", True)]
)
def test_critical_and_error_fail_a_candidate_and_the_rest_does_not(severity, passed):
    assert ValidationResult(issues=(issue(severity),)).passed is passed


def test_a_verdict_without_issues_passes():
    assert ValidationResult().passed


def test_failures_name_critical_ones_first_and_keep_their_order_otherwise():
    found = ValidationResult(
        issues=(issue("error", "1"), issue("warning", "2"), issue("critical", "3"), issue("error", "4"))
    )
    assert [one.message for one in found.failures] == ["3", "1", "4"]


def test_a_verdict_that_got_further_has_more_merit():
    ladder = [failed_at(level, "no", rule="r") for level in LEVELS]
    assert [verdict.merit for verdict in ladder] == sorted(verdict.merit for verdict in ladder)
    assert PASSED.merit > ladder[-1].merit


def test_of_two_verdicts_at_one_level_the_one_with_fewer_failures_has_more_merit():
    assert failed("1").merit > failed("1", "2").merit


def test_the_duration_is_the_sum_over_the_levels():
    assert ValidationResult(seconds={"parse": 0.25, "tests": 0.5}).duration_s == 0.75


def test_a_single_failure_is_critical_unless_said_otherwise():
    verdict = failed_at(Level.PARSE, "no", rule="syntax")
    assert (verdict.level, verdict.failures[0].severity) == (Level.PARSE, Severity.CRITICAL)
    assert failed_at(Level.PARSE, "no", rule="r", severity=Severity.INFO).passed


def test_half_a_surrogate_pair_in_a_message_is_replaced():
    assert issue("error", "a\ud800b").message == "a\N{REPLACEMENT CHARACTER}b"
