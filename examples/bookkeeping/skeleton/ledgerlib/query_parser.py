"""From tokens to a Query.

query     = columns ["where" condition] ["group" "by" field {"," field}] ["order" "by" orders] ["limit" number]
columns   = aggregate {"," aggregate}            aggregate = function "(" (field | "*") ")"
condition = "not" condition | "(" condition ")" | comparison | condition ("and" | "or") condition
comparison = field ("=" | "!=" | "<" | "<=" | ">" | ">=" | "~") value | field "in" "(" value {"," value} ")"
orders    = order {"," order}                    order = (field | aggregate) ["asc" | "desc"]
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from ledgerlib.errors import QuerySyntaxError
from ledgerlib.money import parse_amount
from ledgerlib.periods import parse_date
from ledgerlib.query_ast import (
    FIELDS,
    FUNCTIONS,
    NUMBER_FIELDS,
    TEXT_FIELDS,
    Aggregate,
    And,
    Comparison,
    Condition,
    Not,
    Or,
    Order,
    Query,
    Value,
)
from ledgerlib.query_tokens import Kind, TokenStream, tokenize

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~")


def parse_value(stream: TokenStream) -> Value:
    """Read a number, a date or a string."""
    raise NotImplementedError


def parse_field(stream: TokenStream) -> str:
    """Read the name of a field."""
    raise NotImplementedError


def parse_comparison(stream: TokenStream) -> Condition:
    """Read `field op value` or `field in (value, ...)`."""
    raise NotImplementedError


def parse_condition(stream: TokenStream, *, tightest: bool = False) -> Condition:
    """Read a condition; "not" binds tighter than "and", "and" tighter than "or"."""
    raise NotImplementedError


def parse_aggregate(stream: TokenStream) -> Aggregate:
    """Read an aggregate such as sum(amount) or count(*)."""
    raise NotImplementedError


def parse_orders(stream: TokenStream) -> tuple[Order, ...]:
    """Read sort keys such as `month, sum(amount) desc`."""
    raise NotImplementedError


def parse_query(text: str) -> Query:
    """Read a query such as `sum(amount) where account ~ "Expenses:*" group by month`."""
    raise NotImplementedError
