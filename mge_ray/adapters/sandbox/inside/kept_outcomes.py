"""What a check's record keeps of its outcomes, however many there are; what has no room is counted.

First what the verdict rests on: of each requested test its first pass and the first that went wrong. Then what went
wrong besides, then the rest, up to a number. A test with two thousand subtests must not push out another's only pass.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .node_ids import Requested

MOST_OUTCOMES = 500  # passes and failures that stand for a requested test are kept beyond it
OUTCOMES_BYTES = 3 << 19  # of VERDICT_BYTES: 10,000 passes of requested tests with names of 100 characters
FUNCTIONS_BYTES = 3 << 17
TOO_MANY = "more tests were requested than a record has room for; ask for files instead of single tests"
_LONG_BYTES = 1 << 19  # 250 failures with messages of full length, then short ones
_SHORT_CHARS = 200
_NODE_ID_CHARS = 300
_SHOWS, _SPOILS, _BAD, _REST = range(4)

Row = dict[str, Any]


class KeptOutcomes:
    """Outcomes as they come; `counts` are of all of them, `failed` are the names of all tests that went wrong."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.counts = {"passed": 0, "failed": 0, "error": 0, "skipped": 0}
        self.failed: set[str] = set()
        self._requested = Requested(tests)
        self._id_chars = max(_NODE_ID_CHARS, self._requested.longest + len("::"))
        self._ran: set[str] = set()
        self._seen: dict[str, set[str]] = {"passed": set(), "bad": set(), "skipped": set()}
        self._spare = {_BAD: MOST_OUTCOMES, _REST: MOST_OUTCOMES}
        self._kept: list[tuple[int, Row]] = []
        self._last: Row = {}

    @property
    def missing(self) -> list[str]:
        """The requested tests that have no outcome so far."""
        seen = self._seen["passed"] | self._seen["bad"] | self._seen["skipped"]
        return [test for test in self._requested.tests if test not in seen]

    def add(self, node_id: str, outcome: str, message: str, path: str | None, line: int | None, *, ran: bool) -> None:
        """Count an outcome and keep it while there is room; `ran` where a test ran for it."""
        self.counts[outcome] += 1
        if ran and outcome != "skipped":
            self._ran.add(node_id)
        kind = "bad" if outcome in {"failed", "error"} else outcome
        if kind == "bad":
            self.failed.add(node_id)
        around = set(self._requested.around(node_id))
        first = bool(around - self._seen[kind])
        self._seen[kind] |= around
        self._last = {"node_id": node_id[: self._id_chars], "outcome": outcome}
        self.amend_last(message, path, line)
        if first and kind != "skipped":
            self._kept.append((_SHOWS if kind == "passed" else _SPOILS, self._last))
            return
        rank = _BAD if kind == "bad" else _REST
        if self._spare[rank]:
            self._spare[rank] -= 1
            self._kept.append((rank, self._last))

    def amend_last(self, message: str, path: str | None, line: int | None) -> None:
        """Say more about the outcome that came last."""
        self._last.update(message=message, path=path, line=line)

    def record(self) -> Row:
        """Return `outcomes` in their order, or, where some have no room, what went wrong first; and the counts."""
        chosen: list[tuple[int, Row]] = []
        note = ""
        left, long_left = OUTCOMES_BYTES, _LONG_BYTES
        for index, (rank, row) in sorted(enumerate(self._kept), key=lambda one: one[1][0]):
            if rank in {_BAD, _REST} and len(chosen) >= MOST_OUTCOMES:
                break
            lean = {name: value for name, value in row.items() if value not in {"", None}}
            size = _size(lean)
            if size > long_left and len(row["message"]) > _SHORT_CHARS:
                lean["message"] = f"{row['message'][:_SHORT_CHARS]} ... (cut)"
                size = _size(lean)
            elif row["message"]:
                long_left -= size
            if size > left:
                note = TOO_MANY if rank == _SHOWS else note
                continue
            left -= size
            chosen.append((index, lean))
        chosen.sort(key=lambda one: one[0])
        if len(chosen) < sum(self.counts.values()):
            chosen.sort(key=lambda one: one[1]["outcome"] in {"passed", "skipped"})
        outcomes = [row for _, row in chosen]
        return {"outcomes": outcomes, "counts": self.counts, "tests_run": len(self._ran), "note": note}


def fitting(rows: Iterable[Sequence[object]], room: int) -> list[Sequence[object]]:
    """Return the first rows that take at most `room` bytes."""
    found = []
    for row in rows:
        room -= _size(row)
        if room < 0:
            break
        found.append(row)
    return found


def _size(what: object) -> int:
    return len(json.dumps(what)) + len(", ")
