"""An atom that fails because of what it rests on sends that back, waits, and is judged again by what was bought."""

from __future__ import annotations

import pytest

from mge_ray.domain import commands as c
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.progress import execution_state
from mge_ray.domain.validation import Level
from tests.builders import PASSED, atom, driven, failed, generation

FILES = {"tests/test_all.py": "def test_it(): pass\n"}
TESTED = {"tests": ("tests/test_all.py",)}


def blaming(*atoms: str):
    return failed("3 != 4").model_copy(update={"blamed": atoms})


def attempt(run, atom_id, verdict=PASSED, code="x = 1\n"):
    run.call(atom_id)
    run.arrive(atom_id, generation(code))
    run.check(atom_id)
    return run.judge(atom_id, verdict)


def helped(*, tested=False, **fields):
    """`caller` rests on `helper`, which is accepted; the caller has failed once because of it."""
    helper = atom("helper", **(TESTED if tested else {}))
    run = driven("", plan_fields={"atoms": (helper, atom("caller", "helper")), "files": FILES}, **fields)
    attempt(run, "helper", code="wrong\n")
    attempt(run, "caller", blaming("helper"), code="first\n")
    return run


def test_an_untested_dependency_is_opened_again_by_the_second_failure_and_not_by_the_first():
    run = helped()
    assert (run.status("helper"), run.ready()) == ("succeeded", ["caller"])
    attempt(run, "caller", blaming("helper"), code="second\n")
    assert (run.status("caller"), run.status("helper"), run.ready()) == ("waiting", "ready", ["helper"])
    assert run.machine.atoms["caller"].waits_for == "helper"


def test_the_dependency_is_told_what_fails_with_its_code():
    run = helped()
    attempt(run, "caller", blaming("helper"))
    command = run.call("helper")
    assert command.attempt == 2
    assert command.previous_code == "wrong\n"
    assert command.previous_errors == ("[wave] caller, which rests on this code, fails with it: 3 != 4",)


def test_answers_bought_before_are_checked_again_with_the_new_code_and_nothing_is_bought():
    run = helped()
    attempt(run, "caller", blaming("helper"), code="second\n")
    attempt(run, "helper", code="right\n")
    assert (run.ready(), run.ready(Pool.EXECUTE)) == ([], ["caller"])
    answers = run.machine.answers
    again = run.check("caller")
    assert (again.code, again.instead) == ("second\n", (("helper", "right\n"),)), (
        "of equal verdicts the later one first"
    )
    run.judge("caller", failed("still"))
    assert run.check("caller").code == "first\n"
    (finished,) = [one for one in run.judge("caller") if isinstance(one, c.AtomFinished)]
    assert (finished.succeeded, finished.attempts) == (True, 2)
    record = run.machine.atoms["caller"]
    assert (record.status.value, record.code, len(record.attempts)) == ("succeeded", "first\n", 2)
    assert [one.verdict.passed for one in record.attempts] == [True, False]
    assert run.machine.accepted_codes()["helper"] == "right\n"
    assert run.machine.answers == answers
    assert run.machine.status.value == "completed"
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_new_code_that_helps_nothing_is_not_used():
    run = helped()
    attempt(run, "caller", blaming("helper"))
    attempt(run, "helper", code="wrong too\n")
    for _ in range(2):
        run.check("caller")
        run.judge("caller", blaming("helper"))
    assert run.machine.accepted_codes()["helper"] == "wrong\n"
    assert "used where it helps" in run.machine.atoms["helper"].cause
    command = run.call("caller")
    assert (command.attempt, command.previous_errors) == (3, ("[tests] 3 != 4",)), "what fails on the code that stands"


