"""The lint level: ruff's error rules on the module with the candidate in it, and imports that resolve.

Only findings on the candidate's own lines count; what was wrong in the skeleton before is not the candidate's fault.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from mge_ray.adapters.validator.names import unresolved_imports
from mge_ray.adapters.validator.subject import Subject, issue
from mge_ray.domain.validation import Level, Severity, ValidationIssue

# Errors at run time, never matters of style. F811 is left out: overloads and setters redefine on purpose.
RULES = "E9,F404,F406,F407,F501,F502,F503,F505,F506,F507,F508,F509,F521,F524,F62,F63,F7,F82,PLE"
RUFF_TIMEOUT_S = 20.0
NEWEST_TARGET = 14


def check_lint(subject: Subject, allowed: Collection[str] | None) -> list[ValidationIssue]:
    """Return ruff's findings on the candidate's lines, and the imports that nothing provides."""
    imports = unresolved_imports(subject.tree, subject.atom.file, subject.files, allowed)
    found = [issue(Level.LINT, message, rule="unresolved-import", line=line) for line, message in imports]
    return [*found, *_ruff(subject)]


def _ruff(subject: Subject) -> list[ValidationIssue]:
    try:
        findings = ruff_findings(subject.atom.file, subject.module)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return [_not_judged(type(error).__name__)]
    return [one for finding in findings if (one := _read(finding, subject)) is not None]


def ruff_findings(path: str, text: str) -> list[dict[str, Any]]:
    """Return ruff's findings on a module's text, as ruff writes them in JSON.

    Raises OSError, subprocess.TimeoutExpired or ValueError where ruff did not judge.
    """
    done = subprocess.run(
        ruff_command(path),
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=RUFF_TIMEOUT_S,
        close_fds=False,  # lets Python start it without forking; descriptors are not inherited by default
        env={"RAYON_NUM_THREADS": "1", "NO_COLOR": "1"},  # one file: a thread pool costs 10 ms
    )
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    return findings


def _read(finding: dict[str, Any], subject: Subject) -> ValidationIssue | None:
    rule = finding.get("code") or "invalid-syntax"
    row = finding["location"]["row"]
    line = subject.trace.get(row)
    if line is None and rule != "invalid-syntax":
        return None
    place = "" if line else f" (line {row} of {subject.atom.file} with the code in place)"
    return issue(Level.LINT, f"{finding['message']}{place}", rule=rule, line=line)


@cache
def ruff_binary() -> str:
    """Return where ruff is, beside this Python if it is there."""
    beside = Path(sys.executable).with_name("ruff")
    if beside.exists():
        return str(beside)
    from ruff import find_ruff_bin  # noqa: PLC0415 - only where it is not beside Python

    return str(find_ruff_bin())


def ruff_command(path: str) -> list[str]:
    """Return the arguments that check standard input as `path`, with no configuration but ours."""
    target = f"py3{min(sys.version_info.minor, NEWEST_TARGET)}"
    options = ["--isolated", "--no-cache", "--ignore-noqa", "--output-format=json", "--quiet"]
    return [ruff_binary(), "check", *options, f"--select={RULES}", f"--target-version={target}", *_named(path)]


def _named(path: str) -> list[str]:
    return [f"--stdin-filename={path}", "-"]


def _not_judged(reason: str) -> ValidationIssue:
    return issue(Level.LINT, f"ruff did not judge the code: {reason}", rule="ruff", severity=Severity.WARNING)
