"""Control: what people may ask of an execution: pause, halt, resume, cancel, retry, edit, approve (ADR 12).

Whatever opens an execution again leaves it paused, in the wave of the earliest atom that changed: what was blocked
follows in wave order, and every gate from that wave on is run again.
"""

from __future__ import annotations

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.attempt import Approval, AtomRecord, Attempt
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import IllegalTransitionError
from mge_ray.domain.execution_record import ACCEPTANCE, Outcome
from mge_ray.domain.generation import Billing, StopReason
from mge_ray.domain.retry import AttemptSettings
from mge_ray.domain.state import ATOM_TRANSITIONS, AtomStatus, ExecutionStatus
from mge_ray.domain.waves import WaveProgress

BY_HAND = AttemptSettings(model="by hand", max_tokens=0)
OPENED_AGAIN = "opened again by hand; resume it to go on"


class Control(WaveProgress):
    """An execution as people steer it."""

    # ---- the whole execution --------------------------------------------------------------------------------------

    def _on_pause_requested(self, event: e.PauseRequested) -> Outcome:
        self._pause(event.reason, event.at)
        return []

    def _on_halt_requested(self, event: e.HaltRequested) -> Outcome:
        self._pause(event.reason, event.at)
        outcome: Outcome = []
        for record in [*self.atoms.values(), self.acceptance]:
            if record.in_flight:
                generating = record.status is AtomStatus.GENERATING
                outcome += self._abandon(record, event.at)
                if generating:
                    self._queue_call(record)
                else:
                    record.status = AtomStatus.READY if record is self.acceptance else AtomStatus.ANSWERED
                    self.queues.add(Pool.EXECUTE, record.atom_id)
        return outcome

    def _on_concurrency_changed(self, event: e.ConcurrencyChanged) -> Outcome:
        self.settings = self._settings.model_copy(update={"max_concurrency": event.limit})
        return []

    def _on_resume_requested(self, event: e.ResumeRequested) -> Outcome:
        self.status = ExecutionStatus.RUNNING
        self.reason = ""
        self._count_pause(event.at)
        return self._advance(event.at)

    def _on_cancel_requested(self, event: e.CancelRequested) -> Outcome:
        outcome: Outcome = []
        self._count_pause(event.at)
        self.status, self.reason, self.ended_at = ExecutionStatus.CANCELLED, event.reason, event.at
        for record in [*self.atoms.values(), self.acceptance]:
            if record.in_flight:
                outcome += self._abandon(record, event.at)
            if not record.status.ended:
                record.status = AtomStatus.CANCELLED
        self.queues.clear()
        return [*outcome, c.ExecutionFinished()]

    # ---- single atoms ---------------------------------------------------------------------------------------------

    def _on_retry_requested(self, event: e.RetryRequested) -> Outcome:
        records = [self._record(atom_id) for atom_id in dict.fromkeys(event.atom_ids)]
        for record in records:
            self._expect(record, event)
            if record.waived:
                raise IllegalTransitionError(
                    f"atom {record.atom_id!r} is used in spite of its failure; edit it instead"
                )
        again = records or [one for one in self.atoms.values() if one.status is AtomStatus.FAILED and not one.waived]
        gates = [] if again else self.failed_gates
        if not again and not gates:
            raise IllegalTransitionError("nothing has failed, so there is nothing to try again")
        self._expect_no_gate()
        if gates:
            for record in self.atoms.values():
                record.attempts_before = record.attempt
        for record in again:
            self._grant_attempts(record)
        self._stand_in(min([one.wave_id for one in again] or [*gates, len(self.plan.waves)]), event.at)
        return []

    def _on_code_edited(self, event: e.CodeEdited) -> Outcome:
        record = self._record(event.atom_id)
        self._expect(record, event)
        self._expect_no_gate()
        number = len(record.attempts) + 1
        self._reopen(record)
        attempt = Attempt(
            number=number,
            call_id=f"{self.execution_id}:{record.atom_id}:{number}:by hand",
            settings=BY_HAND,
            code=event.code,
            verdict=event.result,
            cost_usd=0.0,
            stop_reason=StopReason.END_TURN,
            latency_s=0.0,
            check_s=event.result.duration_s,
            by=event.by,
        )
        record.attempts.append(attempt)
        record.attempt = number
        record.attempts_before += 1
        self.attempts_made += 1
        record.status, record.code, record.cause = AtomStatus.SUCCEEDED, event.code, ""
        record.accepted_at = self.verdicts
        self.ended[AtomStatus.SUCCEEDED] += 1
        self.atoms_reused += record.stands_reused
        self._count_cost(record, ended=True)
        self.retried_atoms += len(record.attempts) > 1
        self._stand_in(record.wave_id, event.at)
        return []

    def _on_failure_accepted(self, event: e.FailureAccepted) -> Outcome:
        record = self._record(event.atom_id)
        self._expect(record, event)
        if record.code is None:
            raise IllegalTransitionError(f"atom {record.atom_id!r} has no code to accept; edit it")
        self._expect_no_gate()
        self._approve(record, event.by, event.note, event.at)
        self.waived_atoms += not record.waived
        record.waived = True
        self._stand_in(record.wave_id, event.at)
        return []

    def _on_atom_approved(self, event: e.AtomApproved) -> Outcome:
        record = self._record(event.atom_id)
        self._expect(record, event)
        self._approve(record, event.by, event.note, event.at)
        return []

    # ---- small parts ----------------------------------------------------------------------------------------------

    def _approve(self, record: AtomRecord, by: str, note: str, at: float) -> None:
        record.approval = Approval(by, note, at, attempts_seen=len(record.attempts))

    def _grant_attempts(self, record: AtomRecord) -> None:
        """Let a failed atom begin a new round; one of a later wave waits until that opens."""
        self._reopen(record)
        record.attempt, record.attempts_before = len(record.attempts) + 1, len(record.attempts)
        record.calls_set_aside += 1  # an answer whose check took too long has made no attempt: its id is not used again
        record.tries, record.workers_lost, record.active_s, record.answer = 1, 0, 0.0, None
        record.opened, record.hints = [], []
        record.granted_from_usd = record.cost_usd + record.unknown_usd
        record.status, record.code, record.cause = AtomStatus.PENDING, None, ""

    def _reopen(self, record: AtomRecord) -> None:
        """Take an ended atom out of the counts."""
        self.ended[record.status] -= 1
        self.atoms_reused -= record.stands_reused
        self._count_cost(record, ended=False)
        self.retried_atoms -= len(record.attempts) > 1
        self.waived_atoms -= record.waived
        record.waived = False

    def _stand_in(self, wave_id: int, at: float) -> None:
        """Go back to this wave, paused; free what is not blocked any more, and forget the gates from here on."""
        wave_id = min(wave_id, self.current_wave)  # never forward: an earlier wave may be open again already
        self._free_the_blocked()
        if self.acceptance.status is AtomStatus.READY:
            self.queues.take(Pool.EXECUTE, ACCEPTANCE)
        self.acceptance.status, self.acceptance_result = AtomStatus.PENDING, None
        self.gates_passed = min(self.gates_passed, wave_id - 1)
        self.failed_gates = [gate for gate in self.failed_gates if gate < wave_id]
        self.current_wave, self.wave_times[wave_id] = wave_id, [at, 0.0]
        self.open_in_wave = 0
        for record in self.atoms.values():
            if not record.status.ended and (record.wave_id == wave_id or record.reopened):
                self.open_in_wave += 1
                if record.status is AtomStatus.PENDING and record.wave_id == wave_id:
                    self._queue_call(record)
        if self.status is not ExecutionStatus.PAUSED:
            self.status, self.reason = ExecutionStatus.PAUSED, OPENED_AGAIN
            self.paused_at, self.ended_at = self.ended_at, None
        self.interventions += 1

    def _free_the_blocked(self) -> None:
        for wave in self.plan.waves:
            for record in (self.atoms[atom_id] for atom_id in wave.atom_ids):
                needed = [self.atoms[dependency] for dependency in self.plan.by_id[record.atom_id].depends_on]
                if record.status is AtomStatus.BLOCKED and not any(one.holds_up_others for one in needed):
                    self.ended[AtomStatus.BLOCKED] -= 1
                    record.status, record.cause = AtomStatus.PENDING, ""

    def _abandon(self, record: AtomRecord, at: float) -> Outcome:
        """Give up what is in flight: a call may have been billed, a check is free."""
        generating = record.status is AtomStatus.GENERATING
        if generating:
            self._give_up_call(record)
        pool = Pool.GENERATE if generating else Pool.EXECUTE
        return [c.Abandon(record.call_id, record.gateway), *self._land(record, pool, at)]

    def _give_up_call(self, record: AtomRecord) -> None:
        self._count_call(f"given_up:{Billing.UNKNOWN.value}")
        record.calls_set_aside += 1
        self._lose_spend(record)

    def _count_call(self, kind: str) -> None:
        self.calls_without_answer[kind] = self.calls_without_answer.get(kind, 0) + 1

    def _lose_spend(self, record: AtomRecord) -> None:
        self.money.lose(record.call_id)
        record.unknown_usd += self.money.lost.get(record.call_id, 0) / 1e9

    def _expect(self, record: AtomRecord, event: e.Event) -> None:
        if (record.status, type(event)) not in ATOM_TRANSITIONS:
            raise IllegalTransitionError(
                f"{event.kind} is not possible while atom {record.atom_id!r} is {record.status.value}"
            )

    def _expect_no_gate(self) -> None:
        if self.acceptance.in_flight:
            raise IllegalTransitionError("the tests above the atoms are running; try again when they are done")