def test_two_wrong_dependencies_are_put_right_together():
    run = driven("", plan_fields={"atoms": (atom("g"), atom("h"), atom("a", "g", "h"))})
    attempt(run, "g", code="wrong\n")
    attempt(run, "h", code="wrong\n")
    attempt(run, "a", blaming("g", "h"))
    attempt(run, "a", blaming("g", "h"))
    attempt(run, "g", code="right g\n")
    run.check("a")
    run.judge("a", blaming("h"))
    attempt(run, "a", blaming("g", "h"))
    attempt(run, "h", code="right h\n")
    seen = []
    while run.status("a") != "succeeded":
        below = dict(run.check("a").instead)
        seen.append(below)
        run.judge("a", PASSED if below == {"g": "right g\n", "h": "right h\n"} else blaming("g"))
    assert seen == [{"h": "right h\n"}, {"h": "right h\n", "g": "right g\n"}]
    assert run.machine.accepted_codes() == {"g": "right g\n", "h": "right h\n", "a": "x = 1\n"}
    assert len(run.machine.atoms["a"].attempts) == 3


def test_three_wrong_dependencies_are_put_right_together():
    names = ("f", "g", "h")
    run = driven("", plan_fields={"atoms": (*map(atom, names), atom("a", *names))})
    for name in names:
        attempt(run, name, code=f"wrong {name}\n")
    right = {name: f"right {name}\n" for name in names}
    for _ in range(4):
        attempt(run, "a", blaming(*names))
        while run.status("a") in {"waiting", "answered"}:
            if run.status("a") == "waiting":
                attempt(run, run.ready()[0], code=right[run.ready()[0]])
            else:
                below = dict(run.check("a").instead)
                run.judge("a", PASSED if below == right else blaming(*names))
    assert run.machine.accepted_codes() == {**right, "a": "x = 1\n"}


def test_code_that_something_tested_rests_on_is_trusted_like_tested_code():
    plan = (atom("helper"), atom("other", "helper", **TESTED), atom("caller", "helper"))
    run = driven("", plan_fields={"atoms": plan, "files": FILES})
    attempt(run, "helper")
    attempt(run, "other")
    for _ in range(3):
        attempt(run, "caller", blaming("helper"))
        assert run.status("helper") == "succeeded"
    attempt(run, "caller", blaming("helper"))
    assert (run.status("helper"), run.status("caller")) == ("ready", "waiting")


def test_whom_one_attempt_names_first_comes_before_whom_many_name_second():
    run = driven("", plan_fields={"atoms": (atom("g"), atom("h"), atom("a", "g", "h"))})
    attempt(run, "g")
    attempt(run, "h")
    attempt(run, "a", blaming("h", "g"))
    attempt(run, "a", blaming("g"))
    attempt(run, run.ready()[0])
    attempt(run, "a", blaming("g"))
    attempt(run, run.ready()[0])
    assert run.machine.atoms["a"].opened == ["g", "h"]


def test_a_check_past_one_fault_shows_the_next():
    run = driven("", plan_fields={"atoms": (atom("g"), atom("h"), atom("a", "g", "h"))})
    attempt(run, "g", code="wrong\n")
    attempt(run, "h", code="wrong\n")
    attempt(run, "a", blaming("g"))
    attempt(run, "a", blaming("g"))
    attempt(run, "g", code="right g\n")
    run.check("a")
    run.judge("a", blaming("h"))
    attempt(run, "a", blaming("g"))
    assert (run.status("h"), run.status("g")) == ("ready", "succeeded")
    attempt(run, "h", code="right h\n")
    while run.status("a") != "succeeded":
        below = dict(run.check("a").instead)
        run.judge("a", PASSED if below == {"g": "right g\n", "h": "right h\n"} else blaming("g"))
    assert run.machine.accepted_codes()["g"] == "right g\n"


def test_the_first_suspect_has_a_second_chance_before_the_third_has_one():
    run = driven("", plan_fields={"atoms": (atom("f"), atom("g"), atom("h"), atom("a", "f", "g", "h"))})
    for name in ("f", "g", "h"):
        attempt(run, name)
    for _ in range(4):
        attempt(run, "a", blaming("f", "g", "h"))
        while run.status("a") == "waiting":
            attempt(run, run.ready()[0])
    assert run.machine.atoms["a"].opened[:5] == ["f", "g", "f", "h", "g"]


