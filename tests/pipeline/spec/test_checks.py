import pytest

from mge_ray.pipeline.spec.checks import check_interface, check_requirements, place_of
from mge_ray.pipeline.spec.details import Details, check_details
from mge_ray.pipeline.spec.documents import DetailsDocument, InterfaceDocument, RequirementsDocument
from mge_ray.pipeline.spec.skeletons import read_module, with_bodies
from tests.specs import (
    DETAILS,
    DOUBLE,
    INTERFACE,
    POINTS,
    REQUIREMENTS,
    SHOW,
    SPEC,
    changed,
    details,
    interface,
    requirements,
)


def of_requirements(document):
    return check_requirements(RequirementsDocument.model_validate(document), SPEC)


def of_interface(document):
    return check_interface(InterfaceDocument.model_validate(document), requirements().requirements)


def of_details(document, module="points"):
    return check_details(details(document=document), module, requirements().requirements)


@pytest.mark.parametrize(
    ("quote", "line"),
    [
        ("doubled on Sundays", 3),
        ("shown as `3 points`", 4),
        ("`1 point`.", 5),
        ("# Scores", 1),
        ("tripled", None),
        (" ", None),
    ],
)
def test_a_quote_is_found_whatever_white_space_lies_between(quote, line):
    assert place_of(quote, SPEC) == line


def test_good_documents_have_no_problems():
    assert of_requirements(REQUIREMENTS) == []
    assert of_interface(INTERFACE) == []
    assert [of_details(document, module) for module, document in DETAILS.items()] == [[], []]


def test_a_requirement_that_the_specification_does_not_hold_is_told():
    (problem,) = of_requirements(changed(REQUIREMENTS, "requirements", 1, "quote", to="three times on Mondays"))
    assert problem.startswith("R2: the quote 'three times on Mondays' does not stand in the specification")


def test_requirements_are_numbered_without_gaps():
    (problem,) = of_requirements(changed(REQUIREMENTS, "requirements", 1, "id", to="R5"))
    assert "requirement 2 has the id R5" in problem


def test_no_requirements_need_a_reason():
    assert "say in 'note' why" in of_requirements({"title": "x", "requirements": []})[0]
    assert of_requirements({"title": "x", "requirements": [], "note": "a poem"}) == []


def skeleton(code, module=0):
    return changed(INTERFACE, "modules", module, "skeleton", to=code)


WRONG_INTERFACES = {
    "a MUST that no module has": (
        changed(INTERFACE, "modules", 0, "requirements", to=["R2"]),
        "no module has the requirements R1",
    ),
    "an unknown requirement": (changed(INTERFACE, "modules", 1, "requirements", to=["R9"]), "names the requirement R9"),
    "an unknown module": (changed(INTERFACE, "modules", 1, "depends_on", to=["pints"]), "depends on 'pints'"),
    "a circle": (changed(INTERFACE, "modules", 0, "depends_on", to=["board"]), "in a circle"),
    "a module twice": (changed(INTERFACE, "modules", 1, "name", to="points"), "module points stands twice"),
    "a reserved name": (changed(INTERFACE, "modules", 1, "name", to="system"), "'system' is reserved"),
    "no Python": (skeleton("def f(:"), "module points: its skeleton is no valid Python"),
    "an import that is not declared": (changed(INTERFACE, "modules", 1, "depends_on", to=[]), "imports from 'points'"),
    "an import that is not there": (
        skeleton("from .points import shout\n\n" + INTERFACE["modules"][1]["skeleton"], 1),
        "does not define 'shout'",
    ),
    "no annotations": (
        skeleton(POINTS.replace("points: int, weekday: int", "points, weekday")),
        "no annotation for points, weekday",
    ),
    "no docstring": (skeleton(POINTS.replace('    """Return points in words."""\n', "")), "show has no docstring"),
    "requirements without functions": (
        skeleton('"""Nothing."""\n\nshow = str\n'),
        "has requirements but no open function",
    ),
}


@pytest.mark.parametrize("case", WRONG_INTERFACES)
def test_what_is_wrong_with_an_interface_is_told(case):
    document, told = WRONG_INTERFACES[case]
    assert any(told in problem for problem in of_interface(document)), of_interface(document)


def test_an_interface_with_nothing_to_write_is_told():
    nothing = {**INTERFACE, "modules": [{**INTERFACE["modules"][0], "skeleton": "X = 1\n"}]}
    assert any("nothing is to be written" in problem for problem in of_interface(nothing))


def test_requirements_of_the_whole_package_need_no_module():
    moved = changed(INTERFACE, "modules", 0, "requirements", to=["R2"])
    assert of_interface({**moved, "system": ["R1"]}) == []


POINTS_DETAILS = DETAILS["points"]
DOUBLE_ATOM = POINTS_DETAILS["atoms"][0]


def atom(index, **fields):
    return changed(POINTS_DETAILS, "atoms", index, to={**POINTS_DETAILS["atoms"][index], **fields})


def case(index, **fields):
    return changed(POINTS_DETAILS, "tests", index, to={**POINTS_DETAILS["tests"][index], **fields})


