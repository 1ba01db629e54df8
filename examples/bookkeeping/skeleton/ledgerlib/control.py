"""Control: planned against actual spending, and the journal against the bank's statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ledgerlib.accounts import match_account
from ledgerlib.errors import StatementError
from ledgerlib.journal import Journal, Line
from ledgerlib.ledger import account_balances
from ledgerlib.money import Money, parse_money, round_amount
from ledgerlib.periods import Period, days_in_month, split_months
from ledgerlib.statements import StatementLine


@dataclass(frozen=True)
class BudgetLine:
    """What may be spent each month on the accounts that match the pattern."""

    pattern: str
    monthly: Money


@dataclass(frozen=True)
class BudgetRow:
    """Planned and actual spending; `left` is negative where more was spent."""

    pattern: str
    planned: Decimal
    actual: Decimal
    left: Decimal


@dataclass(frozen=True)
class Matching:
    """Which lines of journal and statement belong together, and which have no partner."""

    pairs: tuple[tuple[Line, StatementLine], ...]
    only_journal: tuple[Line, ...]
    only_statement: tuple[StatementLine, ...]


@dataclass(frozen=True)
class Reconciliation:
    """A matching, and how much the journal's balance differs from the bank's."""

    matching: Matching
    difference: Decimal


def parse_budget(text: str) -> list[BudgetLine]:
    """Read a budget: one pattern and monthly amount on each line."""
    raise NotImplementedError


def prorate(monthly: Money, period: Period) -> Decimal:
    """Return what a monthly amount comes to over a period, by days."""
    raise NotImplementedError


def budget_report(journal: Journal, budget: Sequence[BudgetLine], period: Period) -> list[BudgetRow]:
    """Compare what was planned with what was spent in a period."""
    raise NotImplementedError


def match_lines(lines: Sequence[Line], statement: Sequence[StatementLine], days: int) -> Matching:
    """Pair the lines of a statement with those of the journal by value and nearness in time."""
    raise NotImplementedError


def reconcile(
    journal: Journal, account: str, statement: Sequence[StatementLine], period: Period, closing: Money, days: int = 3
) -> Reconciliation:
    """Compare an account with the bank's statement of a period and its closing balance."""
    raise NotImplementedError
