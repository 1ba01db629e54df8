"""Metrics that are kept as they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from mge_ray.execution.facts import Fact, Standing


@dataclass
class RecordedMetrics:
    """The metrics port; one list per method."""

    attempts: list[tuple[int, bool, bool]] = field(default_factory=list)
    atoms: list[tuple[bool, int]] = field(default_factory=list)
    waves: list[tuple[int, int, int, bool]] = field(default_factory=list)
    costs_usd: list[float] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)
    soft_limits: int = 0
    facts: list[Fact] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)

    def attempt_made(self, *, attempt: int, passed: bool, temperature_changed: bool) -> None:
        """Keep an attempt."""
        self.attempts.append((attempt, passed, temperature_changed))

    def atom_finished(self, *, succeeded: bool, attempts: int, duration_s: float) -> None:
        """Keep an atom's end."""
        self.atoms.append((succeeded, attempts))

    def wave_progress(self, *, wave_id: int, completed: int, total: int, elapsed_s: float, finished: bool) -> None:
        """Keep a wave's progress."""
        self.waves.append((wave_id, completed, total, finished))

    def cost_added(self, *, usd: float) -> None:
        """Keep money spent."""
        self.costs_usd.append(usd)

    def soft_limit_reached(self) -> None:
        """Count a budget of which most is used."""
        self.soft_limits += 1

    def execution_finished(self, *, precision_percent: float, duration_s: float) -> None:
        """Keep an execution's end."""
        self.precisions.append(precision_percent)

    def happened(self, fact: Fact) -> None:
        """Keep whatever else happened."""
        self.facts.append(fact)

    def standing(self, standing: Standing) -> None:
        """Keep how the execution stands."""
        self.standings.append(standing)