WRONG_DETAILS = {
    "another module": ({**POINTS_DETAILS, "module": "board"}, "'points' was asked for"),
    "an atom missing": ({**POINTS_DETAILS, "atoms": POINTS_DETAILS["atoms"][1:]}, "no atom writes double"),
    "an atom twice": ({**POINTS_DETAILS, "atoms": [*POINTS_DETAILS["atoms"], DOUBLE_ATOM]}, "atom double stands twice"),
    "an atom that is finished": (atom(2, symbol="PointsError"), "is no function the skeleton leaves open"),
    "a public helper": (atom(2, symbol="plural"), "nor a new private helper"),
    "a helper without signature": (atom(2, signature=""), "a new helper needs its signature"),
    "a helper of another name": (atom(2, signature="def _other() -> str"), "a new helper needs its signature"),
    "a signature too many": (atom(0, signature="def double(x: int) -> int"), "leave 'signature' out"),
    "an unknown dependency": (atom(0, depends_on=["trouble"]), "depends on 'trouble'"),
    "a dependency above": (atom(0, depends_on=["board.Board"]), "depends on 'board.Board'"),
    "a circle": (atom(2, depends_on=["show"]), "in a circle"),
    "a test twice": (
        changed(POINTS_DETAILS, "tests", 1, to=POINTS_DETAILS["tests"][0]),
        "test test_double stands twice",
    ),
    "an unknown requirement": (case(0, covers=["R1", "R77"]), "covers R77"),
    "an atom without tests": (case(2, atom="show"), "no test judges _plural"),
    "a test of nothing": (case(0, atom="nobody"), "judges 'nobody'"),
    "a MUST without a test": (case(0, covers=["R2"]), "no test covers R1"),
    "a test that is no Python": (case(0, code="def test_double(:"), "its code is no valid Python"),
    "a test of another name": (case(0, code=SHOW), "exactly one function of that name"),
    "two statements": (case(0, code=f"X = 1\n{DOUBLE}"), "exactly one function of that name"),
    "an unknown fixture": (case(0, code="def test_double(board):\n    assert double(1, 6) == 2\n"), "takes board"),
    "a broken preamble": ({**POINTS_DETAILS, "preamble": "import ("}, "the preamble is no valid Python"),
    "a test that calls what rests on its atom": (
        case(2, code="def test_plural():\n    assert show(2) == '2 points'\n"),
        "let it judge show",
    ),
}


@pytest.mark.parametrize("case", WRONG_DETAILS)
def test_what_is_wrong_with_details_is_told(case):
    document, told = WRONG_DETAILS[case]
    assert any(told in problem for problem in of_details(document)), of_details(document)


def test_fixtures_and_parameters_are_known():
    preamble = POINTS_DETAILS["preamble"] + "\n\n@pytest.fixture\ndef three():\n    return 3\n"
    head = '@pytest.mark.parametrize("day", [0, 6])\n'
    code = f"{head}def test_double(three, day, tmp_path):\n    assert double(three, day)\n"
    assert of_details({**case(0, code=code), "preamble": preamble}) == []


def test_a_test_makes_its_atom_wait_for_what_it_calls():
    both = "def test_double():\n    assert show(double(2, 6)) == '4 points'\n"
    made = details(document=case(0, code=both))
    assert made.lacking(made.document.tests[0]) == {("points", "show")}
    assert of_details(case(0, code=both)) == []


def test_helpers_above_the_tests_are_followed():
    preamble = POINTS_DETAILS["preamble"] + "\n\ndef shown(points):\n    return show(points)\n"
    made = details(document={**case(0, code=DOUBLE.replace("double(3, 0)", "shown(1)")), "preamble": preamble})
    assert made.used_by(made.document.tests[0]) == {("points", "double"), ("points", "show")}


def test_methods_and_modules_are_followed():
    code = "def test_line():\n    assert points.show(1) and board.Board().line('a')\n"
    changed_board = {**DETAILS["board"], "preamble": "from scores import board, points\n"}
    made = details(document=changed(changed_board, "tests", 0, "code", to=code))
    assert made.used_by(made.document.tests[0]) == {("points", "show"), ("board", "Board.line")}


def test_a_skeleton_tells_what_is_open():
    assert list(interface().skeletons["points"].stubs) == ["double", "show"]
    assert list(interface().skeletons["board"].stubs) == ["Board.line"]


@pytest.mark.parametrize(("body", "results"), [("None", [None, None]), ("[]", [[], []]), ("first", [3, 4])])
def test_open_functions_can_answer_with_a_constant(body, results):
    names: dict = {}
    exec(with_bodies(POINTS, ["double", "show"], body), names)  # noqa: S102  # our own text
    assert [names["double"](3, 6), names["show"](4)] == results
    assert read_module(with_bodies(POINTS, ["show"], body)).stubs.keys() == {"double"}


WHOLE = {
    "module": "system",
    "atoms": [],
    "preamble": "from scores.board import Board\nfrom scores.points import show\n",
    "tests": [{"name": "test_all", "covers": ["R1"], "atom": "", "code": "def test_all():\n    assert show(1)\n"}],
}


def of_the_whole(document):
    made = Details(DetailsDocument.model_validate(document), interface({**INTERFACE, "system": ["R1"]}))
    return check_details(made, "system", requirements().requirements)


def test_tests_of_the_whole_package_may_use_all_of_it_and_write_no_code():
    assert of_the_whole(WHOLE) == []
    assert of_the_whole({**WHOLE, "atoms": [DOUBLE_ATOM]})[0].startswith("the tests of the whole package write no code")
    assert of_the_whole(changed(WHOLE, "tests", 0, "covers", to=["R2"])) == [
        "no test covers R1; each MUST of the module needs one"
    ]
