"""Blame: atoms that are sent back because of what failed elsewhere, and atoms that wait for them (ADR 7 and 11).

To be opened again costs an atom one of its attempts, and that is all that bounds it. What an atom waits for is of an
earlier wave, so nobody waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mge_ray.domain.attempt import Answer, AtomRecord
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.execution_record import ExecutionRecord
from mge_ray.domain.state import AtomStatus
from mge_ray.domain.validation import Level, ValidationResult

FAILURES_BEFORE_BLAME = 2
"""How often an atom has to fail before it may blame a dependency, while it has attempts left."""


class Blame(ExecutionRecord):
    """Sends atoms back, and keeps who waits for whom."""

    def _open_again(self, verdict: ValidationResult) -> bool:
        """Send the atoms back that a gate's verdict blames; those without attempts left stay as they are."""
        records = [self.atoms[atom_id] for atom_id in dict.fromkeys(verdict.blamed) if atom_id in self.atoms]
        sent = [record for record in records if self._may_be_sent_back(record)]
        for record in sent:
            self._send_back(record, verdict)
        return bool(sent)

    def _may_be_sent_back(self, record: AtomRecord) -> bool:
        return record.status is AtomStatus.SUCCEEDED and record.attempt_of_round < self._settings.policy.max_attempts

    def _send_back(self, record: AtomRecord, verdict: ValidationResult) -> None:
        """Open an accepted atom again, with what failed elsewhere as feedback; its code holds until a better one."""
        self.ended[AtomStatus.SUCCEEDED] -= 1
        self._count_cost(record, ended=False)
        self.retried_atoms -= len(record.attempts) > 1
        self.open_in_wave += 1
        record.attempts[-1] = replace(record.attempts[-1], verdict=verdict)
        record.reopened += 1
        self.reopenings += 1
        record.fallback, record.cause = record.code, ""
        record.attempt += 1
        self._queue_call(record)

    def _culprit(self, record: AtomRecord, *, last: bool) -> AtomRecord | None:
        """Return the dependency that most failed attempts point at, of those that are open again or may be opened.

        All attempts are asked: one that is wrong by itself may never reach the code that fails the right ones.
        """
        named = Counter(atom_id for attempt in reversed(record.attempts) for atom_id in attempt.verdict.blamed)
        for atom_id, _ in named.most_common():
            other = self.atoms.get(atom_id)
            if other is None or other.wave_id >= record.wave_id:
                continue
            if not other.status.ended:
                return other
            blamable = last or (record.attempt_of_round >= FAILURES_BEFORE_BLAME and not self.plan.by_id[atom_id].tests)
            if blamable and self._may_be_sent_back(other):
                return other
        return None

    def _wait_for(self, record: AtomRecord, culprit: AtomRecord) -> None:
        if culprit.status.ended:
            self._send_back(culprit, _complaint(record, culprit.atom_id))
        record.status, record.waits_for = AtomStatus.WAITING, culprit.atom_id
        self.waiting.setdefault(culprit.atom_id, []).append(record.atom_id)

    def _recheck(self, record: AtomRecord) -> None:
        """Queue the check of the next answer that was bought before; the record says which: the head of `rechecks`."""
        attempt = record.attempts[record.rechecks[0]]
        code = attempt.code or ""
        record.call_id = attempt.call_id
        record.answer = Answer(attempt.call_id, attempt.settings, code, attempt.cost_usd, attempt.latency_s)
        record.status = AtomStatus.ANSWERED
        self.queues.add(Pool.EXECUTE, record.atom_id)


def answers_worth_a_check(record: AtomRecord) -> list[int]:
    """Return the indices of attempts that failed by their tests alone, the best verdict first, the later of equals."""
    tested = [n for n, attempt in enumerate(record.attempts) if attempt.code and attempt.verdict.level is Level.TESTS]
    return sorted(tested, key=lambda n: (record.attempts[n].verdict.merit, n), reverse=True)


def _complaint(record: AtomRecord, culprit: str) -> ValidationResult:
    """Turn the last failed check that names the culprit into what is wrong with the culprit's code."""
    verdict = next(one.verdict for one in reversed(record.attempts) if culprit in one.verdict.blamed)
    issues = tuple(
        issue.model_copy(
            update={
                "level": Level.WAVE,
                "line": None,
                "message": f"{record.atom_id}, which rests on this code, fails with it: {issue.message}",
            }
        )
        for issue in verdict.issues
    )
    return ValidationResult(issues=issues, level=Level.WAVE)
