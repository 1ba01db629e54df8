"""How long a client tries: a service that restarts says when to come again, a broken line does not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from httpx2 import Timeout

PATIENCE_S = 60.0
TIMEOUT_S = 120.0
"""A check of code written by hand may take as long as its tests."""
STREAM_TIMEOUT = Timeout(TIMEOUT_S, read=45.0)
"""A stream says that it lives every 15 seconds."""
OK = 200
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
TRY_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(slots=True)
class Patience:
    """Waits for one request: at most `left_s` seconds in all, doubling, with jitter so that clients do not march."""

    left_s: float
    _next_s: float = FIRST_WAIT_S

    def wait_s(self, headers: Mapping[str, str] | None = None) -> float | None:
        """Return how long to wait before the next try; None when there is no patience left."""
        told = (headers or {}).get("retry-after", "")
        wait = float(told) if told.isdecimal() else self._next_s
        wait = min(wait, LONGEST_WAIT_S) * random.uniform(1.0, 1.25)  # noqa: S311  # no secret
        self._next_s = min(2 * self._next_s, LONGEST_WAIT_S)
        if wait > self.left_s:
            return None
        self.left_s -= wait
        return wait
