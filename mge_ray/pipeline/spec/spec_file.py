"""A specification as a file: natural language, in Markdown or plain text, read within bounds."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from mge_ray.domain.errors import MgeRayError

SUFFIXES = frozenset({".md", ".markdown", ".txt"})
MAX_SPEC_BYTES = 200_000
"""About 50,000 tokens: it is part of every planning prompt."""


class SpecError(MgeRayError):
    """A specification that cannot be planned from."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A specification's text, and what to call it until it has a title."""

    title: str
    text: str


def is_spec(path: Path) -> bool:
    """Return whether a file is a specification rather than a plan, by its name."""
    return path.suffix.lower() in SUFFIXES


def load_spec(path: Path) -> Spec:
    """Return the specification in `path`; raise SpecError with one line that says what is wrong."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SpecError(f"{path}: is no regular file; name the specification's file")
        if found.st_size > MAX_SPEC_BYTES:
            raise SpecError(
                f"{path}: has {found.st_size:,} bytes; a specification has {MAX_SPEC_BYTES:,} at most, plan it in parts"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except ValueError as error:  # a NUL in the path
        raise SpecError(f"{path}: is not a usable path: {error}") from None
    if not text.strip():
        raise SpecError(f"{path}: is empty; write down what is to be built")
    if "\0" in text:
        raise SpecError(f"{path}: contains a NUL character, so it is no text")
    generic = path.stem.lower() in {"spec", "specification", "readme", "index"}
    return Spec(title=path.resolve().parent.name if generic else path.stem, text=text.replace("\r\n", "\n"))
