"""WaveProgress: how waves follow each other, and how an execution ends.

An atom that fails blocks everything that rests on it; the rest goes on. The last atom of a wave opens the next wave,
the last wave the acceptance run, and that the end. A pause holds the end back.
"""

from __future__ import annotations

from collections.abc import Iterator

from mge_ray.domain import commands as c
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.execution_record import ACCEPTANCE, ExecutionRecord, Outcome
from mge_ray.domain.state import AtomStatus, ExecutionStatus


class WaveProgress(ExecutionRecord):
    """An execution's way through its waves."""

    def _end_atom(self, record: AtomRecord, status: AtomStatus, at: float, *, cause: str = "") -> Outcome:
        outcome: Outcome = []
        self._close(record, status, cause)
        self.retried_atoms += len(record.attempts) > 1
        if status is AtomStatus.FAILED:
            best = record.best_attempt
            record.code = best.code if best else None
            for blocked in self._downstream(record.atom_id):
                if not blocked.status.ended:
                    self._close(blocked, AtomStatus.BLOCKED, f"depends on {record.atom_id}, which failed")
        outcome.append(
            c.AtomFinished(
                record.atom_id,
                record.wave_id,
                succeeded=status is AtomStatus.SUCCEEDED,
                attempts=len(record.attempts),
                active_s=record.active_s,
            )
        )
        return outcome + self._advance(at)

    def _close(self, record: AtomRecord, status: AtomStatus, cause: str) -> None:
        record.status, record.cause = status, cause
        self.ended[status] += 1
        if record.wave_id == self.current_wave:
            self.open_in_wave -= 1

    def _downstream(self, atom_id: str) -> Iterator[AtomRecord]:
        stack, seen = list(self.plan.dependents[atom_id]), {atom_id}
        while stack:
            current = stack.pop()
            if current not in seen:
                seen.add(current)
                yield self.atoms[current]
                stack.extend(self.plan.dependents[current])

    def _advance(self, at: float) -> Outcome:
        """Open the next wave when this one is done, then the acceptance run, then the end; a pause holds the end."""
        outcome: Outcome = []
        while self.open_in_wave == 0 and self.current_wave < len(self.plan.waves):
            if self.current_wave:
                outcome += self._close_wave(at)
            self._open_next_wave(at)
        if self.open_in_wave or self.status is not ExecutionStatus.RUNNING:
            return outcome
        if not self.wave_times[self.current_wave][1]:
            outcome += self._close_wave(at)
        if self.acceptance.status is AtomStatus.PENDING and self._all_succeeded and self.plan.acceptance_tests:
            self.acceptance.status = AtomStatus.READY
            self.queues.add(Pool.EXECUTE, ACCEPTANCE)
        if self.acceptance.status in {AtomStatus.READY, AtomStatus.EXECUTING}:
            return outcome
        return [*outcome, *self._end(at)]

    def _open_next_wave(self, at: float) -> None:
        self.current_wave += 1
        self.wave_times[self.current_wave] = [at, 0.0]
        for atom_id in self.plan.waves[self.current_wave - 1].atom_ids:
            record = self.atoms[atom_id]
            if not record.status.ended:
                self.open_in_wave += 1
                self._queue_call(record)

    def _close_wave(self, at: float) -> Outcome:
        self.wave_times[self.current_wave][1] = at
        return [c.WaveFinished(self.current_wave)]

    def _end(self, at: float) -> Outcome:
        accepted = self.acceptance.status is not AtomStatus.FAILED
        self.status = ExecutionStatus.COMPLETED if self._all_succeeded and accepted else ExecutionStatus.FAILED
        failed, blocked = self.ended[AtomStatus.FAILED], self.ended[AtomStatus.BLOCKED]
        if failed or blocked:
            self.reason = f"{failed} of {len(self.atoms)} atoms failed, {blocked} blocked by them"
        elif not accepted:
            self.reason = "every atom passed, but the acceptance tests failed"
        self.ended_at = at
        return [c.ExecutionFinished()]

    def _pause(self, reason: str, at: float) -> None:
        if self.status is ExecutionStatus.RUNNING:
            self.status = ExecutionStatus.PAUSED
            self.reason = reason
            self.paused_at = at
