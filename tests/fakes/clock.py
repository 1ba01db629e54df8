"""Time that passes when a test says so."""

from __future__ import annotations


class ManualClock:
    """The clock port; `step_s` passes with every look at it."""

    def __init__(self, at: float = 1_000.0, *, step_s: float = 0.0) -> None:
        self.at = at
        self.step_s = step_s

    def now(self) -> float:
        """Return the time, after letting `step_s` of it pass."""
        self.at += self.step_s
        return self.at

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.at += seconds
