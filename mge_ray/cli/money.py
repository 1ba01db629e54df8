"""An execution's money for people: spent, reserved, unknown, limit and forecast at completion, always apart."""

from __future__ import annotations

from datetime import datetime, timezone

from mge_ray.domain.cost import BudgetChange
from mge_ray.pipeline.report import MoneyReport


def limit_text(usd: float) -> str:
    """Return a limit as people read it: cents, and below a dollar what a cent would hide."""
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.4f}"


def told_money(money: MoneyReport | None) -> str:
    """Return one line."""
    if money is None:
        return "not known"
    return (
        f"spent ${money.spent_usd:.4f}, reserved ${money.reserved_usd:.4f}, unknown ${money.unknown_usd:.4f}, "
        f"limit {_usd(money.limit_usd)}, forecast at completion {_usd(money.forecast_usd)}"
        f"{' (70 % of the limit is used)' if money.soft_limit_reached else ''}"
    )


def money_lines(money: MoneyReport, *, simulated: bool) -> list[str]:
    """Return a line for each amount, then one for each change of the limit."""
    kind = " (simulated)" if simulated else ""
    lines = [
        f"spent      ${money.spent_usd:.4f}{kind}",
        f"reserved   ${money.reserved_usd:.4f}",
        f"unknown    ${money.unknown_usd:.4f}",
        f"limit      {_usd(money.limit_usd)}{', of which 70 % is used' if money.soft_limit_reached else ''}",
        f"forecast   {_usd(money.forecast_usd)} at completion",
    ]
    return lines + [_told_change(change) for change in money.changes]


def _usd(amount: float | None) -> str:
    return "none" if amount is None else f"${amount:.4f}"


def _told_change(change: BudgetChange) -> str:
    at = datetime.fromtimestamp(change.at, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    reason = " ".join(change.reason.split())
    return f"changed    {at} {_usd(change.before_usd)} -> {_usd(change.limit_usd)} by {change.by}: {reason}"
