"""What is done so that units are judged: they wait for what their tests use besides, or are joined with a caller.

A wrong unit that nothing judges is found out only by what rests on it, which then fails for no fault of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from mge_ray.pipeline.atomize.edges import Doubt, EdgeKind
from mge_ray.pipeline.atomize.graph import Dependency, belong_together, bits_of, joined
from mge_ray.pipeline.atomize.judging import Bench, SuiteTest, union
from mge_ray.pipeline.atomize.units import Unit, body_lines

MOST_ADDED = 16
MOST_LINES_TOGETHER = 30


def lean(bench: Bench) -> None:
    """Let units wait for what a test runs besides, until a test that judges them runs each of their functions.

    `next(peekable)` says something about `__next__` only once `__init__` is there, though neither calls the other.
    The test that needs the fewest additions is taken, as long as they close no cycle.
    """
    for unit in bench.graph.in_order():
        for path, function in bench.functions_of(unit):
            body = body_lines(function)
            running = [test for test in bench.of_unit.get(unit, ()) if test.runs(path, body)]
            if running and all(bench.missing(unit, test) for test in running):
                _wait(bench, unit, running)


def _wait(bench: Bench, unit: int, running: list[SuiteTest]) -> None:
    options = [(bench.missing(unit, test), test) for test in running]
    for missing, _ in sorted(options, key=lambda one: (one[1].cost[0], one[0].bit_count(), one[1].cost)):
        others = list(bits_of(missing))
        if len(others) > MOST_ADDED or any(bench.closures[other] >> unit & 1 for other in others):
            continue
        bench.graph.dependencies += [Dependency(unit, other, EdgeKind.TEST, Doubt.NONE) for other in others]
        below = missing | union(bench.closures[other] for other in others)
        for index, closure in enumerate(bench.closures):
            if index == unit or closure >> unit & 1:
                bench.closures[index] |= below
        return


def adopt(bench: Bench, lines_of: Callable[[Unit], int], mergeable: Callable[[Unit], bool]) -> list[tuple[Unit, ...]]:
    """Return units that are better one: each that no test judges, with the callers through which alone it is tested.

    What lies between them joins too, or a cycle would be closed. No unit is in two of the groups, so that more may be
    found when these have been joined.
    """
    taken = 0
    found: list[tuple[Unit, ...]] = []
    for unit in bench.unjudged():
        options = {_around(bench, unit, test) for test in bench.of_unit.get(unit, ())}
        for group in sorted(options, key=lambda one: (one.bit_count(), one)):
            members = [bench.graph.units[one] for one in bits_of(group)]
            if len(members) == 1 or group & taken or not belong_together(members):
                continue
            if sum(map(lines_of, members)) <= MOST_LINES_TOGETHER and mergeable(joined(members)):
                taken |= group
                found.append(tuple(members))
                break
    return found


def _around(bench: Bench, unit: int, test: SuiteTest) -> int:
    """Return the unit with all that rests on it and that the test needs."""
    above = [one for one in bits_of(bench.missing(unit, test)) if bench.closures[one] >> unit & 1]
    reach = union(bench.closures[one] | 1 << one for one in above)
    return 1 << unit | union(1 << one for one in bits_of(reach) if bench.closures[one] >> unit & 1)
