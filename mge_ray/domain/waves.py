"""WaveProgress: how waves follow each other, and how an execution ends.

An atom that fails blocks everything that rests on it; the rest goes on. The last atom of a wave opens the wave's gate
(the tests that no single atom is judged by), the gate the next wave, the last wave the acceptance run, and that the
end. A gate that fails names atoms to blame: they are opened again while they have attempts left. A pause holds the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from mge_ray.domain import commands as c
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.blame import Blame
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.execution_record import ACCEPTANCE, Outcome
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.domain.validation import ValidationResult


class WaveProgress(Blame):
    """An execution's way through its waves."""

    def _end_atom(self, record: AtomRecord, status: AtomStatus, at: float, *, cause: str = "") -> Outcome:
        outcome: Outcome = []
        if status is AtomStatus.FAILED and record.fallback is not None:
            status, record.code = AtomStatus.SUCCEEDED, record.fallback
            cause = f"kept as it was accepted before it was opened again: {cause}"
        if status is AtomStatus.SUCCEEDED and not record.on_trial:
            record.accepted_at = self.verdicts
        record.on_trial = False
        self._close(record, status, cause)
        self.retried_atoms += len(record.attempts) > 1
        if status is AtomStatus.FAILED:
            best = record.best_attempt
            record.code = best.code if best else None
            for blocked in self._downstream(record.atom_id):
                if not blocked.status.ended:
                    self._close(blocked, AtomStatus.BLOCKED, f"depends on {record.atom_id}, which failed")
        if not record.reopened:
            outcome.append(
                c.AtomFinished(
                    record.atom_id,
                    record.wave_id,
                    succeeded=status is AtomStatus.SUCCEEDED,
                    attempts=len(record.attempts),
                    active_s=record.active_s,
                )
            )
        for waiting in self.waiting.pop(record.atom_id, ()):
            outcome += self._wait_no_longer(self.atoms[waiting], record, at)
        return outcome + self._advance(at)

    def _wait_no_longer(self, record: AtomRecord, awaited: AtomRecord, at: float) -> Outcome:
        """Check what was bought before again, with the awaited atom's new code; go on where there is none."""
        record.waits_for = ""
        record.rechecks = self._worth_a_recheck(record, awaited)
        if not record.rechecks:
            return self._go_on(record, at)
        self._recheck(record)
        return []

    def _go_on(self, record: AtomRecord, at: float, *, blaming: bool = False) -> Outcome:
        """After a failed check: wait for what is to blame, or make the next attempt, or give up."""
        last = record.attempt_of_round >= self._settings.policy.max_attempts
        culprit = self._culprit(record, last=last) if blaming or last else None
        if culprit is not None:
            self._wait_for(record, culprit)
            return []
        if last:
            return self._end_atom(record, AtomStatus.FAILED, at, cause=f"all {record.attempt} attempts failed")
        record.attempt += 1
        self._queue_call(record)
        return []

    def _close(self, record: AtomRecord, status: AtomStatus, cause: str) -> None:
        record.status, record.cause, record.rechecks = status, cause, []
        self.ended[status] += 1
        self.atoms_reused += record.stands_reused
        self._count_cost(record, ended=True)
        if record.wave_id == self.current_wave or record.reopened:
            self.open_in_wave -= 1

    def _advance(self, at: float) -> Outcome:
        """Open the next wave when this one is done, then the acceptance run, then the end; a pause holds the end."""
        outcome: Outcome = []
        while self.open_in_wave == 0 and self.current_wave < len(self.plan.waves):
            if self.current_wave:
                if self._gate_holds(self.current_wave, self._wave_tests):
                    return outcome
                outcome += self._close_wave(at)
            self._open_next_wave(at)
        if self.open_in_wave or self.status is not ExecutionStatus.RUNNING:
            return outcome
        if self._gate_holds(self.current_wave, self._wave_tests):
            return outcome
        if not self.wave_times[self.current_wave][1]:
            outcome += self._close_wave(at)
        if self._gate_holds(self._acceptance_gate, self.plan.acceptance_tests):
            return outcome
        return [*outcome, *self._end(at)]

    @property
    def _wave_tests(self) -> tuple[str, ...]:
        return self.plan.waves[self.current_wave - 1].tests

    def _gate_holds(self, gate: int, tests: Sequence[str]) -> bool:
        """Return whether a gate's tests are still to be awaited. They run only on what is whole, and not in a pause."""
        broken = self.ended[AtomStatus.FAILED] - self.waived_atoms + self.ended[AtomStatus.BLOCKED]
        if not tests or broken or gate <= self.gates_passed or gate in self.failed_gates:
            return False
        if self.status is ExecutionStatus.RUNNING and self.acceptance.status is AtomStatus.PENDING:
            self.gate = gate
            self.acceptance.status, self.acceptance.workers_lost = AtomStatus.READY, 0
            self.queues.add(Pool.EXECUTE, ACCEPTANCE)
        return True

    def _leave_gate(self, verdict: ValidationResult) -> None:
        """Take a gate's verdict: it passed, or atoms are opened again, or it has failed for good."""
        self.acceptance.status = AtomStatus.PENDING
        if self.gate == self._acceptance_gate:
            self.acceptance_result = verdict
        if verdict.passed:
            self.gates_passed = self.gate
        elif not self._open_again(verdict):
            self.failed_gates.append(self.gate)

    def _open_next_wave(self, at: float) -> None:
        self.current_wave += 1
        self.wave_times[self.current_wave] = [at, 0.0]
        for atom_id in self.plan.waves[self.current_wave - 1].atom_ids:
            record = self.atoms[atom_id]
            if not record.status.ended:
                self.open_in_wave += 1
                if record.status is AtomStatus.PENDING:
                    self._queue_call(record)

    def _close_wave(self, at: float) -> Outcome:
        self.wave_times[self.current_wave][1] = at
        return [c.WaveFinished(self.current_wave)]

    def _end(self, at: float) -> Outcome:
        accepted = not self.failed_gates
        self.acceptance.status = AtomStatus.SUCCEEDED if accepted else AtomStatus.FAILED
        self.status = ExecutionStatus.COMPLETED if self._all_succeeded and accepted else ExecutionStatus.FAILED
        failed, blocked = self.ended[AtomStatus.FAILED], self.ended[AtomStatus.BLOCKED]
        if failed or blocked:
            self.reason = f"{failed} of {len(self.atoms)} atoms failed, {blocked} blocked by them{self._waived_told()}"
        elif not accepted:
            self.reason = f"every atom passed, but {self._failed_gates_told()} failed"
        self.ended_at = at
        return [c.ExecutionFinished()]

    def _waived_told(self) -> str:
        return f"; {self.waived_atoms} of them used in spite of it, as somebody decided" if self.waived_atoms else ""

    def _failed_gates_told(self) -> str:
        waves = [str(gate) for gate in self.failed_gates if gate != self._acceptance_gate]
        told = [f"the tests after wave {', '.join(waves)}"] if waves else []
        return " and ".join([*told, *(["the acceptance tests"] if self._acceptance_gate in self.failed_gates else [])])

    def _pause(self, reason: str, at: float) -> None:
        if self.status is ExecutionStatus.RUNNING:
            self.status = ExecutionStatus.PAUSED
            self.reason = reason
            self.paused_at = at
