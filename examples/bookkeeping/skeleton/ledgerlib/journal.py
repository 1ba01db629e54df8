"""The journal: all entries in the order of time, numbered, and closed up to a day."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

from ledgerlib.entries import REVERSAL_TAG, Entry, check_entry, parse_entry, reverse_entry
from ledgerlib.errors import JournalError, LedgerError
from ledgerlib.money import Money
from ledgerlib.periods import Period


@dataclass(frozen=True)
class Line:
    """One posting with what its entry says about it: the row that ledgers, reports and queries work on."""

    number: int
    day: date
    payee: str
    account: str
    money: Money
    tags: tuple[str, ...] = ()


@dataclass
class Journal:
    """Entries by day and number. Nothing may be booked on or before `closed_until`."""

    entries: list[Entry] = field(default_factory=list)
    closed_until: date | None = None

    def append(self, entry: Entry) -> Entry:
        """Check, number and store an entry; return it as stored."""
        raise NotImplementedError

    def find(self, number: int) -> Entry:
        """Return the entry with this number."""
        raise NotImplementedError

    def close(self, day: date) -> None:
        """Refuse entries up to and including this day from now on."""
        raise NotImplementedError

    def lines(self, period: Period | None = None) -> list[Line]:
        """Return the postings of all entries, or of those in a period, as lines."""
        raise NotImplementedError

    def reverse(self, number: int, day: date) -> Entry:
        """Book the reversal of an entry and return it."""
        raise NotImplementedError


def parse_journal(text: str) -> Journal:
    """Read a journal: entries one after the other."""
    raise NotImplementedError
