from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mge_ray.domain import plan as plans
from mge_ray.domain.errors import PlanError, UnknownExecutionError
from mge_ray.domain.plan import ExecutionWave, Masterplan, check_waves, checked_plan, compute_waves, dependency_graph
from tests.builders import atom, atoms, plan
from tests.properties import atom_lists, bounded


def waves(text):
    """`"a b | c"`: atoms of a wave by spaces, waves by bars."""
    return tuple(ExecutionWave(wave_id=n, atom_ids=tuple(ids.split())) for n, ids in enumerate(text.split("|"), 1))


def refusal(**fields):
    with pytest.raises(PlanError) as refused:
        checked_plan({"name": "plan", **fields})
    assert "\n" not in str(refused.value)
    return str(refused.value)


@bounded
@given(atom_lists())
def test_every_dependency_is_in_a_strictly_earlier_wave(listed):
    made = Masterplan(name="plan", atoms=tuple(listed))
    for unit in listed:
        for dependency in unit.depends_on:
            assert made.wave_of[dependency] < made.wave_of[unit.id]


@bounded
@given(atom_lists())
def test_no_atom_waits_longer_than_its_dependencies_ask(listed):
    made = Masterplan(name="plan", atoms=tuple(listed))
    for unit in listed:
        assert made.wave_of[unit.id] == 1 + max((made.wave_of[d] for d in unit.depends_on), default=0)
    assert sorted(a for wave in made.waves for a in wave.atom_ids) == sorted(unit.id for unit in listed)


@bounded
@given(atom_lists())
def test_a_closure_is_everything_that_leads_to_an_atom(listed):
    made = Masterplan(name="plan", atoms=tuple(listed))
    for unit in listed:
        expected = set(unit.depends_on).union(*(made.closure(d) for d in unit.depends_on))
        assert set(made.closure(unit.id)) == expected
        assert unit.id not in expected


@bounded
@given(atom_lists(), st.randoms())
def test_computed_waves_pass_the_check_for_given_ones(listed, order):
    check_waves(listed, compute_waves(listed))
    shuffled = list(listed)
    order.shuffle(shuffled)
    assert {w.wave_id: set(w.atom_ids) for w in compute_waves(shuffled)} == {
        w.wave_id: set(w.atom_ids) for w in compute_waves(listed)
    }


def test_edges_point_from_a_dependency_to_its_dependent():
    assert list(dependency_graph(atoms("a -> b")).edges) == [("a", "b")]
    assert [wave.atom_ids for wave in plan("b, a -> b, b -> c").waves] == [("a",), ("b",), ("c",)]


def test_atoms_of_a_wave_stand_in_the_plans_order():
    assert plan("z, a, m").waves[0].atom_ids == ("z", "a", "m")


def test_a_plan_of_one_atom_is_one_wave():
    assert plan("a").waves == waves("a")


def test_given_waves_are_taken_as_they_are():
    given_waves = waves("a | b | c")
    assert plan("a, b, a -> c", execution_plan=given_waves).waves == given_waves


def test_given_waves_may_be_empty():
    assert len(plan("a", execution_plan=(*waves("a"), ExecutionWave(wave_id=2, atom_ids=()))).waves) == 2


@pytest.mark.parametrize(
    ("given_waves", "problem"),
    [
        (waves("a b"), "in wave 1 depends on 'a' in wave 1; a dependency's wave must be strictly earlier"),
        (waves("b | a"), "in wave 1 depends on 'a' in wave 2"),
        (waves("a"), "atom 'b' is in no wave"),
        (waves("b"), "atom 'a' is in no wave"),
        (waves("a | b a"), "atom 'a' stands in waves 1 and 2"),
        (waves("a | b x"), "names atom 'x', which the plan does not have"),
        (waves("a | b")[::-1], "wave 2 stands at place 1"),
    ],
)
def test_given_waves_that_cannot_be_run_are_refused_in_one_line(given_waves, problem):
    assert problem in refusal(atoms=atoms("a -> b"), execution_plan=given_waves)


def test_an_atom_cannot_depend_on_itself_in_any_wave():
    assert "depends on 'a' in wave 1" in refusal(atoms=(atom("a", "a"),), execution_plan=waves("a"))


