"""Subject: one candidate on its way through the levels, with what earlier levels have found out about it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.validation import Level, Severity, ValidationIssue
from mge_ray.execution.ports import Candidate

MESSAGE_CHARS = 1_500


@dataclass(slots=True)
class Subject:
    """Parsing sets `tree`, the contract `files` and `trace` (line in the module -> in the code), the tests the rest."""

    candidate: Candidate
    tree: ast.Module = field(default_factory=lambda: ast.Module(body=[], type_ignores=[]))
    files: Mapping[str, str] = field(default_factory=dict)
    trace: Mapping[int, int] = field(default_factory=dict)
    tests_run: int = 0
    blamed: tuple[str, ...] = ()

    @property
    def atom(self) -> AtomicUnit:
        """The atom the candidate is for."""
        return self.candidate.atom

    @property
    def module(self) -> str:
        """The text of the module with the candidate in its place."""
        return self.files[self.atom.file]


def issue(
    level: Level, message: str, *, rule: str, line: int | None = None, severity: Severity = Severity.ERROR
) -> ValidationIssue:
    """Build an issue with a bounded message."""
    shown = message if len(message) <= MESSAGE_CHARS else message[: MESSAGE_CHARS - 10] + "... (cut)"
    return ValidationIssue(severity=severity, level=level, message=shown, rule=rule, line=line)
