"""Code taken over from an earlier execution, and the key that it is found under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.atom import Complexity
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import IllegalTransitionError
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.progress import atom_state, execution_state
from mge_ray.domain.reuse import AtomKeys, ReuseSettings, Surroundings, differences
from mge_ray.domain.state import ExecutionStatus
from mge_ray.domain.validation import Level
from tests.builders import PASSED, atom, driven, failed, plan
from tests.properties import atom_lists, bounded

FILES = {"tests/test_all.py": "def test_it(): pass\n"}


def reuse(run, atom_id, code="old\n", **fields):
    return run.handle(e.AtomReused(run.now, atom_id, code, "key", "earlier", 0.25, **fields))


# ---- the machine -----------------------------------------------------------------------------------------------------


def test_an_atom_that_is_taken_over_has_succeeded_and_nothing_was_bought():
    run = driven("a -> b")
    (finished, done) = reuse(run, "a")
    assert (finished, done) == (c.AtomFinished("a", 1, succeeded=True, attempts=0, active_s=0.0), c.WaveFinished(1))
    assert run.machine.accepted_codes() == {"a": "old\n"}
    assert run.ready() == ["b"]
    seen = execution_state(run.machine)
    assert (seen.atoms_reused, seen.attempts, seen.total_cost_usd, seen.retry_rate) == (1, 0, 0.0, 0.0)
    assert atom_state(run.machine, "a").reused_from == "earlier"
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_an_execution_may_consist_of_what_was_taken_over():
    run = driven("a -> b")
    reuse(run, "a")
    reuse(run, "b")
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert run.machine.attempts_made == run.machine.answers == 0


def test_only_an_atom_that_waits_for_its_first_call_is_taken_over():
    run = driven("a, b -> c", policy={"model": "m", "max_attempts": 2, "backoff_base_s": 0})
    run.attempt("a", failed())
    run.call("b")
    for atom_id in ("a", "b", "c"):
        with pytest.raises(IllegalTransitionError):
            reuse(run, atom_id)
    assert run.machine.reusable(now=run.now) == []
    run.fail("b")
    assert run.machine.reusable(now=run.now) == ["b"]


def test_a_paused_execution_takes_nothing_over():
    run = driven("a")
    run.pause()
    with pytest.raises(IllegalTransitionError, match="paused"):
        reuse(run, "a")


def test_a_gate_sends_code_back_that_was_taken_over_and_all_attempts_are_left():
    run = driven(
        "a", plan_fields={"files": FILES, "acceptance_tests": ("tests",)}, policy={"model": "m", "max_attempts": 1}
    )
    reuse(run, "a")
    run.accept()
    verdict = failed("sum is 4").model_copy(update={"blamed": ("a",), "level": Level.SYSTEM})
    run.acceptance(verdict)
    assert (run.status("a"), execution_state(run.machine).atoms_reused) == ("ready", 0)
    assert run.machine.reusable(now=run.now) == []
    command = run.call("a")
    assert (command.attempt, command.previous_code) == (1, "old\n")
    assert "sum is 4" in command.previous_errors[0]
    assert "sum is 4" in atom_state(run.machine, "a").errors[0]
    run.arrive("a")
    run.check("a")
    run.judge("a")
    run.accept()
    run.acceptance()
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert run.machine.accepted_codes() == {"a": "x = 1\n"}
    assert run.replayed().snapshot() == run.machine.snapshot()


def test_code_taken_over_stands_again_where_nothing_better_comes():
    run = driven(
        "a", plan_fields={"files": FILES, "acceptance_tests": ("tests",)}, policy={"model": "m", "max_attempts": 1}
    )
    reuse(run, "a")
    run.accept()
    run.acceptance(failed().model_copy(update={"blamed": ("a",)}))
    run.attempt("a", failed())
    assert (run.status("a"), run.machine.accepted_codes()) == ("succeeded", {"a": "old\n"})
    assert execution_state(run.machine).atoms_reused == 1


def test_an_atom_that_rests_on_it_may_blame_it():
    run = driven("a -> b")
    reuse(run, "a")
    for _ in range(2):
        run.attempt("b", failed().model_copy(update={"blamed": ("a",)}))
    assert (run.status("b"), run.status("a"), run.ready(Pool.GENERATE)) == ("waiting", "ready", ["a"])
    run.attempt("a", PASSED)
    assert (run.status("a"), run.status("b")) == ("succeeded", "answered")


# ---- keys ------------------------------------------------------------------------------------------------------------

SETTINGS = ReuseSettings(provider="live", validator="1")
AROUND = Surroundings("t", "f")


def keys_of(made: Masterplan, codes: dict[str, str], settings: ReuseSettings = SETTINGS, around: Surroundings = AROUND):
    keys = AtomKeys(made, settings, lambda _atom: around)
    return {one.id: keys.key(one.id, 0, lambda: codes) for one in made.atoms}


def changed(before, after):
    return {atom_id for atom_id in before if before[atom_id].digest != after[atom_id].digest}


def cone(made: Masterplan, atom_id: str) -> set[str]:
    return {one.id for one in made.atoms if one.id == atom_id or atom_id in made.closure(one.id)}


def edited(made: Masterplan, atom_id: str, **fields: object) -> Masterplan:
    atoms = [one.model_copy(update=fields) if one.id == atom_id else one for one in made.atoms]
    return Masterplan(name=made.name, atoms=tuple(atoms))


@bounded
@given(listed=atom_lists(), number=st.integers(0, 7))
def test_an_edit_changes_exactly_the_keys_of_its_cone_where_the_code_changes_and_one_where_it_does_not(listed, number):
    made = Masterplan(name="plan", atoms=tuple(listed))
    atom_id = made.atoms[number % len(made.atoms)].id
    codes = {one.id: f"# {one.id}\n" for one in made.atoms}
    before = keys_of(made, codes)
    after = edited(made, atom_id, description="something else")
    assert changed(before, keys_of(after, codes)) == {atom_id}
    assert changed(before, keys_of(after, codes | {atom_id: "# new\n"})) == cone(made, atom_id)
    assert len({key.digest for key in before.values()}) == len(made.atoms)


@bounded
@given(listed=atom_lists(), data=st.data())
def test_the_order_of_a_plan_and_of_its_edges_changes_no_key(listed, data):
    made = Masterplan(name="plan", atoms=tuple(listed))
    codes = {one.id: f"# {one.id}\n" for one in made.atoms}
    shuffled = Masterplan(name="other", atoms=tuple(data.draw(st.permutations(listed))))
    assert changed(keys_of(made, codes), keys_of(shuffled, codes)) == set()


def test_code_is_taken_byte_for_byte():
    made = plan("a -> b")
    before = keys_of(made, {"a": "x = 1\n"})
    assert changed(before, keys_of(made, {"a": "x  = 1\n"})) == {"b"}


def test_what_only_changes_how_one_asks_is_not_in_the_key():
    made, codes = plan("a -> b"), {"a": "x\n"}
    assert (
        changed(keys_of(made, codes), keys_of(edited(made, "a", complexity=Complexity.HIGH, estimated_loc=99), codes))
        == set()
    )


def test_where_a_dependency_stands_is_in_the_key_and_what_it_is_for_is_not():
    made, codes = plan("a -> b"), {"a": "x\n"}
    before = keys_of(made, codes)
    assert changed(before, keys_of(edited(made, "a", imports=("import os",)), codes)) == {"a", "b"}
    assert changed(before, keys_of(edited(made, "a", postconditions=("x > 0",)), codes)) == {"a"}


def test_a_chain_of_thousands_has_keys():
    made = plan(" -> ".join(f"a{number}" for number in range(3_000)))
    keys = AtomKeys(made, SETTINGS, lambda _atom: Surroundings("", ""))
    last = keys.key("a2999", 0, lambda: {"a0": "x\n"})
    assert last.digest != keys.key("a2999", 1, lambda: {"a0": "y\n"}).digest
    assert last.digest == keys.key("a2999", 2, lambda: {"a0": "x\n"}).digest


def test_accepted_code_is_asked_for_once_a_version():
    asked = []
    keys = AtomKeys(plan("a -> b -> c"), SETTINGS, lambda _atom: Surroundings("", ""))
    for version in (1, 1, 2):
        for atom_id in ("b", "c"):
            keys.key(atom_id, version, lambda: asked.append(0) or {})
    assert len(asked) == 2


def test_differences_are_told_part_by_part():
    made, codes = plan("a, b -> c"), {"a": "x\n", "b": "x\n"}
    before = keys_of(made, codes)["c"]
    moved = Masterplan(name="p", atoms=(*made.atoms[:2], atom("c", "a")))
    after = keys_of(moved, codes, ReuseSettings(provider="simulated", validator="2"), Surroundings("u", "g"))["c"]
    assert differences(before, before) == []
    assert differences(before, after) == [
        "its specification changed",
        "its tests changed",
        "a file that its code or its tests reach changed",
        "the validator or one of its tools has another version",
        "another provider answers",
        "it rests on a now",
        "it rests on b no longer",
    ]
    (told,) = differences(before, keys_of(made, {"a": "x\n", "b": "y\n"})["c"])
    assert told == "the code of b, or of what that rests on, changed"