def test_a_cycle_is_named():
    assert refusal(atoms=(atom("a", "b"), atom("b", "a"))) == (
        "the dependencies form a cycle: a -> b -> a; remove one of these edges"
    )


def test_a_long_cycle_is_shortened():
    ring = tuple(atom(f"a{n}", f"a{(n - 1) % 30}") for n in range(30))
    assert "..." in refusal(atoms=ring)
    assert len(refusal(atoms=ring)) < 150


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"atoms": ()}, "the plan has no atoms"),
        ({"atoms": (atom("a"), atom("a", symbol="g"))}, "atom id 'a' is used twice"),
        ({"atoms": (atom("a", "ghost"),)}, "atom 'a' depends on 'ghost', which the plan does not have"),
        ({"atoms": (atom("a"), atom("b", symbol="f_a"))}, "atoms 'a' and 'b' both define 'f_a' in 'app/m.py'"),
        ({"atoms": (atom("a"), atom("b", defines=("f_a",)))}, "both define 'f_a'"),
        ({"atoms": (atom("a", tests=("t.py::t",)),)}, "names the test 't.py::t', but the plan has no file 't.py'"),
        ({"atoms": (atom("a"),), "acceptance_tests": ("t",)}, "the plan has no file or folder 't'"),
        (
            {"atoms": (atom("a"),), "execution_plan": [{"wave_id": 1, "atom_ids": ["a"], "tests": ["t::x"]}]},
            "a wave names the test 't::x', but the plan has no such file",
        ),
        ({"atoms": (atom("a", file="t.py", tests=("t.py",)),), "files": {"t.py": ""}}, "a file that judges atoms"),
        ({"atoms": (atom("a", file="app/conftest.py"),)}, "a file that judges atoms"),
        ({"atoms": (atom("a"),), "files": {"../x": ""}}, "is not a plain relative path"),
        ({"atoms": (atom("a"),), "files": {".": ""}}, "is not a plain relative path"),
    ],
)
def test_a_plan_that_cannot_be_executed_is_refused_in_one_line(fields, problem):
    assert problem in refusal(**fields)


def test_a_plan_made_directly_is_checked_as_well():
    with pytest.raises(ValidationError, match="the plan has no atoms"):
        Masterplan(name="plan", atoms=())


def test_too_many_atoms_and_too_large_files_are_refused(monkeypatch):
    monkeypatch.setattr(plans, "MAX_ATOMS", 1)
    assert "2 atoms; 1 is the most" in refusal(atoms=atoms("a, b"))
    monkeypatch.setattr(plans, "MAX_FILES_CHARS", 3)
    assert "files hold more than" in refusal(atoms=atoms("a"), files={"x": "four"})


def test_tests_may_be_files_folders_and_node_ids_of_the_plan():
    files = {"tests/test_m.py": "", "m.py": ""}
    made = plan("a", files=files, acceptance_tests=("tests", "tests/test_m.py::test_a"))
    assert made.acceptance_tests == ("tests", "tests/test_m.py::test_a")
    judged = atom("a", tests=("tests/test_m.py::test_a", "tests"))
    assert checked_plan({"name": "plan", "atoms": (judged,), "files": files}).atoms == (judged,)


def test_a_plan_without_an_id_gets_one_from_its_content():
    assert plan("a").masterplan_id == plan("a").masterplan_id
    assert plan("a").masterplan_id != plan("b").masterplan_id
    assert plan("a", masterplan_id=UUID(int=5)).masterplan_id == UUID(int=5)


def test_a_plan_survives_its_json_form():
    made = plan("a, b -> c", files={"x.txt": "é"})
    assert Masterplan.model_validate_json(made.model_dump_json()) == made


def test_what_is_reached_on_two_ways_stands_once_in_a_closure():
    assert plan("z, a -> b, a -> c, b -> d, c -> d").closure("d") == ("a", "b", "c")


def test_dependents_are_the_reverse_of_dependencies():
    assert plan("a -> b, a -> c").dependents == {"a": ("b", "c"), "b": (), "c": ()}


def test_the_critical_path_is_the_longest_chain():
    assert plan("x, a -> b, b -> c, a -> c").critical_path() == ("a", "b", "c")


def test_an_unknown_atom_is_named():
    with pytest.raises(UnknownExecutionError, match="'plan' has no atom 'ghost'"):
        plan("a").atom("ghost")
    assert plan("a").atom("a").id == "a"
