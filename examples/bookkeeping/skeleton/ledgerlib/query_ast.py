"""What a query means, after parsing: conditions, aggregates and the query itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Union

Value = Union[str, Decimal, date]

TEXT_FIELDS = frozenset({"account", "type", "payee", "currency", "tag", "year", "quarter", "month", "week"})
NUMBER_FIELDS = frozenset({"amount", "number"})
FIELDS = TEXT_FIELDS | NUMBER_FIELDS | {"date"}
FUNCTIONS = ("sum", "count", "min", "max", "avg")


@dataclass(frozen=True)
class Comparison:
    """`field op value`, op being one of = != < <= > >= ~."""

    field: str
    op: str
    value: Value


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    condition: Condition


@dataclass(frozen=True)
class And:
    """Both conditions."""

    left: Condition
    right: Condition


@dataclass(frozen=True)
class Or:
    """At least one of the conditions."""

    left: Condition
    right: Condition


Condition = Union[Comparison, Not, And, Or]


@dataclass(frozen=True)
class Aggregate:
    """A function of FUNCTIONS over a field; the field of `count` is "*"."""

    function: str
    field: str

    def __str__(self) -> str:
        return f"{self.function}({self.field})"


@dataclass(frozen=True)
class Order:
    """A header of the result to sort by: a field or the text of an aggregate."""

    key: str
    descending: bool = False


@dataclass(frozen=True)
class Query:
    """Aggregates over the lines that meet `where`, for each group."""

    columns: tuple[Aggregate, ...]
    where: Condition | None = None
    group_by: tuple[str, ...] = ()
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
