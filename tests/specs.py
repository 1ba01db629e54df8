"""A small specification with its planning documents, to be spoilt in one place by each test."""

from __future__ import annotations

import copy
import json
from typing import Any

from mge_ray.execution.ports import Candidate
from mge_ray.pipeline.spec.checks import Interface
from mge_ray.pipeline.spec.details import Details
from mge_ray.pipeline.spec.documents import DetailsDocument, InterfaceDocument, RequirementsDocument
from mge_ray.pipeline.spec.steps import Stage, details_stage, interface_stage, requirements_stage

SPEC = """\
# Scores

- Points are doubled on Sundays.
- A score is shown as
  `3 points`; one point is `1 point`.
- Scores should be kept in a board by player.
"""
REQUIREMENTS: dict[str, Any] = {
    "title": "scores",
    "requirements": [
        {"id": "R1", "level": "MUST", "text": "Points count twice on Sundays.", "quote": "doubled on Sundays"},
        {"id": "R2", "level": "MUST", "text": "A score is shown.", "quote": "A score is shown as `3 points`"},
        {"id": "R3", "level": "SHOULD", "text": "A board keeps scores.", "quote": "kept in a board by player"},
    ],
}
POINTS = '''"""Points."""

from __future__ import annotations

SUNDAY = 6


class PointsError(ValueError):
    """Points that cannot be."""


def double(points: int, weekday: int) -> int:
    """Return the points, twice on Sundays."""
    raise NotImplementedError


def show(points: int) -> str:
    """Return points in words."""
    raise NotImplementedError
'''
BOARD = '''"""A board."""

from __future__ import annotations

from .points import show


class Board:
    """Scores by player."""

    scores: dict[str, int] = {}

    def line(self, player: str) -> str:
        """Return a player's line."""
        raise NotImplementedError
'''
INTERFACE: dict[str, Any] = {
    "package": "scores",
    "summary": "Points, and a board of them.",
    "modules": [
        {
            "name": "points",
            "purpose": "Points.",
            "depends_on": [],
            "requirements": ["R1", "R2"],
            "skeleton": POINTS,
        },
        {
            "name": "board",
            "purpose": "The board.",
            "depends_on": ["points"],
            "requirements": ["R3"],
            "skeleton": BOARD,
        },
    ],
}
DOUBLE = "def test_double():\n    assert [double(3, 6), double(3, 0)] == [6, 3]\n"
SHOW = "def test_show():\n    assert show(3) == '3 points'\n    assert show(1) == '1 point'\n"
LINE = (
    "def test_line():\n    board = Board()\n    board.scores = {'a': 3}\n    assert board.line('a') == 'a: 3 points'\n"
)
DETAILS: dict[str, dict[str, Any]] = {
    "points": {
        "module": "points",
        "atoms": [
            {"symbol": "double", "description": "Twice on SUNDAY.", "depends_on": [], "lines": 2},
            {"symbol": "show", "description": "`3 points`.", "depends_on": ["_plural"], "lines": 2},
            {
                "symbol": "_plural",
                "description": "An s but for one.",
                "signature": "def _plural(points: int) -> str",
                "depends_on": [],
                "lines": 1,
            },
        ],
        "preamble": "import pytest\n\nfrom scores.points import _plural, double, show\n",
        "tests": [
            {"name": "test_double", "covers": ["R1"], "atom": "double", "code": DOUBLE},
            {"name": "test_show", "covers": ["R2"], "atom": "show", "code": SHOW},
            {
                "name": "test_plural",
                "covers": ["R2"],
                "atom": "_plural",
                "code": "def test_plural():\n    assert [_plural(1), _plural(2)] == ['', 's']\n",
            },
        ],
    },
    "board": {
        "module": "board",
        "atoms": [{"symbol": "Board.line", "description": "`a: 3 points`.", "depends_on": ["points.show"], "lines": 1}],
        "preamble": "from scores.board import Board\n",
        "tests": [{"name": "test_line", "covers": ["R3"], "atom": "Board.line", "code": LINE}],
    },
}
CODE = {
    "points.double": "def double(points: int, weekday: int) -> int:\n"
    '    """Return the points, twice on Sundays."""\n    return points * 2 if weekday == SUNDAY else points\n',
    "points.show": 'def show(points: int) -> str:\n    """Return points in words."""\n'
    '    return f"{points} point{_plural(points)}"\n',
    "points._plural": 'def _plural(points: int) -> str:\n    return "" if points == 1 else "s"\n',
    "board.Board.line": 'def line(self, player: str) -> str:\n    """Return a player\'s line."""\n'
    '    return f"{player}: {show(self.scores[player])}"\n',
}


def changed(document: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    """Return a copy of a document with one place in it replaced; `...` in the place of a value takes the key out."""
    copied = copy.deepcopy(document)
    place: Any = copied
    for key in path[:-1]:
        place = place[key]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return copied


def text(document: object) -> str:
    """Return the document as a model writes it."""
    return json.dumps(document)


def requirements(document: dict[str, Any] | None = None) -> RequirementsDocument:
    """Return the first document."""
    return RequirementsDocument.model_validate(document or REQUIREMENTS)


def interface(document: dict[str, Any] | None = None) -> Interface:
    """Return the second document with its modules read."""
    return Interface(InterfaceDocument.model_validate(document or INTERFACE))


def details(module: str = "points", document: dict[str, Any] | None = None) -> Details:
    """Return one module's details."""
    return Details(DetailsDocument.model_validate(document or DETAILS[module]), interface())


def stages() -> dict[str, Stage]:
    """Return the three stages, each on the documents before it."""
    first, second = text(REQUIREMENTS), text(INTERFACE)
    return {
        "requirements": requirements_stage("scores", SPEC),
        "interface": interface_stage("scores", SPEC, first),
        "details": details_stage("scores", SPEC, first, second, ["points", "board"]),
    }


def candidate(stage: str, document: object, module: str = "points") -> Candidate:
    """Return an answer to a step, as a judge sees it."""
    plan = stages()[stage].plan
    unit = next(atom for atom in plan.atoms if stage != "details" or atom.id.endswith(module))
    code = document if isinstance(document, str) else text(document)
    return Candidate(unit, code, (), plan.files, plan.validation)


def answers() -> dict[str, str]:
    """Return what the simulated model knows: planning documents and code."""
    planning = {"plan:requirements": text(REQUIREMENTS), "plan:interface": text(INTERFACE)}
    return planning | {f"plan:details:{module}": text(one) for module, one in DETAILS.items()} | CODE
