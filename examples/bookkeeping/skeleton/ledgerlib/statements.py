"""Bank statements: reading and writing CSV, and rules that turn statement lines into entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ledgerlib.accounts import split_account
from ledgerlib.entries import Entry, Posting, check_entry
from ledgerlib.errors import StatementError
from ledgerlib.journal import Line
from ledgerlib.money import Money, parse_amount, round_amount
from ledgerlib.periods import parse_date

COLUMNS = ("date", "text", "amount")
EXPORT_HEADER = "number,date,payee,account,amount,currency"
UNSORTED_EXPENSE = "Expenses:Unsorted"
UNSORTED_INCOME = "Income:Unsorted"


@dataclass(frozen=True)
class StatementLine:
    """A line of a bank statement; a positive value came in, a negative one went out."""

    day: date
    text: str
    value: Decimal


@dataclass(frozen=True)
class Rule:
    """Statement lines with all these words, and a size within the bounds if there are any, belong to the account."""

    words: tuple[str, ...]
    account: str
    low: Decimal | None = None
    high: Decimal | None = None


def split_records(text: str) -> list[str]:
    """Cut CSV text into records; a quoted field may hold line ends."""
    raise NotImplementedError


def split_fields(record: str, delimiter: str = ",") -> list[str]:
    """Cut one record into fields, taking off quotes."""
    raise NotImplementedError


def quote_field(text: str, delimiter: str = ",") -> str:
    """Write a field for CSV, in quotes where it needs them."""
    raise NotImplementedError


def parse_statement(text: str, delimiter: str = ",") -> list[StatementLine]:
    """Read a bank statement in CSV with a header."""
    raise NotImplementedError


def export_lines(lines: Iterable[Line]) -> str:
    """Write journal lines as CSV."""
    raise NotImplementedError


def parse_rule(text: str) -> Rule:
    """Read a rule such as "corner shop 10..50 -> Expenses:Food"."""
    raise NotImplementedError


def rule_matches(rule: Rule, line: StatementLine) -> bool:
    """Tell whether the line has the rule's words and lies within its bounds."""
    raise NotImplementedError


def categorise(line: StatementLine, rules: Sequence[Rule]) -> str | None:
    """Return the account of the most specific rule that matches, if any."""
    raise NotImplementedError


def entry_from_statement(line: StatementLine, rules: Sequence[Rule], account: str, currency: str) -> Entry:
    """Turn a statement line into an entry between the bank's account and the one the rules find."""
    raise NotImplementedError
