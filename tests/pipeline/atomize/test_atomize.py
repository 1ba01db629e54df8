"""From texts and observations to a plan, on packages written here; nothing is run."""

import ast

import pytest

from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.atomize import (
    Atomized,
    AtomizeError,
    Entry,
    Observations,
    ObservedTest,
    Options,
    ProjectTree,
    atomize,
)
from mge_ray.pipeline.workspace import assemble


def project(tests: str | None = "tests", **files: str) -> ProjectTree:
    named = {name.replace("__", "/") + ".py": text for name, text in files.items()}
    texts = {"pkg/__init__.py": "", "tests/test_a.py": "def test_a(): pass\n", **named}
    modules = tuple(path for path in texts if path.startswith("pkg/"))
    return ProjectTree("pkg", texts, modules, tests)


def made(text: str, *, entered: tuple[Entry, ...] = (), tests: tuple[ObservedTest, ...] = (), **more: str) -> Atomized:
    return atomize(project(pkg__m=text, **more), Observations(frozenset(entered), tests))


def ran(name: str, *lines: int, outcome: str = "passed", seconds: float = 0.1, reports: int = 1) -> ObservedTest:
    node_id = f"tests/test_a.py::{name}"
    return ObservedTest(node_id, outcome, seconds, {"pkg/m.py": frozenset(lines)}, reports)


def skeleton(result: Atomized) -> str:
    return result.plan.files["pkg/m.py"]


def rests_on(plan: Masterplan, symbol: str) -> set[str]:
    atom = next(one for one in plan.atoms if one.symbol == symbol)
    return {plan.by_id[other].symbol for other in atom.depends_on}


def symbols(result: Atomized) -> list[str]:
    return [atom.symbol for atom in result.plan.atoms]


LARGE = "\n".join(f"    field_{n}: int = {n}" for n in range(16)) + "\n"


def assert_comes_back(text: str, result: Atomized) -> None:
    rebuilt = assemble(result.plan, result.answers)["pkg/m.py"]
    assert ast.dump(ast.parse(rebuilt)) == ast.dump(ast.parse(text))


def test_a_body_gives_way_and_every_byte_around_it_stays():
    text = '# head\nX  =  1 # odd\n\ndef f(a,b = 2):  # why\n    """Doc."""\n    # inner\n    return a+b\n\n\n# tail\n'
    result = made(text)
    stub = '"""Doc."""\n    raise NotImplementedError\n'
    assert skeleton(result) == text.replace('"""Doc."""\n    # inner\n    return a+b\n', stub)
    assert_comes_back(text, result)


def test_one_line_functions_and_crlf_survive():
    result = made("def f(a): return a\r\n\r\ndef g(a):\r\n    return f(a)\r\n")
    assert skeleton(result).startswith("def f(a): raise NotImplementedError\r\n\r\ndef g(a):\r\n")
    assert rests_on(result.plan, "g") == {"f"}


@pytest.mark.parametrize(
    "text",
    [
        "async def f(x):\n    async with x as y:\n        yield await y\n",
        "def f(xs):\n    def inner(y):\n        return y + 1\n    return [inner(x) for x in xs]\n",
        "def f():\n    return '''\n  text\n'''\n",
        "class A:\n"
        + LARGE
        + "    def f(self):\n        '''Doc.\n\n            deep\n        '''\n        return '''\nx\n'''\n",
        "class A:\n" + LARGE + "    __slots__ = ()\n    @staticmethod\n    def f(*, a=1):\n        yield a\n",
        "import dataclasses as d\n@d.dataclass\nclass P:\n    x: int\n    def two(self):\n        return 2 * self.x\n",
        "class O:\n"
        + LARGE
        + "    class I:\n"
        + LARGE.replace("    f", "        f")
        + "        def g(self): return 1\n",
    ],
    ids=["async generator", "nested function", "string", "docstring", "static generator", "dataclass", "nested class"],
)
def test_original_answers_give_the_original_syntax(text):
    result = made(text)
    assert "raise NotImplementedError" in skeleton(result)
    assert_comes_back(text, result)


def test_a_property_and_its_setter_are_one_atom():
    text = (
        "class A:\n" + LARGE + "    @property\n    def x(self):\n        return self._x\n"
        "    @x.setter\n    def x(self, value):\n        self._x = value\n"
    )
    result = made(text)
    assert symbols(result) == ["A.x"]
    assert result.plan.atoms[0].signature == "@x.setter\ndef x(self, value)"
    assert_comes_back(text, result)


