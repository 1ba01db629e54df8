"""What of a project's pytest configuration its tests need here: options that change what is collected, not how it runs.

Options that name plugins, add doctests or coverage, or change the output are left out. What is left becomes the
plan's own `pytest.ini`, whatever file it stood in.
"""

from __future__ import annotations

import configparser
import importlib
import itertools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INI_FILE = "pytest.ini"
CARRIED = (
    "markers", "filterwarnings", "python_files", "python_classes", "python_functions", "pythonpath", "xfail_strict",
    "usefixtures", "norecursedirs", "empty_parameter_set_mark",
)  # fmt: skip
IMPORT_MODE = "--import-mode"
MOST_CHARS = 20_000
MOST_FILE_BYTES = 1 << 20
_SECTIONS = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}


def carried_options(root: Path) -> str | None:
    """Return the text of a pytest.ini with the options of `root`'s configuration that are carried; None without any.

    The first file pytest itself would read counts. A file that cannot be read has none: pytest would refuse it too.
    """
    for name in ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"):
        path = root / name
        if not path.is_file() or path.stat().st_size > MOST_FILE_BYTES:
            continue
        try:
            text = path.read_text("utf-8")
            options = _from_toml(text) if name == "pyproject.toml" else _from_ini(text, _SECTIONS[name])
        except (OSError, ValueError, configparser.Error):
            return None
        if options is not None:
            return _written(options)
    return None


def _from_ini(text: str, section: str) -> dict[str, Any] | None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return dict(parser.items(section)) if parser.has_section(section) else None


def _from_toml(text: str) -> dict[str, Any] | None:
    try:
        tomllib: Any = importlib.import_module("tomllib")
    except ImportError:  # Python 3.10 has none
        return None
    pytest = tomllib.loads(text).get("tool", {}).get("pytest", {})
    found = pytest.get("ini_options", pytest) if isinstance(pytest, Mapping) else None
    return dict(found) if isinstance(found, Mapping) and found else None


def _written(options: Mapping[str, Any]) -> str | None:
    carried = {name: lines for name in CARRIED if (lines := _lines(options.get(name)))}
    mode = _import_mode(_lines(options.get("addopts")))
    if mode:
        carried["addopts"] = [f"{IMPORT_MODE}={mode}"]
    if not carried:
        return None
    text = "[pytest]\n" + "".join(
        f"{name} =\n" + "".join(f"    {line}\n" for line in lines) for name, lines in carried.items()
    )
    return text if len(text) <= MOST_CHARS else None


def _lines(value: object) -> list[str]:
    if isinstance(value, bool | int):
        return [str(value).lower()]
    if isinstance(value, str):
        return [line.strip() for line in value.splitlines() if line.strip()]
    if isinstance(value, list):
        return [line for one in value for line in _lines(one)]
    return []


def _import_mode(lines: list[str]) -> str | None:
    try:
        words = shlex.split(" ".join(lines))
    except ValueError:
        return None
    for word, following in itertools.pairwise([*words, ""]):
        mode = (
            word.partition("=")[2] if word.startswith(f"{IMPORT_MODE}=") else following if word == IMPORT_MODE else ""
        )
        if mode in {"prepend", "append", "importlib"}:
            return mode
    return None
