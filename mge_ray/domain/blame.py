"""Blame: atoms that are sent back because of what failed elsewhere, and atoms that wait for them (ADR 7 and 11).

To be opened again costs an atom one of its attempts, and that is what bounds it. What an atom waits for is of an
earlier wave, so nobody waits in a circle. Code written anew for one that complains is used only where it helps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

from mge_ray.domain.attempt import Answer, AtomRecord, Recheck
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.execution_record import ExecutionRecord
from mge_ray.domain.state import AtomStatus
from mge_ray.domain.validation import Level, ValidationResult

FAILURES_BEFORE_BLAME = 2
"""How often an atom has to fail before it may blame a dependency, while it has attempts left."""
MOST_OPENED = 16
"""How often one atom may send others back: each time costs a call."""
MOST_RECHECKS = 64
KEPT = "kept as it was; what was written anew is used where it helps"


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
        attempts_left = not record.attempts or record.attempt_of_round < self._settings.policy.max_attempts
        return record.status is AtomStatus.SUCCEEDED and attempts_left

    def _send_back(self, record: AtomRecord, verdict: ValidationResult) -> None:
        """Open an accepted atom again, with what failed elsewhere as feedback; its code holds until a better one."""
        self.ended[AtomStatus.SUCCEEDED] -= 1
        self.atoms_reused -= record.stands_reused
        self._count_cost(record, ended=False)
        self.retried_atoms -= len(record.attempts) > 1
        self.open_in_wave += 1
        if record.attempts:
            record.attempts[-1] = replace(record.attempts[-1], verdict=verdict)
            record.attempt += 1
        else:  # nothing was bought yet: all attempts are left
            assert record.reused is not None  # noqa: S101  # it was accepted without an attempt
            record.reused = replace(record.reused, verdict=verdict)
        record.reopened += 1
        self.reopenings += 1
        record.fallback, record.cause, record.newest_spare = record.code, "", None
        self._queue_call(record)

    # ---- an atom and what it rests on -----------------------------------------------------------------------------

    def _culprit(self, record: AtomRecord, *, last: bool) -> AtomRecord | None:
        """Return the dependency to wait for: one that is open again, or the most suspicious that may be opened.

        All attempts are asked: one that is wrong by itself may never reach the code that fails the right ones. Checks
        with code in reserve are asked first: past one fault they show the next. The first suspect has a second chance
        before the third has one.
        """
        names = dict.fromkeys([*reversed(record.hints), *_named(record)])
        suspects = [self.atoms[atom_id] for atom_id in names if atom_id in self.atoms]
        suspects = [one for one in suspects if one.wave_id < record.wave_id]
        for one in suspects:
            if not one.status.ended:
                return one
        early = record.attempt_of_round < FAILURES_BEFORE_BLAME
        able = [
            one for one in suspects if self._may_be_sent_back(one) and (last or not (early or self._is_trusted(one)))
        ]
        if not able or len(record.opened) >= MOST_OPENED:
            return None
        turns = {one.atom_id: 2 * record.opened.count(one.atom_id) + n for n, one in enumerate(able)}
        return min(able, key=lambda one: (self._is_trusted(one), turns[one.atom_id]))

    def _is_trusted(self, record: AtomRecord) -> bool:
        """Return whether tests speak for the code: its own, or those of something accepted on top of it."""
        by_id, name, since = self.plan.by_id, record.atom_id, record.accepted_at
        return bool(by_id[name].tests) or any(
            above.status is AtomStatus.SUCCEEDED and above.accepted_at > since and by_id[above.atom_id].tests
            for above in self._downstream(name)
        )

    def _downstream(self, atom_id: str) -> Iterator[AtomRecord]:
        stack, seen = list(self.plan.dependents[atom_id]), {atom_id}
        while stack:
            current = stack.pop()
            if current not in seen:
                seen.add(current)
                yield self.atoms[current]
                stack.extend(self.plan.dependents[current])

    def _wait_for(self, record: AtomRecord, culprit: AtomRecord) -> None:
        if culprit.status.ended:
            self._send_back(culprit, _complaint(record, culprit.atom_id))
            culprit.on_trial = True
            record.opened.append(culprit.atom_id)
        record.status, record.waits_for = AtomStatus.WAITING, culprit.atom_id
        self.waiting.setdefault(culprit.atom_id, []).append(record.atom_id)

    def _take_code(self, record: AtomRecord, index: int) -> str:
        """Accept an attempt's code, or keep it in reserve while on trial; return what is to be said of it."""
        code = record.attempts[index].code
        if not record.on_trial:
            record.code = code
            return ""
        record.code = record.fallback
        if code != record.fallback:
            record.newest_spare = index
            record.spares.append(index)
        return KEPT

    def _worth_a_recheck(self, record: AtomRecord, awaited: AtomRecord) -> list[Recheck]:
        """Return the checks that the awaited atom's new code is worth: alone, then with one or two in reserve."""
        if awaited.newest_spare is None:
            return []
        alone = ((awaited.atom_id, awaited.newest_spare),)
        others = [one for one in dict.fromkeys(record.opened) if one != awaited.atom_id]
        spares = {one: [(one, spare) for spare in reversed(self.atoms[one].spares)] for one in others}
        pairs = [(*alone, spare) for one in others for spare in spares[one]]
        triples = [(*alone, *two) for a, b in combinations(others, 2) for two in product(spares[a], spares[b])]
        answers = answers_worth_a_check(record)
        return [Recheck(answer, instead) for instead in (alone, *pairs, *triples) for answer in answers][:MOST_RECHECKS]

    def _recheck(self, record: AtomRecord) -> None:
        """Queue the check that stands first in `rechecks`, of an answer that was bought before."""
        attempt = record.attempts[record.rechecks[0].attempt]
        code = attempt.code or ""
        record.call_id = attempt.call_id
        record.answer = Answer(attempt.call_id, attempt.settings, code, attempt.cost_usd, attempt.latency_s)
        record.status = AtomStatus.ANSWERED
        self.queues.add(Pool.EXECUTE, record.atom_id)

    def _adopt(self, recheck: Recheck) -> None:
        """Use the code in reserve that a check has passed with."""
        for atom_id, index in recheck.instead:
            other = self.atoms[atom_id]
            self.atoms_reused -= other.stands_reused
            other.code, other.cause = other.attempts[index].code, ""
            self.atoms_reused += other.stands_reused
            other.spares = [spare for spare in other.spares if spare != index]
            other.accepted_at = self.verdicts
            if not other.status.ended:
                other.fallback = other.code


