"""An edge: which node of the package rests on which, why, and how sure that is; and the methods behind syntax."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from mge_ray.pipeline.atomize.definitions import Key

BY_CALL = {
    "len": ("__len__",),
    "iter": ("__iter__",),
    "next": ("__next__",),
    "repr": ("__repr__",),
    "str": ("__str__", "__repr__"),
    "format": ("__format__", "__str__"),
    "bool": ("__bool__", "__len__"),
    "hash": ("__hash__",),
    "reversed": ("__reversed__",),
    "int": ("__int__", "__index__"),
    "float": ("__float__",),
    "abs": ("__abs__",),
    "list": ("__iter__",),
    "tuple": ("__iter__",),
    "set": ("__iter__", "__hash__"),
    "dict": ("__iter__", "keys", "__getitem__"),
    "sorted": ("__iter__", "__lt__"),
}
ITERATING = frozenset(
    {"all", "any", "enumerate", "filter", "frozenset", "islice", "map", "max", "min", "sum", "zip", "chain"}
)
BINARY = {
    "Add": "add", "Sub": "sub", "Mult": "mul", "Div": "truediv", "FloorDiv": "floordiv", "Mod": "mod", "Pow": "pow",
    "BitOr": "or", "BitAnd": "and", "BitXor": "xor", "LShift": "lshift", "RShift": "rshift", "MatMult": "matmul",
}  # fmt: skip
COMPARED = {"Eq": "__eq__", "NotEq": "__ne__", "Lt": "__lt__", "LtE": "__le__", "Gt": "__gt__", "GtE": "__ge__"}


class EdgeKind(str, Enum):
    """What in the code makes one node rest on another."""

    CALL = "call"
    NAME = "name"
    ATTRIBUTE = "attribute"
    IMPORT = "import"
    BASE = "base"
    DECORATOR = "decorator"
    DEFAULT = "default"
    OBSERVED = "observed"
    """Seen while the suite ran, and not found in the code."""
    TEST = "test"
    """Not of the code: the only test that can judge the one runs the other too."""


class Doubt(IntEnum):
    """How sure an edge is, the surest first; cycles are cut at the other end."""

    NONE = 0
    OBSERVED = 1
    """A call that was seen while the suite ran: it happens, but what is written anew need not make it."""
    OVERRIDE = 2
    """Found on a class, but a subclass has a method of its own."""
    PROTOCOL = 3
    """An operator on something that may be an instance of a class the code speaks of."""
    NAMESAKE = 4
    """An attribute of something unknown, that some class of the package has."""
    UNSEEN = 5
    """Any of the three above, where tests run the source and it was never seen to call the target."""


class Edge(NamedTuple):
    """`source` rests on `target`."""

    source: Key
    target: Key
    kind: EdgeKind
    doubt: Doubt = Doubt.NONE
