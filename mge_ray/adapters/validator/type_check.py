"""The types level: mypy on the module with the candidate in it, for plans that ask for it.

Runs in a folder of its own with a configuration of its own, for a bounded time; only errors on the candidate's lines
count. The cache lives as long as the checker, so that the standard library's stubs are analysed once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.domain.validation import Level, ValidationIssue

_CONFIG = "[mypy]\ncheck_untyped_defs = True\nignore_missing_imports = True\nfollow_imports = silent\n"


TypeErrorFound = tuple[int, str, str]


class MypyError(RuntimeError):
    """mypy could not judge, and says why."""


class TypeChecker:
    """Runs mypy; holds its cache in a temporary folder until `close`."""

    def __init__(self) -> None:
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()  # one cache, one mypy at a time

    def check(self, subject: Subject) -> list[ValidationIssue]:
        """Return mypy's errors on the candidate's lines."""
        limit_s = subject.candidate.validation.check_timeout_s
        try:
            errors = self.errors(subject.files, subject.atom.file, limit_s)
        except subprocess.TimeoutExpired:
            return [issue(Level.TYPES, f"mypy did not end within {limit_s:g} s", rule="timeout")]
        except MypyError as error:
            return [issue(Level.TYPES, str(error), rule="mypy")]
        return [
            issue(Level.TYPES, message, rule=rule, line=subject.trace[row])
            for row, message, rule in errors
            if row in subject.trace
        ]

    def errors(self, files: Mapping[str, str], path: str, limit_s: float) -> list[TypeErrorFound]:
        """Return mypy's errors in one module of a workspace as (line of the module, message, code).

        Raises MypyError where mypy could not judge and subprocess.TimeoutExpired.
        """
        with self._lock:
            return self._errors(files, path, limit_s)

    def _errors(self, files: Mapping[str, str], path: str, limit_s: float) -> list[TypeErrorFound]:
        if self._home is None:
            self._home = tempfile.TemporaryDirectory(prefix="mge-ray-types-", ignore_cleanup_errors=True)
            Path(self._home.name, "mypy.ini").write_text(_CONFIG, "utf-8")
        with tempfile.TemporaryDirectory(dir=self._home.name, ignore_cleanup_errors=True) as folder:
            write_modules(files, Path(folder))
            done = self._run(path, Path(self._home.name), Path(folder), limit_s)
        found = list(_read(done.stdout, path))
        if not found and done.returncode not in {0, 1}:
            reason = (done.stderr or done.stdout).strip()[-500:] or f"it exited with code {done.returncode}"
            raise MypyError(f"mypy could not judge the code: {reason}")
        return found

    def close(self) -> None:
        """Remove the cache."""
        if self._home is not None:
            self._home.cleanup()
            self._home = None

    @staticmethod
    def _run(path: str, home: Path, folder: Path, limit_s: float) -> subprocess.CompletedProcess[str]:
        options = ["--output=json", "--no-error-summary", "--explicit-package-bases", "--sqlite-cache"]
        return subprocess.run(
            [
                *(sys.executable, "-m", "mypy", f"--config-file={home / 'mypy.ini'}"),
                *(*options, f"--cache-dir={home / 'cache'}", "--", path),
            ],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=limit_s,
            env={"MYPYPATH": "src" if path.startswith("src/") else ".", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"},
        )


def write_modules(files: Mapping[str, str], folder: Path) -> None:
    """Write the Python files of a workspace."""
    for name, text in files.items():
        if name.endswith((".py", ".pyi")):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8", "replace"))


def _read(output: str, path: str) -> Iterator[TypeErrorFound]:
    for text in output.splitlines():
        try:
            found = json.loads(text)
            severity, row, file = found["severity"], found["line"], found["file"]
            message, hint, code = str(found["message"]), found.get("hint"), found.get("code")
        except (ValueError, KeyError, TypeError):
            continue
        if severity == "error" and file == path:
            advice = f" ({hint})" if hint else ""
            yield row, message + advice, code or "mypy"
