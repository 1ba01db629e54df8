"""The ledger: balances, registers, the trial balance and the entry that closes a period."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ledgerlib.accounts import AccountType, account_type, match_account
from ledgerlib.entries import Entry, Posting
from ledgerlib.errors import EntryError
from ledgerlib.journal import Journal, Line
from ledgerlib.money import Money
from ledgerlib.periods import Period


@dataclass(frozen=True)
class RegisterRow:
    """A line of an account and the balance after it, in the line's currency."""

    line: Line
    balance: Decimal


@dataclass(frozen=True)
class TrialRow:
    """The balance of an account as a debit or a credit; the other one is zero."""

    account: str
    debit: Decimal
    credit: Decimal


class RunningBalance:
    """A balance per currency that follows postings one by one."""

    def __init__(self) -> None:
        raise NotImplementedError

    def add(self, money: Money) -> Decimal:
        """Add money; return the new balance in its currency."""
        raise NotImplementedError

    def balance(self, currency: str) -> Decimal:
        """Return the balance in a currency."""
        raise NotImplementedError

    def open_currencies(self) -> list[str]:
        """Return the currencies with a balance other than zero, in alphabetical order."""
        raise NotImplementedError


def account_balances(lines: Iterable[Line], currency: str) -> dict[str, Decimal]:
    """Return the non-zero balances per account in one currency."""
    raise NotImplementedError


def register(journal: Journal, pattern: str, period: Period | None = None) -> list[RegisterRow]:
    """Return the lines of the accounts that match, each with the balance after it."""
    raise NotImplementedError


def trial_balance(journal: Journal, currency: str, day: date) -> list[TrialRow]:
    """Return the balances at the end of a day as debits and credits."""
    raise NotImplementedError


def closing_entry(journal: Journal, period: Period, currency: str, into: str = "Equity:Retained") -> Entry:
    """Return the entry that empties income and expense accounts into an equity account."""
    raise NotImplementedError
