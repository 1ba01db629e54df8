"""Formatting by ruff: one process for a whole project, with the project's own configuration if it has one.

Ruff only parses; nothing is run. What it cannot format stays as it is and is told. `pipeline/tidy` decides how much of
a formatted module is taken.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mge_ray.adapters.validator.lint import ruff_binary
from mge_ray.domain.atom import workspace_path
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.tidy import take_formatted

TIMEOUT_S = 60.0
MOST_CHARS = 2 << 20  # of one module; hundreds of kilobytes take ruff milliseconds
MOST_CHARS_IN_ALL = 64 << 20
_CONFIGURATION = frozenset({"pyproject.toml", "ruff.toml", ".ruff.toml"})
_BEFORE, _AFTER = "before", "after"
_SAID_CHARS = 200
_MEANING = "formatting would change more than its layout"


@dataclass(frozen=True, slots=True)
class Tidied:
    """A project's files, and what could not be formatted: one line each."""

    files: dict[str, str]
    problems: tuple[str, ...] = ()


def format_project(plan: Masterplan, codes: Collection[str], files: Mapping[str, str]) -> Tidied:
    """Return the assembled `files` of a plan with the code of the atoms `codes` formatted; never raises."""
    symbols: dict[str, list[str]] = {}
    for atom in plan.atoms:
        if atom.id in codes:
            symbols.setdefault(atom.file, []).extend((atom.symbol, *atom.defines))
    return _tidied(files, {path: plan.files.get(path) for path in symbols}, symbols)


def format_plan(plan: Masterplan) -> Masterplan:
    """Return the plan with its Python files formatted, tests included: for skeletons nobody wrote by hand."""
    paths = [path for path in plan.files if path.endswith(".py")]
    tidied = _tidied(plan.files, dict.fromkeys(paths), dict.fromkeys(paths, ()))
    fields = plan.model_dump(exclude={"masterplan_id"}) | {"files": tidied.files}
    return plan if tidied.files == plan.files else Masterplan.model_validate(fields)


def _tidied(
    files: Mapping[str, str], skeletons: Mapping[str, str | None], symbols: Mapping[str, Iterable[str]]
) -> Tidied:
    """Format modules; one without a skeleton of its own is taken whole."""
    fitting = [path for path in symbols if path.endswith(".py") and len(files[path]) <= MOST_CHARS]
    problems = [f"{path} is too large to be formatted" for path in symbols if len(files[path]) > MOST_CHARS]
    if sum(len(files[path]) for path in fitting) > MOST_CHARS_IN_ALL:
        return Tidied(dict(files), ("the project is too large to be formatted",))
    roots = {
        _BEFORE: {path: text for path in fitting if (text := skeletons[path]) is not None and len(text) <= MOST_CHARS},
        _AFTER: {path: files[path] for path in fitting},
    }
    try:
        formatted, said = _ruff(roots, {path: text for path, text in files.items() if _configures(path)})
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return Tidied(dict(files), (f"nothing was formatted: {str(error)[:_SAID_CHARS]}",))
    result = dict(files)
    for path in fitting:
        skeleton = skeletons[path]
        whole = skeleton is None or formatted.get(f"{_BEFORE}/{path}") == skeleton
        tidy = take_formatted(files[path], formatted[f"{_AFTER}/{path}"], list(symbols[path]), whole=whole)
        if tidy is None:
            problems.append(f"{path} is not formatted: {_MEANING}")
        else:
            result[path] = tidy
    return Tidied(result, (*problems, *said))


def _configures(path: str) -> bool:
    return PurePosixPath(path).name in _CONFIGURATION


def _ruff(roots: Mapping[str, Mapping[str, str]], configuration: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what became of each file, by root and path, and what ruff had to say against files of the second root.

    Raises OSError, ValueError (text that is no Unicode) or subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory(prefix="mge-ray-format-") as temporary:
        folder = Path(temporary)
        (folder / "ruff.toml").write_text("")  # or ruff would look above for a configuration
        for root, texts in roots.items():
            for path, text in {**configuration, **texts}.items():
                place = folder / root / workspace_path(path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(text.encode("utf-8"))
        done = subprocess.run(
            [ruff_binary(), "format", "--no-cache", *[root for root in roots if roots[root]]],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=TIMEOUT_S,
            env={"NO_COLOR": "1", "HOME": temporary, "XDG_CONFIG_HOME": temporary},
        )
        formatted = {
            f"{root}/{path}": _read(folder / root / path, text)
            for root, texts in roots.items()
            for path, text in texts.items()
        }
    return formatted, _objections(done.returncode, done.stderr.replace(f"{folder}/", "")) if done.returncode else []


def _read(place: Path, before: str) -> str:
    """Return a file's text as ruff left it; one it cannot have written is passed over."""
    try:
        return place.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return before


def _objections(code: int, stderr: str) -> list[str]:
    """Return what ruff says of files of the second root, or what it ended with as a whole."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    about = [line for line in lines if f" {_BEFORE}/" in line or f" {_AFTER}/" in line]
    if about and "Cause:" not in stderr:
        return [line.replace(f" {_AFTER}/", " ")[:_SAID_CHARS] for line in about if f" {_BEFORE}/" not in line]
    return [f"ruff format ended with {code}: {' '.join(lines)[:_SAID_CHARS]}".rstrip(": ")]
