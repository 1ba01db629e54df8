"""Every error the library raises on purpose: all of them are LedgerErrors, and so ValueErrors."""

from __future__ import annotations


class LedgerError(ValueError):
    """The base of all errors of this library."""


class AmountError(LedgerError):
    """A text is no amount, a currency is unknown, or amounts do not go together."""


class DateError(LedgerError):
    """A text is no date or period, or a calendar value is out of range."""


class AccountError(LedgerError):
    """An account name is malformed."""


class EntryError(LedgerError):
    """An entry breaks a rule of double-entry bookkeeping."""


class JournalError(LedgerError):
    """A journal refuses an operation."""


class StatementError(LedgerError):
    """A bank statement or a categorising rule cannot be read."""


class QueryError(LedgerError):
    """A query is well formed but cannot be answered."""


class QuerySyntaxError(QueryError):
    """A query is malformed; `position` is the offset in its text."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at {position}")
        self.position = position
