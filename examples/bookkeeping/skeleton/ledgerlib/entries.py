"""Entries: what happened on a day, as postings to accounts that add up to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ledgerlib.accounts import split_account
from ledgerlib.errors import EntryError
from ledgerlib.money import Money, format_money, parse_money, round_amount, sum_by_currency
from ledgerlib.periods import parse_date

REVERSAL_TAG = "reversal"


@dataclass(frozen=True)
class Posting:
    """One amount on one account."""

    account: str
    money: Money


@dataclass(frozen=True)
class Entry:
    """A booked event; `number` is 0 until a journal gives it one."""

    day: date
    payee: str
    postings: tuple[Posting, ...]
    tags: tuple[str, ...] = ()
    number: int = 0


def imbalance(postings: Iterable[Posting]) -> dict[str, Decimal]:
    """Return the non-zero sums of the postings per currency."""
    raise NotImplementedError


def check_entry(entry: Entry) -> None:
    """Raise unless the entry obeys every rule of double-entry bookkeeping."""
    raise NotImplementedError


def complete_postings(amounts: Sequence[tuple[str, Money | None]]) -> tuple[Posting, ...]:
    """Turn pairs into postings; one pair may leave its amount to be worked out."""
    raise NotImplementedError


def reverse_entry(entry: Entry, day: date) -> Entry:
    """Return the entry that cancels this one, dated `day`."""
    raise NotImplementedError


def parse_entry(text: str) -> Entry:
    """Read an entry: a line with date, payee and tags, then one line for each posting."""
    raise NotImplementedError


def format_entry(entry: Entry) -> str:
    """Write an entry as parse_entry reads it, its amounts aligned on the right."""
    raise NotImplementedError
