"""Account names such as "Assets:Bank:Checking": a path of segments under one of five roots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase

from ledgerlib.errors import AccountError


class AccountType(str, Enum):
    """The five kinds of accounts."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


ROOTS: dict[str, AccountType] = {
    "Assets": AccountType.ASSET,
    "Liabilities": AccountType.LIABILITY,
    "Equity": AccountType.EQUITY,
    "Income": AccountType.INCOME,
    "Expenses": AccountType.EXPENSE,
}

# Accounts that grow with debits; the others grow with credits.
DEBIT_NORMAL = frozenset({AccountType.ASSET, AccountType.EXPENSE})

SEGMENT = re.compile(r"[A-Z0-9][A-Za-z0-9-]*")


def split_account(name: str) -> tuple[str, ...]:
    """Return the segments of a valid account name."""
    raise NotImplementedError


def account_type(name: str) -> AccountType:
    """Return the type of an account, which its root says."""
    raise NotImplementedError


def natural_balance(name: str, value: Decimal) -> Decimal:
    """Return a balance with the sign that is usual for the account's type."""
    raise NotImplementedError


def ancestors(name: str) -> list[str]:
    """Return the names of the accounts above this one, root first."""
    raise NotImplementedError


def match_account(pattern: str, name: str) -> bool:
    """Tell whether an account matches a pattern such as "Expenses:*"."""
    raise NotImplementedError


def roll_up(balances: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return the balances with those of all accounts above, each including what is below it."""
    raise NotImplementedError
