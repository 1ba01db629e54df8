"""Which tests judge which atom, which wait for a wave, and which come at the end.

A test judges the one atom that it runs and on which, of all it runs, nothing else rests: everything it runs lies in
that atom's closure. Tests that were skipped, that failed, or that were not watched judge nothing.

Sets of units are integers, bit n for unit n: with hundreds of units and thousands of tests, sets take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mge_ray.pipeline.atomize.definitions import Function
from mge_ray.pipeline.atomize.graph import UnitGraph, bits_of
from mge_ray.pipeline.atomize.observations import Observations, ObservedTest
from mge_ray.pipeline.atomize.units import Unit, body_lines

MOST_TESTS_OF_AN_ATOM = 8
MOST_TESTS_FOR_LINES = 16  # as long as each runs lines of the atom that those before it do not
MOST_TESTS_OF_A_WAVE = 200
MOST_REPORTS = 300  # of the tests of one atom or wave, subtests and parameters included: a check's record is bounded
SLOW_S = 1.0

Lines = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test function with all its parameters: which units it ran, the lines it ran, and how long it took."""

    node_id: str
    covered: int
    seconds: float
    reports: int = 1
    ran: tuple[Lines, ...] = ()

    @property
    def cost(self) -> tuple[bool, int, float, str]:
        """Order tests: the most specific and quickest first, slow ones last."""
        return self.seconds > SLOW_S, self.covered.bit_count(), self.seconds, self.node_id

    def runs(self, path: str, rows: Iterable[int]) -> set[int]:
        """Return which of these lines it ran."""
        wanted = frozenset(rows)
        return {row for lines in self.ran for row in lines.get(path, frozenset()) & wanted}


@dataclass(frozen=True, slots=True)
class LineMap:
    """Which unit a line's running shows, by file. A one-line function's only line also runs when it is defined."""

    units: Mapping[str, Mapping[int, int]]
    one_liners: Mapping[str, frozenset[int]]

    def covered(self, lines: Lines, *, defining: bool = False) -> int:
        """Return the units these lines show; `defining` where modules may have been imported meanwhile."""
        found = 0
        for path, numbers in lines.items():
            known = self.units.get(path, {})
            for line in numbers & known.keys():
                if not (defining and line in self.one_liners[path]):
                    found |= 1 << known[line]
        return found


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


def outcomes_of(observed: Observations) -> tuple[list[str], list[str]]:
    """Return the ids of test functions that pass, and of those, or the places, that do not."""
    found: dict[str, set[str]] = {}
    for one in observed.tests:
        found.setdefault(one.base_id, set()).add(one.outcome)
    failing = [*observed.uncollected, *(node_id for node_id, ends in found.items() if "failed" in ends)]
    return [node_id for node_id, ends in found.items() if "passed" in ends and "failed" not in ends], failing


def judges(observed: Observations, lines: LineMap) -> list[SuiteTest]:
    """Return the test functions that pass and whose lines are known, with the units they run."""
    passing = set(outcomes_of(observed)[0])
    at_collection = {path: lines.covered(ran, defining=True) for path, ran in observed.collected.items()}
    around: dict[str, int] = {}
    found: dict[str, list[ObservedTest]] = {}
    for one in observed.tests:
        if one.base_id in passing:
            found.setdefault(one.base_id, []).append(one)
    tests = []
    for node_id, runs in found.items():
        path = node_id.partition("::")[0]
        if path not in around:
            around[path] = union(units for place, units in at_collection.items() if is_around(place, path))
        reports = sum(one.reports for one in runs)
        if reports <= MOST_REPORTS and all(one.watched or one.outcome == "skipped" for one in runs):
            covered = around[path] | union(lines.covered(one.lines) for one in runs)
            seconds = sum(one.seconds for one in runs)
            tests.append(SuiteTest(node_id, covered, seconds, reports, tuple(one.lines for one in runs)))
    return sorted(tests, key=lambda one: one.cost)


def union(sets: Iterable[int]) -> int:
    """Return all bits of all sets."""
    found = 0
    for one in sets:
        found |= one
    return found


