"""The words of the query language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ledgerlib.errors import QuerySyntaxError


class Kind(str, Enum):
    """What a token is; END is the last token of every query."""

    WORD = "word"
    NUMBER = "number"
    DATE = "date"
    STRING = "string"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True)
class Token:
    """A token with its offset in the query; words are in lower case, strings without quotes."""

    kind: Kind
    text: str
    position: int


SPACE = re.compile(r"\s*")

# Tried in this order at each place, so that a date is not read as a number.
TOKENS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.DATE, re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")),
    (Kind.NUMBER, re.compile(r"-?[0-9]+(?:\.[0-9]+)?")),
    (Kind.WORD, re.compile(r"[A-Za-z_][A-Za-z0-9_]*")),
    (Kind.SYMBOL, re.compile(r"<=|>=|!=|[=<>~(),*]")),
)


def read_string(text: str, start: int) -> tuple[str, int]:
    """Read a quoted string; return its content and where it ended."""
    raise NotImplementedError


def tokenize(text: str) -> list[Token]:
    """Cut a query into tokens, the last of which is END."""
    raise NotImplementedError


class TokenStream:
    """A cursor over tokens that never moves beyond END."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        raise NotImplementedError

    def peek(self) -> Token:
        """Return the present token."""
        raise NotImplementedError

    def next(self) -> Token:
        """Return the present token and move on."""
        raise NotImplementedError

    def accept(self, *texts: str) -> str | None:
        """Move on if the present token is one of these words or symbols, and return it."""
        raise NotImplementedError

    def expect(self, *texts: str) -> str:
        """Move over one of these words or symbols, or raise."""
        raise NotImplementedError
