"""Reports: income statement, balance sheet, and answers to queries as text tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ledgerlib.accounts import AccountType, account_type, natural_balance, roll_up
from ledgerlib.journal import Journal
from ledgerlib.ledger import account_balances
from ledgerlib.money import format_amount, lookup_currency
from ledgerlib.periods import Period
from ledgerlib.query_eval import run_query

EARNINGS = "Equity:Earnings"


@dataclass(frozen=True)
class Section:
    """The accounts of one type with natural balances, each including what is below it, and their total."""

    kind: AccountType
    rows: tuple[tuple[str, Decimal], ...]
    total: Decimal


@dataclass(frozen=True)
class Report:
    """A title, sections, and the figure the report is about."""

    title: str
    sections: tuple[Section, ...]
    result: Decimal


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Lay out a table, the columns with the given indices aligned on the right."""
    raise NotImplementedError


def build_section(kind: AccountType, balances: Mapping[str, Decimal]) -> Section:
    """Build the section of one account type from balances per account."""
    raise NotImplementedError


def income_statement(journal: Journal, period: Period, currency: str) -> Report:
    """Return income and expenses of a period, and what is left."""
    raise NotImplementedError


def balance_sheet(journal: Journal, day: date, currency: str) -> Report:
    """Return assets, liabilities and equity at the end of a day."""
    raise NotImplementedError


def render_report(report: Report, currency: str) -> str:
    """Write a report as a text table with indented accounts."""
    raise NotImplementedError


def query_report(journal: Journal, text: str) -> str:
    """Answer a query over a journal as a text table."""
    raise NotImplementedError