@dataclass(slots=True)
class Bench:
    """The tests of a graph of units: which run a unit, and which judge it."""

    graph: UnitGraph
    tests: Sequence[SuiteTest]
    closures: list[int] = field(init=False)
    of_unit: dict[int, list[SuiteTest]] = field(init=False)

    def __post_init__(self) -> None:
        self.closures = self.graph.closures()
        self.of_unit = {}
        for test in self.tests:
            for unit in bits_of(test.covered):
                self.of_unit.setdefault(unit, []).append(test)

    def missing(self, unit: int, test: SuiteTest) -> int:
        """Return what a test runs and the unit does not rest on."""
        return test.covered & ~(self.closures[unit] | 1 << unit)

    def judging(self, unit: int) -> list[SuiteTest]:
        """Return the tests that judge the unit, the best first."""
        return [test for test in self.of_unit.get(unit, ()) if not self.missing(unit, test)]

    def unjudged(self) -> list[int]:
        """Return the units that no test judges."""
        return [unit for unit in range(len(self.graph.units)) if not self.judging(unit)]

    def functions_of(self, unit: int) -> Iterator[tuple[str, Function]]:
        """Yield each function of a unit with its file."""
        one = self.graph.units[unit]
        for function in one.functions:
            yield one.key.path, function

    def assign(self, wave_of: Sequence[int]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
        """Return the tests of units, and of the waves that complete what no single unit rests on."""
        of_unit = {unit: chosen for unit in self.of_unit if (chosen := self._chosen(unit))}
        taken = {id(test) for unit in self.of_unit for test in self.judging(unit)}
        shared: dict[int, list[SuiteTest]] = {}
        for test in self.tests:
            if id(test) not in taken and test.covered:
                shared.setdefault(max(wave_of[unit] for unit in bits_of(test.covered)), []).append(test)
        weak = union(1 << unit for unit in range(len(self.graph.units)) if unit not in of_unit)
        return of_unit, {wave: _for_wave(found, weak) for wave, found in shared.items()}

    def _chosen(self, unit: int) -> list[str]:
        """Choose the tests of a unit: first so that each function is run, then each line, then more of them."""
        able = self.judging(unit)
        rows = [(path, list(body_lines(function))) for path, function in self.functions_of(unit)]
        chosen = _Chosen()
        for path, body in rows:
            if not any(test.runs(path, body) for test in chosen.tests):
                chosen.take([test for test in able if test.runs(path, body)][:1], MOST_REPORTS)
        reached = {(path, row) for test in chosen.tests for path, body in rows for row in test.runs(path, body)}
        for test in able:
            new = {(path, row) for path, body in rows for row in test.runs(path, body)} - reached
            if new and chosen.take([test], MOST_TESTS_FOR_LINES):
                reached |= new
        chosen.take([test for test in able if test.seconds <= SLOW_S] or able, MOST_TESTS_OF_AN_ATOM)
        return [test.node_id for test in chosen.tests]


@dataclass(slots=True)
class _Chosen:
    """Tests that fit into one check together."""

    tests: list[SuiteTest] = field(default_factory=list)
    reports: int = 0

    def take(self, tests: Iterable[SuiteTest], most: int) -> bool:
        """Add tests up to a number of them; say whether any was added."""
        before = len(self.tests)
        for test in tests:
            if len(self.tests) < most and self.reports + test.reports <= MOST_REPORTS and test not in self.tests:
                self.tests.append(test)
                self.reports += test.reports
        return len(self.tests) > before


def _for_wave(tests: Sequence[SuiteTest], weak: int) -> list[str]:
    """Choose the tests of a wave: first so that each atom without a test of its own is run by one."""
    chosen = _Chosen()
    open_units = weak
    for test in tests:
        if test.covered & open_units and chosen.take([test], MOST_TESTS_OF_A_WAVE):
            open_units &= ~test.covered
    chosen.take(tests, MOST_TESTS_OF_A_WAVE)
    return [test.node_id for test in chosen.tests]


def whole_files(passing: Sequence[str], failing: Sequence[str]) -> list[str]:
    """Return files that pass as a whole, and single tests of those that do not."""
    spoiled = {node_id.partition("::")[0] for node_id in failing}
    found: dict[str, None] = {}
    for node_id in passing:
        path = node_id.partition("::")[0]
        found[node_id if path in spoiled else path] = None
    return list(found)


def tested(units: Sequence[Unit], observed: Observations) -> Callable[[Unit], bool]:
    """Return whether a unit is run by any test that could judge it."""
    ran = union(test.covered for test in judges(observed, line_map(units)))
    known = {unit.key for index, unit in enumerate(units) if ran >> index & 1}
    return lambda unit: unit.key in known