def test_overloads_go_with_what_they_overload():
    text = (
        "from typing import overload\n@overload\ndef f(a: int) -> int: ...\n@overload\ndef f(a: str) -> str: ...\n"
        "def f(a):\n    return a\n"
    )
    result = made(text)
    assert symbols(result) == ["f"]
    assert skeleton(result).count("...") == 2
    assert_comes_back(text, result)


def test_small_classes_are_one_atom_and_larger_ones_one_for_each_method():
    small = "class A:\n    def f(self):\n        return 1\n"
    large = "class B:\n" + LARGE + "    def f(self):\n        return 1\n    def g(self):\n        return 2\n"
    assert symbols(made(small + large)) == ["A", "B.f", "B.g"]


def test_conditional_abstract_and_import_time_code_is_kept_with_the_reason():
    text = (
        "import sys\nif sys.version_info > (3,):\n    def a():\n        return 1\n"
        "def b():\n    return 2\nX = b()\ndef c():\n    raise NotImplementedError\ndef d():\n    return a() + X\n"
    )
    result = made(text, entered=(Entry("pkg/m.py", 5, "b"),))
    assert symbols(result) == ["d"]
    assert {one.key.symbol: one.reason for one in result.kept} == {
        "a": "is defined under a condition, or twice",
        "b": "runs while the package is imported",
        "c": "has no body to write",
    }


def test_nothing_to_make_an_atom_of_is_an_error():
    with pytest.raises(AtomizeError, match="can be an atom"):
        made("X = 1\n")


def test_mutual_recursion_is_one_atom():
    text = (
        "def even(n):\n    return n == 0 or odd(n - 1)\n\nX = 1\n\n"
        "def odd(n):\n    return n != 0 and even(n - 1)\n\ndef f(n):\n    return odd(n)\n"
    )
    result = made(text)
    assert symbols(result) == ["even", "f"]
    assert result.plan.atoms[0].defines == ("odd",)
    assert rests_on(result.plan, "f") == {"even"}
    assert result.merged == (("even", "odd"),)


def test_recursion_across_files_loses_one_edge_and_says_so():
    result = made(
        "from pkg import n\ndef f(x):\n    return n.g(x)\n", pkg__n="from pkg import m\ndef g(x):\n    return m.f(x)\n"
    )
    assert len(result.plan.atoms) == 2
    assert len(result.cut) == 1


def test_dependencies_pass_through_code_that_is_kept():
    text = "def leaf():\n    return 1\nclass K:\n" + LARGE + "    def __init__(self):\n        self.x = leaf()\n"
    result = made(text + "def make():\n    return K()\n")
    assert rests_on(result.plan, "make") == {"K.__init__"}
    assert rests_on(result.plan, "K.__init__") == {"leaf"}


def test_attributes_follow_bases_overrides_super_and_evident_types():
    text = (
        "class A:\n" + LARGE + "    def run(self):\n        return self.step()\n    def step(self):\n        return 1\n"
        "class B(A):\n" + LARGE + "    def step(self):\n        return super().step()\n"
        "def use(b: B):\n    return b.run()\ndef build():\n    x = B()\n    return x.run()\n"
    )
    plan = made(text).plan
    assert rests_on(plan, "A.run") == {"A.step", "B.step"}
    assert rests_on(plan, "B.step") == {"A.step"}
    assert rests_on(plan, "use") == {"A.run"}
    assert rests_on(plan, "build") == {"A.run"}


def test_operators_lead_to_the_methods_behind_them():
    text = (
        "class V:\n" + LARGE + "    def __add__(self, o):\n        return self\n    def __getitem__(self, k):\n"
        "        return k\n    def __iter__(self):\n        return iter(())\n"
    )
    text += "def f(v: V):\n    return (v + v)[0]\ndef g(v: V):\n    return [x for x in v]\n"
    plan = made(text).plan
    assert rests_on(plan, "f") >= {"V.__add__", "V.__getitem__"}
    assert "V.__iter__" in rests_on(plan, "g")