def test_an_atom_sends_others_back_sixteen_times_at_most():
    names = [f"h{n}" for n in range(12)]
    run = driven("", plan_fields={"atoms": (*map(atom, names), atom("a", *names))})
    for name in names:
        attempt(run, name)
    for _ in range(2):
        run.call("a")
        run.arrive("a")
        run.check("a")
        run.judge("a", blaming(*names))
        while run.status("a") == "waiting":
            attempt(run, run.ready()[0])
    for _ in range(2):
        attempt(run, "a", blaming(*names))
        while run.status("a") == "waiting":
            attempt(run, run.ready()[0])
    assert run.status("a") == "failed"
    assert len(run.machine.atoms["a"].opened) == 16


def test_code_in_use_elsewhere_meanwhile_is_adopted_though_its_atom_is_open_again():
    atoms = (atom("h"), atom("a", "h"), atom("b", "h"))
    run = driven("", plan_fields={"atoms": atoms})
    attempt(run, "h", code="wrong\n")
    for name in ("a", "b"):
        attempt(run, name, failed("no") if name == "b" else blaming("h"))
    attempt(run, "a", blaming("h"))
    attempt(run, "h", code="right\n")
    run.check("a")
    attempt(run, "b", blaming("h"))
    assert (run.status("b"), run.status("h")) == ("waiting", "ready")
    run.judge("a")
    assert run.machine.accepted_codes()["h"] == "right\n"
    attempt(run, "h", failed("no"))
    assert run.machine.accepted_codes()["h"] == "right\n"
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_where_nothing_passes_on_the_new_code_the_next_attempt_is_made_before_anybody_is_blamed_again():
    run = helped()
    attempt(run, "caller", blaming("helper"))
    attempt(run, "helper", code="other\n")
    for _ in range(2):
        run.check("caller")
        run.judge("caller", blaming("helper"))
    assert (run.status("caller"), run.status("helper"), run.ready()) == ("ready", "succeeded", ["caller"])
    assert run.call("caller").attempt == 3


def test_a_dependency_that_keeps_its_code_lets_the_atom_go_on_without_a_check():
    run = helped()
    attempt(run, "caller", blaming("helper"))
    attempt(run, "helper", code="wrong\n")
    assert (run.ready(), run.ready(Pool.EXECUTE)) == (["caller"], [])


def test_a_tested_dependency_is_trusted_until_the_last_attempt():
    run = helped(tested=True, policy={"model": "m", "max_attempts": 3})
    attempt(run, "caller", blaming("helper"))
    assert (run.status("helper"), run.ready()) == ("succeeded", ["caller"])
    attempt(run, "caller", blaming("helper"))
    assert (run.status("caller"), run.status("helper")) == ("waiting", "ready")


def test_the_atom_fails_when_its_dependency_has_no_attempts_left():
    run = helped(policy={"model": "m", "max_attempts": 2})
    attempt(run, "caller", blaming("helper"))
    attempt(run, "helper", code="other\n")
    for _ in range(2):
        run.check("caller")
        run.judge("caller", blaming("helper"))
    assert (run.status("caller"), run.status("helper")) == ("failed", "succeeded")
    assert run.machine.atoms["caller"].cause == "all 2 attempts failed"
    assert execution_state(run.machine).atoms_succeeded == 1


