"""Blame: which atoms a failure above the single atom points at.

Spectrum-based fault localization: a function is the more suspicious, the more of the failing tests run it and the
fewer of the passing ones (Ochiai's coefficient; Abreu, Zoeteweij and van Gemund compared it with others in 2007). The
atom in which an exception was raised is moved ahead. Suspicion is no proof: whoever acts on it has to bound the cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

from mge_ray.adapters.sandbox.model import SandboxRecord
from mge_ray.domain.atom import AtomicUnit
from mge_ray.pipeline.code_layout import PlacementError, read_layout

MOST_BLAMED = 3
RAISED_THERE = 0.5
NEARLY_AS_SUSPICIOUS = 0.9
"""Of the most suspicious score: what is below it is not blamed."""


class Places:
    """Where each atom's code stands in an assembled project."""

    def __init__(self, atoms: Iterable[AtomicUnit], files: Mapping[str, str]) -> None:
        self._spans: dict[str, list[tuple[int, int, str]]] = {}
        for atom in atoms:
            try:
                spans = read_layout(files.get(atom.file, "")).spans
            except PlacementError:
                continue
            for symbol in (atom.symbol, *atom.defines):
                found = [(end - start, start, atom.id) for start, end in spans.get(symbol, ())]
                self._spans.setdefault(atom.file, []).extend(found)
        for places in self._spans.values():
            places.sort()  # a method before the class around it

    def atom_at(self, path: str, line: int) -> str | None:
        """Return the atom whose code holds the line (from 1), the innermost where several do."""
        for length, start, atom_id in self._spans.get(path, ()):
            if start < line <= start + length:
                return atom_id
        return None


def suspects(record: SandboxRecord, places: Places) -> tuple[str, ...]:
    """Return the most suspicious atoms of a failed run, at most three, the first one first."""
    scores: dict[str, float] = {}
    failing = sum(outcome.outcome in {"failed", "error"} for outcome in record.outcomes)
    for function in record.functions:
        atom_id = places.atom_at(function.path, function.line)
        if atom_id is not None and function.failed:
            score = function.failed / sqrt(max(failing, function.failed) * (function.failed + function.passed))
            scores[atom_id] = max(score, scores.get(atom_id, 0.0))
    for outcome in record.outcomes:
        if outcome.path is not None and outcome.line is not None and outcome.outcome in {"failed", "error"}:
            atom_id = places.atom_at(outcome.path, outcome.line)
            if atom_id is not None:
                scores[atom_id] = scores.get(atom_id, 0.0) + RAISED_THERE
    ranked = sorted(scores, key=lambda atom_id: -scores[atom_id])
    return tuple(one for one in ranked if scores[one] >= NEARLY_AS_SUSPICIOUS * scores[ranked[0]])[:MOST_BLAMED]
