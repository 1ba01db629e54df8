"""Which functions of the workspace each test enters: counted for blame, never for a verdict.

A profile hook sees every call of the thread that runs the tests. What other threads and processes run is not seen.
"""

import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

MOST_FUNCTIONS = 5_000


class Tracer:
    """A pytest plugin; `functions` gives [path, line, tests failed, tests passed] for each function entered."""

    def __init__(self, workspace: Path) -> None:
        self._inside = f"{workspace}/"
        self._known: dict[CodeType, bool] = {}
        self._running: set[CodeType] = set()
        self._entered: dict[str, set[CodeType]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:  # noqa: ANN401
        """Watch one test with its fixtures."""
        self._running = self._entered.setdefault(item.nodeid, set())
        sys.setprofile(self._seen)
        try:
            return (yield)
        finally:
            sys.setprofile(None)

    def functions(self, failed: Collection[str]) -> list[tuple[str, int, int, int]]:
        """Return the rows, those that failing tests entered first, at most 5,000."""
        rows: dict[CodeType, list[int]] = {}
        for node_id, codes in self._entered.items():
            for code in codes:
                rows.setdefault(code, [0, 0])[node_id not in failed] += 1
        ordered = sorted(rows.items(), key=lambda row: -row[1][0])[:MOST_FUNCTIONS]
        cut = len(self._inside)
        return [(code.co_filename[cut:], code.co_firstlineno, bad, good) for code, (bad, good) in ordered]

    def _seen(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            code = frame.f_code
            inside = self._known.get(code)
            if inside is None:
                inside = self._known[code] = code.co_filename.startswith(self._inside)
            if inside:
                self._running.add(code)
