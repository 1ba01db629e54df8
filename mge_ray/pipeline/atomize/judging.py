"""Which tests judge which atom, which wait for a wave, and which come at the end.

A test judges the one atom that it covers and on which, of all it covers, nothing else rests: everything it runs lies
in that atom's closure. Tests that were skipped, or that failed, judge nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from mge_ray.pipeline.atomize.edges import Doubt, EdgeKind
from mge_ray.pipeline.atomize.graph import Dependency, UnitGraph
from mge_ray.pipeline.atomize.observations import Observations, ObservedTest
from mge_ray.pipeline.atomize.units import Unit, body_lines

MOST_TESTS_OF_AN_ATOM = 8
MOST_TESTS_OF_A_WAVE = 200
MOST_ADDED = 6
MOST_REPORTS = 300  # of the tests of one atom or wave, subtests and parameters included: a check's record is bounded


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test function with all its parameters: which units it ran, and how long it took."""

    node_id: str
    covered: frozenset[int]
    seconds: float
    reports: int = 1


@dataclass(frozen=True, slots=True)
class LineMap:
    """Which unit a line's running shows, by file. A one-line function's only line also runs when it is defined."""

    units: Mapping[str, Mapping[int, int]]
    one_liners: Mapping[str, frozenset[int]]

    def covered(self, lines: Mapping[str, frozenset[int]], *, defining: bool = False) -> frozenset[int]:
        """Return the units these lines show; `defining` where modules may have been imported meanwhile."""
        return frozenset(
            self.units[path][line]
            for path, numbers in lines.items()
            for line in numbers & self.units.get(path, {}).keys()
            if not (defining and line in self.one_liners[path])
        )


def line_map(units: Sequence[Unit]) -> LineMap:
    """Return which line shows which unit, bodies only: heads run when a module is imported."""
    found: dict[str, dict[int, int]] = {}
    one_liners: dict[str, set[int]] = {}
    for index, unit in enumerate(units):
        lines = found.setdefault(unit.key.path, {})
        single = one_liners.setdefault(unit.key.path, set())
        for function in unit.functions:
            rows = body_lines(function)
            lines.update(dict.fromkeys(rows, index))
            single.update(row for row in rows if row == function.lineno)
    return LineMap(found, {path: frozenset(rows) for path, rows in one_liners.items()})


def is_around(place: str, path: str) -> bool:
    """Return whether what was collected at `place`, a file or a folder, was collected for the test file `path`."""
    return place in {"", ".", path} or path.startswith(place.rstrip("/") + "/")


def gather(observed: Observations, lines: LineMap) -> tuple[list[SuiteTest], list[str]]:
    """Return the test functions that pass, and the ids of those that do not."""
    at_collection = {path: lines.covered(ran, defining=True) for path, ran in observed.collected.items()}
    found: dict[str, list[tuple[ObservedTest, frozenset[int]]]] = {}
    for one in observed.tests:
        path = one.node_id.partition("::")[0]
        around = [units for place, units in at_collection.items() if is_around(place, path)]
        covered = lines.covered(one.lines).union(*around)
        found.setdefault(one.base_id, []).append((one, covered))
    passing: list[SuiteTest] = []
    failing: list[str] = list(observed.uncollected)
    for node_id, runs in found.items():
        outcomes = {one.outcome for one, _ in runs}
        if "failed" in outcomes:
            failing.append(node_id)
        elif "passed" in outcomes:
            covered = frozenset(unit for _, units in runs for unit in units)
            seconds, reports = (sum(one.seconds for one, _ in runs), sum(one.reports for one, _ in runs))
            passing.append(SuiteTest(node_id, covered, seconds, reports))
    return passing, failing


def lean(graph: UnitGraph, tests: Sequence[SuiteTest]) -> int:
    """Give units that no test judges one, by letting them wait for what such a test runs besides; return how many.

    `next(peekable)` says something about `__next__` only once `__init__` is there, though neither calls the other.
    The test that needs the fewest additions is taken, as long as they close no cycle.
    """
    tests = [test for test in tests if test.reports <= MOST_REPORTS]
    judged = {unit for test in tests if (unit := top_of(test, graph.closures())) is not None}
    known: nx.DiGraph[int] = nx.DiGraph()
    known.add_nodes_from(range(len(graph.units)))
    known.add_edges_from((one.source, one.target) for one in graph.dependencies)
    covering: dict[int, list[SuiteTest]] = {}
    for test in tests:
        for unit in test.covered:
            covering.setdefault(unit, []).append(test)
    helped = 0
    for unit in sorted(covering.keys() - judged, key=lambda one: (len(covering[one]), -one), reverse=True):
        below = nx.descendants(known, unit) | {unit}
        above = nx.ancestors(known, unit)
        options = [(test.covered - below, test) for test in covering[unit]]
        fitting = [(missing, test) for missing, test in options if len(missing) <= MOST_ADDED and not missing & above]
        if fitting:
            missing, _ = min(
                fitting, key=lambda one: (len(one[0]), len(one[1].covered), one[1].seconds, one[1].node_id)
            )
            known.add_edges_from((unit, other) for other in missing)
            graph.dependencies += [Dependency(unit, other, EdgeKind.TEST, Doubt.NONE) for other in sorted(missing)]
            helped += 1
    return helped


def top_of(test: SuiteTest, closures: Sequence[frozenset[int]]) -> int | None:
    """Return the unit that rests on everything else the test covers, if there is one."""
    return next((unit for unit in sorted(test.covered) if test.covered <= closures[unit] | {unit}), None)


def assign(
    tests: Sequence[SuiteTest], closures: Sequence[frozenset[int]], wave_of: Sequence[int]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return the tests of units and of waves; the most specific and quickest of each, up to a bound."""
    own: dict[int, list[SuiteTest]] = {}
    shared: dict[int, list[SuiteTest]] = {}
    for test in tests:
        top = top_of(test, closures)
        if top is not None:
            own.setdefault(top, []).append(test)
        elif test.covered:
            shared.setdefault(max(wave_of[unit] for unit in test.covered), []).append(test)
    of_unit = {unit: best for unit, found in own.items() if (best := _best(found, MOST_TESTS_OF_AN_ATOM))}
    return of_unit, {wave: _best(found, MOST_TESTS_OF_A_WAVE) for wave, found in shared.items()}


def _best(tests: Sequence[SuiteTest], most: int) -> list[str]:
    ordered = sorted(tests, key=lambda one: (len(one.covered), one.seconds, one.node_id))
    chosen: list[str] = []
    left = MOST_REPORTS
    for test in ordered:
        if test.reports <= left and len(chosen) < most:
            chosen.append(test.node_id)
            left -= test.reports
    return chosen


def whole_files(passing: Sequence[SuiteTest], failing: Sequence[str]) -> list[str]:
    """Return files that pass as a whole, and single tests of those that do not."""
    spoiled = {node_id.partition("::")[0] for node_id in failing}
    found: dict[str, None] = {}
    for test in passing:
        path = test.node_id.partition("::")[0]
        found[test.node_id if path in spoiled else path] = None
    return list(found)
