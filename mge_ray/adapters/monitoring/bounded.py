"""What keeps series bounded: recent label values, names beyond a number, shares of what was seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from prometheus_client import Gauge

OTHER = "other"


class Share:
    """A gauge between 0 and 1: how many of the things seen so far were good."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._good = 0
        self._all = 0

    def add(self, good: bool) -> None:  # noqa: FBT001 - the one thing there is to say
        """Count one thing."""
        self._good += good
        self._all += 1
        self._gauge.set(self._good / self._all)


class BoundedNames:
    """The first `limit` names keep their own series; all later ones are called "other"."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """Return what a name is called as a label."""
        if name not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(name)
        return name


class RecentLabels:
    """Label values that have series, at most `limit` of them; `drop` is told which ones lose theirs."""

    def __init__(self, limit: int, drop: Callable[[tuple[str, ...]], None]) -> None:
        self._limit = limit
        self._drop = drop
        self._recent: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def __contains__(self, labels: tuple[str, ...]) -> bool:
        return labels in self._recent

    def touch(self, labels: tuple[str, ...]) -> None:
        """Use `labels` now, and drop the least recently used beyond the limit."""
        self._recent[labels] = None
        self._recent.move_to_end(labels)
        while len(self._recent) > self._limit:
            self._drop(self._recent.popitem(last=False)[0])

    def forget(self, unwanted: Callable[[tuple[str, ...]], bool]) -> None:
        """Drop all labels that `unwanted` says true of."""
        for labels in [labels for labels in self._recent if unwanted(labels)]:
            del self._recent[labels]
            self._drop(labels)