def test_imports_are_followed_through_re_exports_and_stars():
    result = made(
        "from . import tools\nfrom .facade import helper as h\nfrom .other import *\nimport pkg.deep\n"
        "def f():\n    return tools.t()\ndef g():\n    return h()\ndef k():\n    return o()\n"
        "def d():\n    from .deep import e\n    return e(), pkg.deep.e2()\n",
        pkg__tools="def t():\n    return 1\n",
        pkg__facade="from .impl import helper\n",
        pkg__impl="def helper():\n    return 1\n",
        pkg__other="def o():\n    return 1\n",
        pkg__deep="def e():\n    return 1\ndef e2():\n    return 1\n",
    )
    found = {symbol: rests_on(result.plan, symbol) for symbol in ("f", "g", "k", "d")}
    assert found == {"f": {"t"}, "g": {"helper"}, "k": {"o"}, "d": {"e", "e2"}}


def test_decorators_defaults_and_locals_that_hide_names_are_told_apart():
    text = "def a():\n    return 1\ndef b(f):\n    return f\ndef c(x=a):\n    b = x\n    return b\n"
    text += "@b\ndef d():\n    return 2\n"
    result = made(text)
    assert rests_on(result.plan, "c") == {"a"}
    assert rests_on(result.plan, "d") == {"b"}
    assert result.edges == {"default": 1, "decorator": 1, "name": 1}


CHAIN = "def low():\n    return 1\ndef high():\n    return low()\ndef other():\n    return 3\n"


def test_a_test_judges_the_atom_on_which_all_it_covers_rests():
    result = made(CHAIN, tests=(ran("test_low", 2), ran("test_high", 2, 4), ran("test_other", 6)))
    assert {a.symbol: a.tests for a in result.plan.atoms} == {
        "low": ("tests/test_a.py::test_low",),
        "high": ("tests/test_a.py::test_high",),
        "other": ("tests/test_a.py::test_other",),
    }
    assert result.plan.acceptance_tests == ("tests",)
    assert result.weak == ()


def test_a_test_of_unrelated_atoms_waits_for_their_wave():
    result = made(
        CHAIN, tests=(ran("test_low", 2), ran("test_high", 2, 4), ran("test_o", 6), ran("test_both", 2, 4, 6))
    )
    assert [wave.tests for wave in result.plan.waves] == [(), ("tests/test_a.py::test_both",)]


def test_an_atom_without_a_test_waits_for_what_its_only_test_runs_besides():
    result = made(CHAIN, tests=(ran("test_low", 2), ran("test_high", 2, 4), ran("test_both", 2, 6)))
    assert rests_on(result.plan, "other") == {"low"}
    assert result.weak == ()
    assert result.helped == 1


def test_an_unjudged_helper_is_written_with_its_caller():
    result = made(CHAIN, tests=(ran("test_high", 2, 4), ran("test_other", 6)))
    assert symbols(result) == ["low", "other"]
    assert result.plan.atoms[0].defines == ("high",)
    assert result.adopted == (("low", "high"),)


def test_what_no_test_runs_stays_in_the_skeleton_unless_everything_is_wanted():
    tree = project(pkg__m=CHAIN)
    observed = Observations(frozenset(), (ran("test_low", 2), ran("test_high", 2, 4)))
    result = atomize(tree, observed)
    assert symbols(result) == ["low", "high"]
    assert [(one.key.symbol, one.reason) for one in result.kept] == [("other", "no test that could judge it runs it")]
    assert atomize(tree, observed, Options(everything=True)).weak == ("pkg.m:other",)


def test_what_is_only_tested_with_its_callers_is_an_atom_for_a_wave_or_kept_on_request():
    long = (
        "def low():\n    return 1\ndef high():\n"
        + "".join(f"    x{n} = {n}\n" for n in range(30))
        + "    return low()\n"
    )
    tree = project(pkg__m=long)
    observed = Observations(frozenset(), (ran("test_high", 2, *range(4, 35)),))
    assert atomize(tree, observed).weak == ("pkg.m:low",)
    kept = atomize(tree, observed, Options(judged=True))
    assert symbols(kept) == ["high"]
    assert "is only tested together with what rests on it" in [one.reason for one in kept.kept]


def test_an_atom_is_judged_by_tests_that_run_each_of_its_lines():
    text = "def f(x):\n    if x == 1:\n        return 1\n    if x == 2:\n        return 2\n    return 3\n"
    many = tuple(ran(f"test_{n}", 2, 3, seconds=0.01) for n in range(20))
    result = made(text, tests=(*many, ran("test_two", 2, 4, 5), ran("test_three", 2, 4, 6)))
    tests = set(result.plan.atoms[0].tests)
    assert {"tests/test_a.py::test_two", "tests/test_a.py::test_three"} <= tests
    assert len(tests) == 8


