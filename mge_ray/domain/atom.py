"""AtomicUnit: one small unit of code to be generated.

Owns what a unit *is* (spec, place, dependencies, tests). What happened to it (attempts, code, verdicts) lives on the
attempts: an atom never changes.
"""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

ATOM_ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]*$"
PLAN_LANGUAGE = "plan"
"""The language of planning steps: their answer is a JSON document, judged as one (ADR 0006)."""
SUFFIXES = {"python": ".py", PLAN_LANGUAGE: ".json"}
SYMBOL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

Signed = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign | ast.Assign

AtomId = Annotated[str, StringConstraints(pattern=ATOM_ID_PATTERN, max_length=128)]
Line = Annotated[str, StringConstraints(max_length=2_000)]


class Complexity(str, Enum):
    """How hard the unit is expected to be; sets the effort of its first attempt where the model takes one."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


def workspace_path(path: str) -> str:
    """Return `path` if it is a plain relative POSIX path inside the workspace, raise ValueError otherwise."""
    pure = PurePosixPath(path)
    plain = bool(path) and "\\" not in path and all(ch.isprintable() for ch in path) and len(path) <= 255  # noqa: PLR2004
    if not plain or not pure.name or pure.is_absolute() or ".." in pure.parts or str(pure) != path:
        shown = path if len(path) <= 80 else path[:77] + "..."  # noqa: PLR2004
        raise ValueError(f"file {shown!r} is not a plain relative path inside the workspace")
    return path


def check_symbol(symbol: str) -> str:
    """Return `symbol` if it is a dotted Python name, raise ValueError otherwise."""
    if not SYMBOL.fullmatch(symbol):
        raise ValueError(f"symbol {symbol[:80]!r} is not a name such as 'parse' or 'Ledger.post'")
    return symbol


def parse_signature(text: str) -> Signed | None:
    """Return the `def`, `class` or assignment line as syntax, decorators and closing colon optional; None otherwise."""
    bare = text.strip()
    for tail in ("", "\n    ...", " ...", ":\n    ...", ": ..."):
        body = _parse(bare + tail)
        if len(body) == 1 and isinstance(body[0], Signed):
            return body[0]
    return None


def _parse(text: str) -> list[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            return ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []


class AtomicUnit(BaseModel):
    """One unit of code: a spec, a place, dependencies and tests. Immutable.

    `file` is relative to the workspace, `symbol` a dotted name in it; `signature` is the `def` or `class` line the
    answer must have. `tests` are pytest node ids or files of the plan. `defines` names what else the atom may define
    at module level, `imports` the import statements it may add.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: AtomId
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    description: Annotated[str, StringConstraints(max_length=20_000)] = ""
    file: str
    symbol: str
    signature: Annotated[str, StringConstraints(max_length=2_000)] = ""
    language: str = "python"
    depends_on: tuple[AtomId, ...] = ()
    imports: tuple[Line, ...] = ()
    defines: tuple[str, ...] = ()
    preconditions: tuple[Line, ...] = ()
    postconditions: tuple[Line, ...] = ()
    tests: tuple[Line, ...] = ()
    complexity: Complexity = Complexity.MEDIUM
    estimated_loc: Annotated[int, Field(ge=1, le=10_000)] = 10

    @field_validator("file")
    @classmethod
    def _file_in_workspace(cls, value: str) -> str:
        return workspace_path(value)

    @field_validator("symbol")
    @classmethod
    def _symbol_is_a_name(cls, value: str) -> str:
        return check_symbol(value)

    @field_validator("defines")
    @classmethod
    def _defines_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_symbol(symbol) for symbol in value)

    @field_validator("signature")
    @classmethod
    def _signature_can_be_compared(cls, value: str) -> str:
        if value and parse_signature(value) is None:
            raise ValueError(f"signature {value[:80]!r} is no def, class or assignment, such as 'def f(a: int) -> str'")
        return value

    @field_validator("imports")
    @classmethod
    def _imports_are_imports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            body = _parse(line)
            if not body or not all(isinstance(node, ast.Import | ast.ImportFrom) for node in body):
                raise ValueError(f"imports: {line[:80]!r} is no import statement, such as 'from math import sqrt'")
        return value

    @field_validator("tests")
    @classmethod
    def _tests_in_workspace(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for test in value:
            workspace_path(test_file(test))
        return value

    @field_validator("language")
    @classmethod
    def _language_can_be_checked(cls, value: str) -> str:
        if value not in SUFFIXES:
            raise ValueError(f"language {value!r} cannot be checked here; only 'python' can")
        return value

    @model_validator(mode="after")
    def _file_is_of_the_language(self) -> AtomicUnit:
        suffix = SUFFIXES[self.language]
        if not self.file.endswith(suffix):
            what = "a Python file; an atom's" if suffix == ".py" else "a document; a planning step's"
            raise ValueError(f"file {self.file!r} is not {what} file ends with {suffix}")
        return self

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over every field: equal atoms have equal fingerprints, in any process."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def title(self) -> str:
        """What to call the atom where people read."""
        return self.name or self.symbol


def test_file(node_id: str) -> str:
    """Return the file part of a pytest node id."""
    return node_id.split("::", 1)[0]


test_file.__test__ = False  # type: ignore[attr-defined]  # pytest would collect the name


class AcceptedAtom(BaseModel):
    """An atom together with the code that stands for it, as dependents see it; `code` is None before acceptance."""

    model_config = ConfigDict(frozen=True)

    atom: AtomicUnit
    code: str | None = None
