"""Blame: which atoms a failure points at: one above the single atom, or an atom's own, at what it rests on.

Spectrum-based fault localization: a function is the more suspicious, the more of the failing tests run it and the
fewer of the passing ones (Ochiai's coefficient; Abreu, Zoeteweij and van Gemund compared it with others in 2007). The
atom in which an exception was raised is moved ahead. Suspicion is no proof: whoever acts on it has to bound the cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from mge_ray.adapters.sandbox.model import SandboxRecord
from mge_ray.domain.atom import AtomicUnit
from mge_ray.pipeline.code_layout import PlacementError, read_layout

MOST_BLAMED = 3
MOST_BLAMED_BENEATH = 6
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
    scores = _scores(record, places)
    ranked = sorted(scores, key=lambda atom_id: -scores[atom_id])
    return tuple(one for one in ranked if scores[one] >= NEARLY_AS_SUSPICIOUS * scores[ranked[0]])[:MOST_BLAMED]


def suspects_beneath(record: SandboxRecord, files: Mapping[str, str], beneath: Sequence[AtomicUnit]) -> tuple[str, ...]:
    """Return the dependencies of one atom that its failing tests ran, at most six.

    Those without tests of their own come first: nothing else has judged them. Each group goes by suspicion.
    """
    scores = _scores(record, Places(beneath, files))
    listed = [atom for atom in beneath if atom.id in scores]
    listed.sort(key=lambda atom: (bool(atom.tests), -scores[atom.id]))
    return tuple(atom.id for atom in listed[:MOST_BLAMED_BENEATH])


def untraced_suspects(atom: AtomicUnit, beneath: Sequence[AtomicUnit]) -> tuple[str, ...]:
    """Return direct dependencies, those without tests of their own first, where no trace says what ran."""
    direct = [one for one in beneath if one.id in atom.depends_on]
    return tuple(one.id for one in sorted(direct, key=lambda one: bool(one.tests))[:MOST_BLAMED_BENEATH])


def _scores(record: SandboxRecord, places: Places) -> dict[str, float]:
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
    return scores
