"""A folder on disk becomes the file map of a plan.

Owns which files count, how many and how large they may be together. Nothing outside the folder is ever read, because
skeletons are shown to the model: a link that leads out is an error, not a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mge_ray.domain.errors import PlanError
from mge_ray.domain.plan import MAX_FILES_CHARS

MAX_FILES = 20_000
MAX_ENTRIES = 100_000
IGNORED = frozenset(
    {
        "__pycache__",
        ".git",
        ".hg",
        ".svn",
        ".venv",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".tox",
        "node_modules",
    }
)


def read_skeleton(folder: Path, *, skip: Path | None = None) -> dict[str, str]:
    """Return every UTF-8 text file below `folder` by its relative POSIX path, in sorted order.

    Files that are not text are left out; a Python file that is not UTF-8 is an error. Raises PlanError.
    """
    root = folder.resolve()
    files: dict[str, str] = {}
    total = 0
    for entry in _walk(root):
        relative = Path(entry.path).relative_to(root).as_posix()
        if skip is not None and Path(entry.path) == skip:
            continue
        total += _size(entry, relative)
        if total > MAX_FILES_CHARS:
            raise PlanError(f"skeleton: the files hold more than {MAX_FILES_CHARS >> 20} MiB; leave data out of it")
        text = _text(entry, relative)
        if text is not None:
            files[relative] = text
        if len(files) > MAX_FILES:
            raise PlanError(f"skeleton: more than {MAX_FILES} files; is {str(folder)!r} the right folder?")
    return dict(sorted(files.items()))


def _walk(root: Path) -> Iterator[os.DirEntry[str]]:
    pending = [str(root)]
    seen = 0
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                found = [entry for entry in entries if entry.name not in IGNORED and not entry.name.endswith(".pyc")]
        except OSError as error:
            raise PlanError(f"skeleton: cannot read {error.filename!r}: {error.strerror}") from None
        seen += len(found)
        if seen > MAX_ENTRIES:
            raise PlanError(f"skeleton: more than {MAX_ENTRIES} entries; is {str(root)!r} the right folder?")
        for entry in found:
            if entry.is_symlink():
                _check_link(entry, root)
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif entry.is_file():
                yield entry


def _check_link(entry: os.DirEntry[str], root: Path) -> None:
    relative = Path(entry.path).relative_to(root).as_posix()
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        raise PlanError(f"skeleton: the link {relative!r} leads nowhere; remove it") from None
    if not target.is_relative_to(root):
        raise PlanError(f"skeleton: the link {relative!r} leads out of the folder; copy the file instead")
    if target.is_dir():
        raise PlanError(f"skeleton: the link {relative!r} leads to a folder; copy the folder instead")


def _size(entry: os.DirEntry[str], relative: str) -> int:
    try:
        return entry.stat().st_size
    except OSError as error:
        raise PlanError(f"skeleton: cannot read {relative!r}: {error.strerror}") from None


def _text(entry: os.DirEntry[str], relative: str) -> str | None:
    try:
        data = Path(entry.path).read_bytes()
    except OSError as error:
        raise PlanError(f"skeleton: cannot read {relative!r}: {error.strerror}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        if relative.endswith(".py"):
            raise PlanError(f"skeleton: {relative!r} is not UTF-8 text; save it as UTF-8") from None
        return None
    return None if "\0" in text else text
