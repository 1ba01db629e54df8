"""Days, months and periods of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from ledgerlib.errors import DateError

DATE = re.compile(r"([1-9][0-9]{3})-([0-9]{2})-([0-9]{2})")
YEAR = re.compile(r"[1-9][0-9]{3}")
QUARTER = re.compile(r"([1-9][0-9]{3})-Q([1-4])")
MONTH = re.compile(r"([1-9][0-9]{3})-([0-9]{2})")


@dataclass(frozen=True)
class Period:
    """The days from `start` to `end`, both included."""

    start: date
    end: date

    def contains(self, day: date) -> bool:
        """Tell whether the day lies in the period, its first and last day included."""
        raise NotImplementedError


def parse_date(text: str) -> date:
    """Read a date written as YYYY-MM-DD."""
    raise NotImplementedError


def days_in_month(year: int, month: int) -> int:
    """Return how many days the month has."""
    raise NotImplementedError


def month_period(year: int, month: int) -> Period:
    """Return the period of one calendar month."""
    raise NotImplementedError


def parse_period(text: str) -> Period:
    """Read a period: "2024", "2024-Q2", "2024-03", "2024-03-05", or two of these joined by ".."."""
    raise NotImplementedError


def split_months(period: Period) -> list[Period]:
    """Cut a period at the ends of months."""
    raise NotImplementedError


def bucket_label(day: date, unit: str) -> str:
    """Return a label such as "2024", "2024-Q1", "2024-03", "2024-W10" or "2024-03-05"."""
    raise NotImplementedError
