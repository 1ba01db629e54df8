"""Amounts and currencies: reading, writing, rounding and splitting money without losing a cent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from ledgerlib.errors import AmountError


@dataclass(frozen=True)
class Currency:
    """An ISO 4217 code, the number of its decimals, and its symbol ("" if it has none here)."""

    code: str
    digits: int
    symbol: str


CURRENCIES: dict[str, Currency] = {
    "EUR": Currency("EUR", 2, "€"),
    "USD": Currency("USD", 2, "$"),
    "GBP": Currency("GBP", 2, "£"),
    "CHF": Currency("CHF", 2, ""),
    "JPY": Currency("JPY", 0, "¥"),
    "KWD": Currency("KWD", 3, ""),
}

AMOUNT = re.compile(r"(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?")


@dataclass(frozen=True)
class Money:
    """A value in a currency; positive is a debit, negative a credit."""

    value: Decimal
    currency: str


def lookup_currency(code: str) -> Currency:
    """Return the currency with this code, whatever its case."""
    raise NotImplementedError


def round_amount(value: Decimal, currency: str) -> Decimal:
    """Round to the currency's decimals, half away from zero; never to a negative zero."""
    raise NotImplementedError


def parse_amount(text: str) -> Decimal:
    """Read an amount such as "1,234.50", "-3", "3-" or "(3)"."""
    raise NotImplementedError


def parse_money(text: str) -> Money:
    """Read money such as "12.50 EUR", "EUR 12.50" or "€12.50"."""
    raise NotImplementedError


def format_amount(value: Decimal, digits: int, *, accounting: bool = False) -> str:
    """Write an amount with grouped thousands; negative ones in parentheses if `accounting`."""
    raise NotImplementedError


def format_money(money: Money) -> str:
    """Write money such as "1,234.50 EUR"."""
    raise NotImplementedError


def allocate(money: Money, weights: Sequence[int]) -> list[Money]:
    """Split money in proportion to the weights without losing a unit."""
    raise NotImplementedError


def sum_by_currency(amounts: Iterable[Money]) -> dict[str, Decimal]:
    """Return the non-zero totals per currency, currencies in alphabetical order."""
    raise NotImplementedError