def test_a_test_that_was_not_watched_judges_nothing_and_is_accepted_at_the_end():
    unseen = ObservedTest("tests/test_a.py::test_slow", "passed", 9.0, watched=False)
    result = made(CHAIN, tests=(ran("test_low", 2), ran("test_high", 2, 4), ran("test_other", 6), unseen))
    assert "tests/test_a.py::test_slow" not in {test for atom in result.plan.atoms for test in atom.tests}
    assert result.plan.acceptance_tests == ("tests",)


def test_skipped_failing_and_endless_tests_judge_no_atom():
    tests = (
        ran("test_low", 2, outcome="skipped"),
        ran("test_high", 4, outcome="failed"),
        ran("test_other", 6, reports=5_000),
        ran("test_fine", 2, 4),
    )
    result = made(CHAIN, tests=tests)
    assert {test for atom in result.plan.atoms for test in atom.tests} == {"tests/test_a.py::test_fine"}
    assert result.failing == ("tests/test_a.py::test_high",)
    assert "tests/test_a.py::test_fine" in result.plan.acceptance_tests
    assert "tests/test_a.py::test_high" not in result.plan.acceptance_tests


def test_what_collecting_a_file_runs_counts_for_all_its_tests():
    tree = project(pkg__m=CHAIN)
    collected = {"tests": {"pkg/m.py": frozenset({6})}}
    result = atomize(tree, Observations(frozenset(), (ran("test_low", 2), ran("test_high", 2, 4)), collected))
    assert symbols(result) == ["low", "high"]
    assert result.adopted == (("low", "other"),)


def call(caller: int, callee: int) -> tuple[Entry, Entry]:
    return Entry("pkg/m.py", caller, "f"), Entry("pkg/m.py", callee, "g")


def test_calls_that_were_seen_are_edges_of_a_kind_of_their_own():
    text = "def apply(f):\n    return f()\ndef one():\n    return 1\n"
    result = atomize(project(pkg__m=text), Observations(calls=frozenset({call(1, 3)})))
    assert rests_on(result.plan, "apply") == {"one"}
    assert result.edges == {"observed": 1}
    assert result.dependencies == {"observed": 1}


def test_a_call_inside_an_inner_function_is_its_outer_functions():
    text = "def outer():\n    def inner(f):\n        return f()\n    return inner\ndef one():\n    return 1\n"
    result = atomize(project(pkg__m=text), Observations(calls=frozenset({call(2, 5)})))
    assert rests_on(result.plan, "outer") == {"one"}


def test_a_seen_call_never_throws_a_certain_edge_out():
    text = "def low(f):\n    return f()\ndef high():\n    return low(high)\n"
    result = atomize(project(pkg__m=text), Observations(calls=frozenset({call(1, 3)})))
    assert rests_on(result.plan, "high") == {"low"}
    assert rests_on(result.plan, "low") == set()
    assert result.cut == ("pkg.m:low -> pkg.m:high (observed, observed)",)


GUESS = "def use(thing):\n    return thing.area()\nclass Shape:\n" + LARGE + "    def area(self):\n        return 1\n"


def test_a_guess_is_dropped_where_tests_ran_all_of_its_source_and_never_saw_it():
    assert rests_on(made(GUESS).plan, "use") == {"Shape.area"}
    ran_all = (ran("test_use", 2), ran("test_area", 21))
    assert rests_on(made(GUESS, tests=ran_all).plan, "use") == set()
    seen = Observations(frozenset(), ran_all, calls=frozenset({call(1, 20)}))
    assert rests_on(atomize(project(pkg__m=GUESS), seen).plan, "use") == {"Shape.area"}


def test_a_method_and_the_function_it_needs_can_be_one_atom():
    text = "def helper():\n    return 1\n\n\nclass A:\n" + LARGE + "    def use(self):\n        return helper()\n"
    result = made(text, tests=(ran("test_use", 2, 23),))
    assert result.adopted == (("helper", "A.use"),)
    assert [(one.symbol, one.defines) for one in result.plan.atoms] == [("A.use", ("helper",))]
    assert assemble(result.plan, result.answers)["pkg/m.py"].count("def helper") == 1


def test_a_helper_that_is_needed_while_the_module_is_read_stays_an_atom_of_its_own():
    text = (
        "def helper():\n    return 1\nALIAS = helper\nclass A:\n"
        + LARGE
        + "    def use(self):\n        return helper()\n"
    )
    result = made(text, tests=(ran("test_use", 2, 22),))
    assert symbols(result) == ["helper", "A.use"]
    assert_comes_back(text, result)
