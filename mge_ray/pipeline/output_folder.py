"""A finished project on disk, written whole or not at all.

Owns the target folder's safety: a folder is replaced only if it holds exactly what an earlier run wrote there, so
nothing of the user's is ever lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mge_ray.domain.atom import workspace_path
from mge_ray.domain.errors import MgeRayError

MARKER = ".mge-ray-output"
_LEAVINGS = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


class OutputError(MgeRayError):
    """A folder that the project cannot be written to; nothing was changed."""


def write_project(files: Mapping[str, str], directory: Path) -> None:
    """Write `files` to `directory`: missing, empty or an unchanged earlier output, else OutputError."""
    target = directory.resolve()
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write(files, fresh)
            _swap(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: cannot be written: {error}") from None


def check_target(target: Path) -> None:
    """Raise OutputError unless the (resolved) folder is missing, empty or an unchanged earlier output."""
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target}: is a file; name a folder")
    present = set(_files_below(target))
    if not present and not any(target.iterdir()):
        return
    if MARKER not in present:
        raise OutputError(f"{target}: is not empty and not an earlier output; choose a new folder")
    try:
        written = json.loads((target / MARKER).read_text("utf-8"))["files"]
        changed = [
            path for path in sorted(present - {MARKER}) if written.get(path) != _digest((target / path).read_bytes())
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(f"{target}: its {MARKER} cannot be read; move the folder away") from None
    if changed:
        raise OutputError(f"{target}: {changed[0]!r} was changed since it was written; move the folder away")


def _files_below(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in _LEAVINGS and name not in links]
        for name in [*names, *links]:
            yield (Path(folder) / name).relative_to(root).as_posix()


def _write(files: Mapping[str, str], root: Path) -> None:
    root.chmod(0o755)
    digests = {}
    for path, text in files.items():
        data = text.encode("utf-8")
        digests[path] = _digest(data)
        place = root / workspace_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (root / MARKER).write_text(json.dumps({"files": digests}, indent=1, sort_keys=True) + "\n", "utf-8")


def _swap(fresh: Path, target: Path) -> None:
    """Put `fresh` in the target's place; should that fail, the former output is put back."""
    if not target.exists():
        fresh.rename(target)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{target.name}.former.", dir=target.parent))
    target.rename(former / "output")
    try:
        fresh.rename(target)
    except OSError:
        (former / "output").rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(former, ignore_errors=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
