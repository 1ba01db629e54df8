"""What was seen when the package was imported and its suite was run once: plain data, filled by an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A function that was entered: its file in the project, the line its code begins on (decorators included)."""

    path: str
    line: int
    name: str


@dataclass(frozen=True, slots=True)
class ObservedTest:
    """One test as it ran. `lines` are those of the package that ran for it, by file; a skip or xfail is "skipped".

    `reports` counts what pytest reports of it: itself and its subtests. What a test ran is only known if it was
    `watched`; one that takes too long for that judges no atom.
    """

    node_id: str
    outcome: Outcome
    seconds: float = 0.0
    lines: Mapping[str, frozenset[int]] = field(default_factory=dict)
    reports: int = 1
    watched: bool = True

    @property
    def base_id(self) -> str:
        """The id without its parameters."""
        return self.node_id.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Observations:
    """Functions entered while the package was imported, and every test of its suite.

    `collected` has the lines that ran while a test file or folder was collected, by that place and the package's file:
    all tests there need them. `uncollected` names places that could not be collected. `calls` are pairs of caller and
    callee, both of the package, that were seen while the suite ran.
    """

    entered_at_import: frozenset[Entry] = frozenset()
    tests: tuple[ObservedTest, ...] = ()
    collected: Mapping[str, Mapping[str, frozenset[int]]] = field(default_factory=dict)
    uncollected: tuple[str, ...] = ()
    calls: frozenset[tuple[Entry, Entry]] = frozenset()
