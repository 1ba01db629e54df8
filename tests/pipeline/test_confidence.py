"""Which atoms are to be looked at first, and why."""

from __future__ import annotations

import pytest

from mge_ray.domain.generation import StopReason
from mge_ray.domain.validation import Level, Severity, ValidationIssue, ValidationResult
from mge_ray.pipeline.confidence import review_list, scored, share_rewritten
from tests.builders import PASSED, Driven, atom, driven, failed, generation, plan

TESTS = {
    "tests/test_a.py": """
def test_a():
    assert 1
    assert 2

def test_nothing():
    print()

def test_one():
    assert 1
"""
}


def judged_by(test: str = "test_a", **fields: object) -> Driven:
    made = atom("a", tests=(f"tests/test_a.py::{test}",), **fields)
    return driven("a", plan_fields={"atoms": (made,), "files": TESTS})


def of(run: Driven, atom_id: str = "a"):
    return next(item for item in scored(run.machine) if item.atom_id == atom_id)


def reasons(run: Driven, atom_id: str = "a") -> list[tuple[int, str]]:
    return [(reason.points, reason.text) for reason in of(run, atom_id).reasons]


def test_an_atom_that_passed_at_once_under_tests_has_full_confidence():
    run = judged_by()
    run.attempt("a")
    assert (of(run).confidence, of(run).reasons) == (100, ())
    assert review_list(scored(run.machine)) == ()


def test_every_rejected_attempt_costs_and_using_all_of_them_costs_more():
    run = judged_by()
    for _ in range(3):
        run.attempt("a", failed("no"))
    run.attempt("a")
    assert reasons(run) == [(40, "3 rejected attempts, all 4 allowed ones used")]
    assert of(run).confidence == 60


def test_a_rewrite_costs_by_how_much_is_new():
    run = judged_by()
    run.call("a")
    run.arrive("a", generation("x = 1\ny = 2\n"))
    run.check("a")
    run.judge("a", failed("no"))
    run.call("a")
    run.arrive("a", generation("p = 1\nq = 2\n"))
    run.check("a")
    run.judge("a")
    assert (15, "100% of the lines differ from the attempt before") in reasons(run)


@pytest.mark.parametrize(
    ("test", "ran", "said"),
    [
        ("test_nothing", 1, (30, "its tests assert nothing")),
        ("test_one", 1, (10, "one assertion judges it")),
        ("test_a", 0, (40, "its tests did not run")),
    ],
)
def test_weak_tests_cost_confidence(test, ran, said):
    run = judged_by(test)
    run.attempt("a", PASSED.model_copy(update={"tests_run": ran}))
    assert reasons(run) == [said]


def test_one_assertion_over_many_cases_is_not_weak():
    run = judged_by("test_one")
    run.attempt("a", PASSED.model_copy(update={"tests_run": 7}))
    assert reasons(run) == []


def test_an_atom_without_tests_is_listed():
    run = driven("a")
    run.attempt("a")
    assert reasons(run) == [(40, "no test judges it")]


def test_lost_workers_cut_answers_warnings_and_long_code_cost():
    run = judged_by(estimated_loc=1)
    run.call("a")
    run.arrive("a", generation("x = 1\n", stop_reason=StopReason.MAX_TOKENS))
    run.call("a")
    run.arrive("a", generation("a = 1\nb = 1\nc = 1\n"))
    run.check("a")
    run.lose_worker("a")
    run.check("a")
    warning = ValidationIssue(severity=Severity.WARNING, level=Level.LINT, message="long line")
    run.judge("a", ValidationResult(issues=(warning,), tests_run=2))
    said = {text: points for points, text in reasons(run)}
    assert said["an answer was cut at max_tokens"] == 8
    assert said["checking it lost 1 worker(s)"] == 15
    assert said["1 warning on the accepted answer"] == 3
    assert said["3 lines of code where 1 were planned"] == 8


def test_failed_atoms_come_first_and_blocked_ones_are_not_listed():
    run = driven("a -> b, c")
    for _ in range(4):
        run.attempt("a", failed("no"))
    run.attempt("c")
    listed = review_list(scored(run.machine))
    assert [(item.atom_id, item.confidence, item.dependents) for item in listed] == [("a", 0, 1), ("c", 60, 0)]
    assert listed[0].reasons[0].text == "failed: all 4 attempts failed"


def test_of_equals_the_one_that_more_rests_on_comes_first():
    run = driven("a, b -> c -> d")
    for atom_id in "abc":
        run.attempt(atom_id)
    assert [item.atom_id for item in review_list(scored(run.machine))] == ["b", "c", "a"]


def test_code_that_was_kept_in_spite_of_something_is_listed_with_what():
    run = judged_by()
    run.attempt("a")
    run.machine.atoms["a"].cause = "kept as it was accepted before"
    assert reasons(run) == [(25, "kept as it was accepted before")]


def test_transport_errors_cost_nothing():
    run = judged_by()
    run.call("a")
    run.fail("a")
    run.attempt("a")
    assert of(run).confidence == 100


def test_comparing_long_hostile_code_is_bounded():
    same = "x\n" * 1_000_000
    assert share_rewritten(same, same) == 0
    assert share_rewritten("a\n" * 500, "b\n" * 500) == 1


def test_the_plan_of_a_paused_run_has_nothing_to_review_yet():
    assert scored(driven("a").machine) == []
    assert plan("a").atoms[0].id == "a"
