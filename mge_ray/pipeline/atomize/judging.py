"""Which tests judge which atom, which wait for a wave, and which come at the end.

A test judges the one atom that it covers and on which, of all it covers, nothing else rests: everything it runs lies
in that atom's closure. Tests that were skipped, or that failed, judge nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mge_ray.pipeline.atomize.observations import Observations

MOST_TESTS_OF_AN_ATOM = 8
MOST_TESTS_OF_A_WAVE = 200


@dataclass(frozen=True, slots=True)
class SuiteTest:
    """One test function with all its parameters: which units it ran, and how long it took."""

    node_id: str
    covered: frozenset[int]
    seconds: float


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


def gather(observed: Observations, line_map: LineMap) -> tuple[list[SuiteTest], list[str]]:
    """Return the test functions that pass, and the ids of those that do not."""
    at_collection = {path: line_map.covered(lines, defining=True) for path, lines in observed.collected.items()}
    found: dict[str, list[tuple[str, frozenset[int], float]]] = {}
    for one in observed.tests:
        covered = line_map.covered(one.lines) | at_collection.get(one.node_id.partition("::")[0], frozenset())
        found.setdefault(one.base_id, []).append((one.outcome, covered, one.seconds))
    passing: list[SuiteTest] = []
    failing: list[str] = list(observed.uncollected)
    for node_id, runs in found.items():
        outcomes = {outcome for outcome, _, _ in runs}
        if "failed" in outcomes:
            failing.append(node_id)
        elif "passed" in outcomes:
            covered = frozenset(unit for _, units, _ in runs for unit in units)
            passing.append(SuiteTest(node_id, covered, sum(seconds for _, _, seconds in runs)))
    return passing, failing


def assign(
    tests: Sequence[SuiteTest], closures: Sequence[frozenset[int]], wave_of: Sequence[int]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return the tests of units and of waves; the most specific and quickest of each, up to a bound."""
    own: dict[int, list[SuiteTest]] = {}
    shared: dict[int, list[SuiteTest]] = {}
    for test in tests:
        top = next((unit for unit in test.covered if test.covered <= closures[unit] | {unit}), None)
        if top is not None:
            own.setdefault(top, []).append(test)
        elif test.covered:
            shared.setdefault(max(wave_of[unit] for unit in test.covered), []).append(test)
    of_unit = {unit: _best(found, MOST_TESTS_OF_AN_ATOM) for unit, found in own.items()}
    return of_unit, {wave: _best(found, MOST_TESTS_OF_A_WAVE) for wave, found in shared.items()}


def _best(tests: Sequence[SuiteTest], most: int) -> list[str]:
    ordered = sorted(tests, key=lambda one: (len(one.covered), one.seconds, one.node_id))
    return [test.node_id for test in ordered[:most]]


def whole_files(passing: Sequence[SuiteTest], failing: Sequence[str]) -> list[str]:
    """Return files that pass as a whole, and single tests of those that do not."""
    spoiled = {node_id.partition("::")[0] for node_id in failing}
    found: dict[str, None] = {}
    for test in passing:
        path = test.node_id.partition("::")[0]
        found[test.node_id if path in spoiled else path] = None
    return list(found)
