"""TenantAccount: one limit over all executions of a tenant, held against the ledger of each.

It keeps no money of its own: what is held here is summed anew each time, so no two books can disagree. Machines know
nothing of it; whoever drives them asks it before each reservation, and their replays need it not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import NamedTuple
from uuid import UUID

from mge_ray.domain.cost import NANO, SOFT_LIMIT_SHARE, CostGuardrails, to_nano


class Sums(NamedTuple):
    """Money of one execution or of several, in nano-dollars."""

    spent: int = 0
    reserved: int = 0
    unknown: int = 0

    @property
    def committed(self) -> int:
        """What is spent, may be spent, or may have been: a limit holds for this sum."""
        return sum(self)


@dataclass(frozen=True, slots=True)
class TenantStanding:
    """What the journal says: the limit (US dollars; None for none), and the sums of each execution begun since then."""

    limit_usd: float | None = None
    since: float = 0.0
    executions: Mapping[UUID, Sums] = field(default_factory=dict)


class _Held(NamedTuple):
    money: CostGuardrails
    began_at: float
    moves: Callable[[], bool]


class TenantAccount:
    """The executions of one tenant: those held in this process, and what the journal says of the others."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self._standing = TenantStanding()
        self._held: dict[UUID, _Held] = {}
        self._elsewhere = Sums()
        self._limit_nano: int | None = None
        self._soft_limit_told = False

    @property
    def limit_usd(self) -> float | None:
        """The limit of all executions together; None for none."""
        return self._standing.limit_usd

    @property
    def since(self) -> float:
        """Executions begun before this time (seconds since the epoch) are not counted."""
        return self._standing.since

    def update(self, standing: TenantStanding) -> None:
        """Take what the journal says now. A held execution's own ledger is newer than what is said of it."""
        if (standing.limit_usd, standing.since) != (self.limit_usd, self.since):
            self._soft_limit_told = False
        self._standing = standing
        self._limit_nano = None if standing.limit_usd is None else to_nano(standing.limit_usd)
        self._sum_up_elsewhere()

    def change_limit(self, limit_usd: float | None, since: float) -> None:
        """Take another limit for the same executions."""
        self.update(TenantStanding(limit_usd, since, self._standing.executions))

    def hold(self, execution_id: UUID, money: CostGuardrails, *, began_at: float, moves: Callable[[], bool]) -> None:
        """Count an execution by its own ledger from now on; `moves` says whether its reservations end by themselves."""
        self._held[execution_id] = _Held(money, began_at, moves)
        self._sum_up_elsewhere()

    @property
    def sums(self) -> Sums:
        """The money of all executions that count."""
        spent, reserved, unknown = self._elsewhere
        for held in self._counted():
            spent += held.money.spent_nano
            reserved += held.money.reserved_nano
            unknown += held.money.unknown_nano
        return Sums(spent, reserved, unknown)

    def fits(self, usd: float) -> bool:
        """Return whether calls of at most `usd` together may be made now."""
        return self._limit_nano is None or self.sums.committed + to_nano(usd) <= self._limit_nano

    def may_fit_later(self, usd: float) -> bool:
        """Return whether a call of at most `usd` fits once what is in flight here has landed, if it bills nothing."""
        landing = sum(held.money.reserved_nano for held in self._counted() if held.moves())
        return self._limit_nano is None or self.sums.committed - landing + to_nano(usd) <= self._limit_nano

    def soft_limit_to_tell(self) -> bool:
        """Return, once for each limit, that 70 % of it is spent or may have been."""
        if self._soft_limit_told or self._limit_nano is None:
            return False
        sums = self.sums
        used = sums.spent + sums.unknown
        self._soft_limit_told = used > 0 and used >= SOFT_LIMIT_SHARE * self._limit_nano
        return self._soft_limit_told

    def describe(self) -> str:
        """Return one line for people."""
        spent, reserved, unknown = (f"${amount / NANO:.4f}" for amount in self.sums)
        limit = "no limit" if self.limit_usd is None else f"limit ${self.limit_usd:.4f}"
        day = datetime.fromtimestamp(self.since, tz=timezone.utc).strftime("%Y-%m-%d")
        period = f" since {day}" if self.since else ""
        return f"tenant {self.tenant}: spent {spent}, reserved {reserved}, unknown {unknown}, {limit}{period}"

    def _counted(self) -> list[_Held]:
        known, since = self._standing.executions, self.since
        return [held for one, held in self._held.items() if held.began_at >= since or one in known]

    def _sum_up_elsewhere(self) -> None:
        others = [sums for one, sums in self._standing.executions.items() if one not in self._held]
        self._elsewhere = Sums(*(sum(column) for column in zip(*others, strict=True))) if others else Sums()