def test_one_that_is_open_already_is_waited_for_by_all_that_fail_because_of_it():
    helper, callers = atom("helper"), (atom("a", "helper"), atom("b", "helper"))
    run = driven("", plan_fields={"atoms": (helper, *callers)})
    attempt(run, "helper", code="wrong\n")
    attempt(run, "a", blaming("helper"))
    run.call("b")
    attempt(run, "a", blaming("helper"))
    run.arrive("b")
    run.check("b")
    run.judge("b", blaming("helper"))
    assert [run.status(one) for one in ("a", "b", "helper")] == ["waiting", "waiting", "ready"]
    assert len(run.machine.atoms["helper"].attempts) == 1
    attempt(run, "helper", code="right\n")
    for one in ("a", "b"):
        run.check(one)
        run.judge(one)
    assert run.machine.status.value == "completed"
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_what_waits_may_itself_be_waited_for():
    run = driven("", plan_fields={"atoms": (atom("g"), atom("h", "g"), atom("a", "h"))})
    attempt(run, "g", code="wrong\n")
    attempt(run, "h", code="right on g\n")
    attempt(run, "a", blaming("h"))
    attempt(run, "a", blaming("h"))
    attempt(run, "h", blaming("g"), code="right\n")
    assert [run.status(one) for one in ("a", "h", "g")] == ["waiting", "waiting", "ready"]
    before = run.machine.accepted_version
    attempt(run, "g", code="right\n")
    run.check("h")
    run.judge("h")
    assert run.machine.accepted_version != before
    run.check("a")
    run.judge("a")
    assert run.machine.status.value == "completed"


def test_every_attempt_is_asked_whom_to_blame_since_a_wrong_one_may_not_get_that_far():
    run = helped(policy={"model": "m", "max_attempts": 2})
    attempt(run, "caller", failed("wrong by itself"))
    assert (run.status("caller"), run.status("helper")) == ("waiting", "ready")
    assert "3 != 4" in run.call("helper").previous_errors[0], "not what was wrong with the attempt itself"


def test_the_dependency_that_most_attempts_name_is_opened_first():
    run = driven("", plan_fields={"atoms": (atom("g"), atom("h"), atom("a", "g", "h"))})
    attempt(run, "g")
    attempt(run, "h")
    attempt(run, "a", blaming("h"))
    attempt(run, "a", blaming("g", "h"))
    assert (run.status("g"), run.status("h")) == ("succeeded", "ready")


@pytest.mark.parametrize("named", ["caller", "later", "nobody"])
def test_only_an_atom_of_an_earlier_wave_is_blamed(named):
    run = driven("", plan_fields={"atoms": (atom("helper"), atom("caller", "helper"), atom("later", "caller"))})
    attempt(run, "helper")
    for _ in range(4):
        attempt(run, "caller", blaming(named))
    assert run.status("caller") == "failed"


def test_answers_that_never_reached_their_tests_are_not_checked_again():
    run = helped()
    early = failed("no such name").model_copy(update={"level": Level.CONTRACT, "blamed": ("helper",)})
    attempt(run, "caller", early, code="second\n")
    attempt(run, "helper", code="right\n")
    assert run.check("caller").code == "first\n"
    run.judge("caller", failed("no"))
    assert run.ready() == ["caller"]


def test_an_answer_that_ends_its_workers_when_checked_again_fails_the_atom():
    run = helped(max_worker_losses=1)
    attempt(run, "caller", blaming("helper"), code="second\n")
    attempt(run, "helper", code="right\n")
    run.check("caller")
    run.lose_worker("caller")
    record = run.machine.atoms["caller"]
    assert (record.status.value, record.rechecks, len(record.attempts)) == ("failed", [], 2)


def test_a_cancel_ends_what_waits():
    run = helped()
    attempt(run, "caller", blaming("helper"))
    run.cancel()
    assert (run.status("caller"), run.status("helper")) == ("cancelled", "cancelled")


def test_one_that_times_out_while_it_is_checked_again_is_not_checked_a_third_time():
    run = helped(atom_timeout_s=60.0)
    attempt(run, "caller", blaming("helper"), code="second\n")
    attempt(run, "helper", code="right\n")
    run.check("caller")
    run.time_out("caller")
    record = run.machine.atoms["caller"]
    assert (record.status.value, record.rechecks) == ("failed", [])