def _named(record: AtomRecord) -> list[str]:
    """Return whom failed attempts name: by the best place that any gives them, then by how many name them."""
    votes: Counter[str] = Counter()
    places: dict[str, int] = {}
    for attempt in reversed(record.attempts):
        for place, atom_id in enumerate(attempt.verdict.blamed):
            votes[atom_id] += 1
            places[atom_id] = min(place, places.get(atom_id, place))
    return sorted(votes, key=lambda atom_id: (places[atom_id], -votes[atom_id]))


def answers_worth_a_check(record: AtomRecord) -> list[int]:
    """Return the indices of attempts that failed by their tests alone, the best verdict first, the later of equals.

    Of attempts with the same code one is enough.
    """
    tested = [n for n, attempt in enumerate(record.attempts) if attempt.code and attempt.verdict.level is Level.TESTS]
    ranked = sorted(tested, key=lambda n: (record.attempts[n].verdict.merit, n), reverse=True)
    first_of = {record.attempts[n].code: n for n in reversed(ranked)}
    return [n for n in ranked if first_of[record.attempts[n].code] == n]


def _complaint(record: AtomRecord, culprit: str) -> ValidationResult:
    """Turn the last failed check that names the culprit into what is wrong with the culprit's code."""
    verdicts = [one.verdict for one in reversed(record.attempts)]
    verdict = next((one for one in verdicts if culprit in one.blamed), verdicts[0])
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
