"""CostGuardrails: money is set aside before a call and settled after it.

Amounts are kept as whole nano-dollars, so sums are exact: spent + reserved + unknown <= limit holds to the last digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mge_ray.domain.errors import BudgetError

NANO = 1_000_000_000
SOFT_LIMIT_SHARE = 0.70
DEFAULT_BUDGET_USD = 200.0


def to_nano(usd: float) -> int:
    """Return US dollars as whole nano-dollars, rounded up."""
    if not math.isfinite(usd * NANO) or usd < 0:
        raise BudgetError(f"an amount of money is a finite number of US dollars >= 0, got {usd}")
    return math.ceil(round(usd * NANO, 3))


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """Another limit (US dollars; None for no limit before), by whom and why."""

    at: float
    before_usd: float | None
    limit_usd: float
    by: str
    reason: str


@dataclass(slots=True)
class CostGuardrails:
    """One execution's money. `limit_usd` None means no hard limit: spending is still counted.

    `dearest_nano` is the most that a call at the start can bill, or the largest reservation of one that has ended.
    """

    limit_usd: float | None = None
    spent_nano: int = 0
    unknown_nano: int = 0
    reservations: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    reserved_nano: int = 0
    dearest_nano: int = 0

    @property
    def committed_nano(self) -> int:
        """What is spent, may be spent, or may have been: the limit holds for this sum."""
        return self.spent_nano + self.reserved_nano + self.unknown_nano

    @property
    def spent_usd(self) -> float:
        """What answers are known to have cost."""
        return self.spent_nano / NANO

    @property
    def reserved_usd(self) -> float:
        """What the calls in flight can cost at most."""
        return self.reserved_nano / NANO

    @property
    def unknown_usd(self) -> float:
        """What calls that vanished may have cost at most."""
        return self.unknown_nano / NANO

    @property
    def soft_limit_reached(self) -> bool:
        """True from 70 % of the limit on."""
        committed = self.spent_nano + self.unknown_nano
        return self.limit_usd is not None and committed > 0 and committed >= SOFT_LIMIT_SHARE * to_nano(self.limit_usd)

    def carries(self, calls: int) -> bool:
        """Return whether what is left is enough for so many calls of the dearest kind seen at a time."""
        if self.limit_usd is None:
            return True
        return to_nano(self.limit_usd) - self.spent_nano - self.unknown_nano >= calls * self.dearest_nano

    def fits(self, usd: float) -> bool:
        """Return whether a call of at most `usd` may be made now."""
        if self.limit_usd is None:
            return True
        return self.committed_nano + to_nano(usd) <= to_nano(self.limit_usd)

    def reserve(self, call_id: str, usd: float) -> None:
        """Set aside the most the call can bill; raise BudgetError if that does not fit."""
        if call_id in self.reservations:
            raise BudgetError(f"call {call_id} has a reservation already")
        if not self.fits(usd):
            raise BudgetError(f"a call of at most ${usd:.6f} does not fit: {self.describe()}")
        self.reservations[call_id] = to_nano(usd)
        self.reserved_nano += self.reservations[call_id]

    def settle(self, call_id: str, usd: float) -> None:
        """Book what the call really cost, even if it was counted as lost before; twice changes nothing."""
        amount = to_nano(usd)
        if call_id in self.reservations:
            self._give_back(call_id)
        elif call_id in self.lost:
            self.unknown_nano -= self.lost.pop(call_id)
        else:
            return
        self.spent_nano += amount

    def refund(self, call_id: str) -> None:
        """Give back the reservation of a call that billed nothing; twice changes nothing."""
        if call_id in self.reservations:
            self._give_back(call_id)

    def lose(self, call_id: str) -> None:
        """Count the reservation of a call that vanished as unknown spend, never as a refund; twice changes nothing."""
        if call_id in self.reservations:
            amount = self.lost[call_id] = self._give_back(call_id)
            self.unknown_nano += amount

    def _give_back(self, call_id: str) -> int:
        amount = self.reservations.pop(call_id)
        self.reserved_nano -= amount
        self.dearest_nano = max(self.dearest_nano, amount)
        return amount

    def describe(self) -> str:
        """Return one line for people."""
        limit = "no limit" if self.limit_usd is None else f"limit ${self.limit_usd:.4f}"
        return (
            f"spent ${self.spent_usd:.4f}, reserved ${self.reserved_usd:.4f}, unknown ${self.unknown_usd:.4f}, {limit}"
        )
