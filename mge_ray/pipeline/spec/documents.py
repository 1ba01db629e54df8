"""The documents that planning steps answer with: their fields, bounds, and how errors in them are told.

Owns the shape alone. What must be true between fields and documents is checked in `checks`.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mge_ray.domain.atom import Complexity, Line

MAX_DOCUMENT_CHARS = 400_000
MAX_REQUIREMENTS = 300
MAX_MODULES = 60
MAX_SKELETON_CHARS = 30_000
MAX_ATOMS_OF_A_MODULE = 60
MAX_TESTS_OF_A_MODULE = 120
MAX_ATOM_LINES = 15
SHOWN_PROBLEMS = 5

RequirementId = Annotated[str, StringConstraints(pattern=r"^R[1-9][0-9]{0,3}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$", max_length=100)]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,2}$", max_length=140)]
TestName = Annotated[str, StringConstraints(pattern=r"^test_[A-Za-z0-9_]+$", max_length=120)]
Prose = Annotated[str, StringConstraints(min_length=1, max_length=4_000)]

Document = TypeVar("Document", bound=BaseModel)


class DocumentError(ValueError):
    """A document that is not of its form; `problems` has one line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems[0])
        self.problems = problems


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Requirement(_Strict):
    """One demand of the specification. `quote` is copied from it word for word: that is where the demand stands."""

    id: RequirementId
    level: Literal["MUST", "SHOULD"]
    text: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    quote: Annotated[str, StringConstraints(min_length=3, max_length=400)]


class RequirementsDocument(_Strict):
    """Stage 1: what the specification demands. Without a requirement, `note` says why."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    requirements: Annotated[tuple[Requirement, ...], Field(max_length=MAX_REQUIREMENTS)]
    note: Annotated[str, StringConstraints(max_length=1_000)] = ""


class ModuleInterface(_Strict):
    """One module: `skeleton` is its whole text, in which functions that are to be written only raise."""

    name: Name
    purpose: Prose
    depends_on: Annotated[tuple[Name, ...], Field(max_length=MAX_MODULES)]
    requirements: Annotated[tuple[RequirementId, ...], Field(max_length=MAX_REQUIREMENTS)]
    skeleton: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SKELETON_CHARS)]


class InterfaceDocument(_Strict):
    """Stage 2: the package's modules. `system` names requirements that only the package as a whole can show."""

    package: Name
    summary: Prose
    modules: Annotated[tuple[ModuleInterface, ...], Field(min_length=1, max_length=MAX_MODULES)]
    system: Annotated[tuple[RequirementId, ...], Field(max_length=MAX_REQUIREMENTS)] = ()


class AtomDetail(_Strict):
    """One function or method to be written. `depends_on` names what its code may call: `name` or `module.name`.

    `signature` is given for private helpers that the skeleton does not have, and for nothing else.
    """

    symbol: Symbol
    description: Prose
    signature: Annotated[str, StringConstraints(max_length=1_000)] = ""
    depends_on: Annotated[tuple[Reference, ...], Field(max_length=40)]
    imports: Annotated[tuple[Line, ...], Field(max_length=10)] = ()
    preconditions: Annotated[tuple[Line, ...], Field(max_length=10)] = ()
    postconditions: Annotated[tuple[Line, ...], Field(max_length=10)] = ()
    complexity: Complexity = Complexity.MEDIUM
    lines: Annotated[int, Field(ge=1, le=MAX_ATOM_LINES)]


class TestDetail(_Strict):
    """One test: the requirements it covers, the atom it judges ("" for the whole package), and its function."""

    __test__ = False  # pytest would take the name for a test class

    name: TestName
    covers: Annotated[tuple[RequirementId, ...], Field(min_length=1, max_length=20)]
    atom: Annotated[str, StringConstraints(pattern=r"^$|^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$", max_length=100)]
    code: Annotated[str, StringConstraints(min_length=1, max_length=6_000)]


class DetailsDocument(_Strict):
    """Stage 3, for one module: its atoms and their tests; `preamble` is what stands above the tests in their file."""

    module: Name
    atoms: Annotated[tuple[AtomDetail, ...], Field(max_length=MAX_ATOMS_OF_A_MODULE)]
    preamble: Annotated[str, StringConstraints(max_length=8_000)]
    tests: Annotated[tuple[TestDetail, ...], Field(min_length=1, max_length=MAX_TESTS_OF_A_MODULE)]


def read_document(text: str, form: type[Document]) -> Document:
    """Return the document in `text`, or raise DocumentError with what is wrong and where."""
    if len(text) > MAX_DOCUMENT_CHARS:
        raise DocumentError([f"the document has {len(text)} characters; {MAX_DOCUMENT_CHARS} is the most"])
    try:
        return form.model_validate(json.loads(text, object_pairs_hook=_mapping))
    except json.JSONDecodeError as error:
        raise DocumentError([f"invalid JSON at line {error.lineno}, column {error.colno}: {error.msg}"]) from None
    except RecursionError:
        raise DocumentError(["the document is nested too deeply"]) from None
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise DocumentError([_told(one["loc"], one["msg"], one["type"]) for one in problems[:SHOWN_PROBLEMS]]) from None
    except DocumentError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise DocumentError([f"invalid JSON: {str(error)[:200]}"]) from None


def schema_of(form: type[BaseModel]) -> str:
    """Return the form's JSON schema on one line; equal in every process, since it is part of a cached prefix."""
    return json.dumps(form.model_json_schema(), separators=(",", ":"), sort_keys=True)


def _mapping(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DocumentError(["a key stands twice in one object; keep one of them"])
    return found


def _told(location: tuple[int | str, ...], message: str, kind: str) -> str:
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    if kind == "extra_forbidden":
        message = "this key is not part of the form; leave it out"
    elif kind == "missing":
        message = "is missing"
    return f"{place or 'the document'}: {message}"
