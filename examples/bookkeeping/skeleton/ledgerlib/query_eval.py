"""Answering queries over the lines of a journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Union

from ledgerlib.accounts import account_type, match_account
from ledgerlib.errors import QueryError
from ledgerlib.journal import Journal, Line
from ledgerlib.money import round_amount
from ledgerlib.periods import bucket_label
from ledgerlib.query_ast import Aggregate, And, Comparison, Condition, Not, Order, Value
from ledgerlib.query_parser import parse_query

TIME_FIELDS = ("year", "quarter", "month", "week")

Cell = Union[str, int, Decimal, date, None]
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class QueryResult:
    """The answer: group fields and aggregates as headers, one row for each group."""

    headers: tuple[str, ...]
    rows: tuple[Row, ...]


def field_values(line: Line, field: str) -> tuple[Value, ...]:
    """Return the values of a field of a line: one, except for tags."""
    raise NotImplementedError


def compare(left: Value, op: str, right: Value) -> bool:
    """Compare two values of one type; texts without regard to case."""
    raise NotImplementedError


def matches(condition: Condition, line: Line) -> bool:
    """Tell whether a line meets a condition."""
    raise NotImplementedError


def aggregate(column: Aggregate, lines: Sequence[Line]) -> Cell:
    """Compute count, sum, min, max or avg over lines."""
    raise NotImplementedError


def group_lines(lines: Iterable[Line], fields: Sequence[str]) -> dict[tuple[Value, ...], list[Line]]:
    """Group lines by the values of fields, groups in ascending order."""
    raise NotImplementedError


def sort_rows(headers: Sequence[str], rows: Iterable[Row], orders: Sequence[Order]) -> list[Row]:
    """Sort rows by one or more of their columns."""
    raise NotImplementedError


def run_query(journal: Journal, text: str) -> QueryResult:
    """Answer a query over a journal."""
    raise NotImplementedError
