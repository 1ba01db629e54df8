"""How many calls may be in flight: a limit that follows what the provider bears, and a breaker for its bad minutes.

Additive increase and multiplicative decrease, as in TCP (Jacobson 1988): it finds a shared limit that nobody tells.
Time arrives as an argument, in seconds on any clock that does not go back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

LOWEST, HIGHEST, START = 10, 500, 100
USED_UP = 0.75
"""Share of the limit that has to be in use for an answer to say that more would be borne."""
HALVED, CUT_BY_A_QUARTER = 0.5, 0.75
LATENCIES = 100
SLOWER = 2.0
STEPS = 50
"""Round trips from nothing to the upper bound once slow start is over: a step of one would take most of a run."""
SHORTEST_ROUND_S = 1.0

OVERLOADS_IN_A_ROW = 8
FIRST_OPEN_S, LONGEST_OPEN_S = 1.0, 60.0
PROBE_S = 120.0


@dataclass(slots=True)
class AdaptiveLimit:
    """Between `lowest` and `highest` calls in flight; `value` grows in fractions."""

    highest: int = HIGHEST
    lowest: int = LOWEST
    value: float = START
    slow_start: bool = True
    round_s: float = SHORTEST_ROUND_S
    pushed_back_total: int = 0
    _no_cut_before: float = 0.0
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    _reference_s: float | None = None

    def __post_init__(self) -> None:
        self.retune(self.highest)

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return int(self.value)

    def retune(self, highest: int) -> None:
        """Set another upper bound, which also bounds the lower one; takes effect at once."""
        self.highest = highest
        self.lowest = min(self.lowest, highest)
        self.value = min(self.value, float(highest))

    def answered(self, latency_s: float, *, now: float, in_use: int) -> None:
        """Grow after an answer if the limit was used up: by one in slow start, then by a step a round trip."""
        self.round_s += 0.1 * (max(latency_s, SHORTEST_ROUND_S) - self.round_s)
        if in_use >= USED_UP * self.value:
            step = 1.0 if self.slow_start else max(1.0, self.highest / STEPS) / self.value
            self.value = min(float(self.highest), self.value + step)
        self._watch_latency(latency_s, now)

    def pushed_back(self, *, now: float) -> None:
        """Halve, once a round trip: what was sent before the first refusal is refused for the same reason."""
        self.pushed_back_total += 1
        self._cut(HALVED, now)

    def _watch_latency(self, latency_s: float, now: float) -> None:
        self._latencies.append(latency_s)
        if len(self._latencies) < LATENCIES:
            return
        p95 = sorted(self._latencies)[int(0.95 * LATENCIES)]
        self._latencies.clear()
        if self._reference_s is None:
            self._reference_s = p95
        elif p95 > SLOWER * self._reference_s:
            self._cut(CUT_BY_A_QUARTER, now)
            self._reference_s = p95  # what is slow for another reason is not cut for again
        else:
            self._reference_s += 0.5 * (p95 - self._reference_s)

    def _cut(self, share: float, now: float) -> None:
        if now < self._no_cut_before:
            return
        self.value = max(float(self.lowest), self.value * share)
        self.slow_start = False
        self._no_cut_before = now + self.round_s


@dataclass(slots=True)
class CircuitBreaker:
    """Closed: everything may start. Open: nothing, until `open_until`. Half open: one call that tries."""

    open_until: float = 0.0
    times_opened: int = 0
    _opened_at: float = 0.0
    _in_a_row: int = 0
    _is_open: bool = False
    _probe_until: float = 0.0

    @property
    def is_open(self) -> bool:
        """True from the overload that opened it to the answer that closes it."""
        return self._is_open

    def allowed(self, *, now: float) -> int | None:
        """Return how many calls may start: None for any number, one if it is time for a probe, else none."""
        if not self._is_open:
            return None
        return int(now >= self.open_until and now >= self._probe_until)

    def started(self, *, now: float) -> None:
        """Note that a call has started; while half open it is the probe."""
        if self._is_open:
            self._probe_until = now + PROBE_S

    def answered(self, *, began_at: float) -> None:
        """Close: whoever answers is not overloaded; but a call let in before it opened says nothing of what came then.

        Closed by those, it let 324 calls into a storm of 20 s with 30 calls under way when it began.
        """
        if self._is_open and began_at < self._opened_at:
            return
        self._in_a_row, self._is_open, self.times_opened, self._probe_until = 0, False, 0, 0.0

    def overloaded(self, *, now: float) -> None:
        """Count an overload, which may open it; what was sent before it opened does not open it for longer."""
        self._in_a_row += 1
        probed = self._is_open and now < self._probe_until
        if not probed and (self._is_open or self._in_a_row < OVERLOADS_IN_A_ROW):
            return
        self._opened_at = now
        self.open_until = now + min(FIRST_OPEN_S * float(1 << min(self.times_opened, 20)), LONGEST_OPEN_S)
        self.times_opened += 1
        self._is_open, self._probe_until = True, 0.0
