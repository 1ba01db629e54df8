"""ExecutionMachine: everything that decides what happens in an execution lives here, and nothing else does.

`handle(event)` is the one door: it checks the event against the tables in `state`, changes the state and returns what
is to be done (commands) and told (notices). No clock, no chance, no I/O: the same events give the same state, which
is how recovery and the simulation work. An event that is not allowed raises IllegalTransitionError and changes
nothing.

The shell around the machine asks `ready(pool)` what could start, gets leases and reservations for it, and reports
each with LeaseGranted; only then does a command to act come back.
"""

from __future__ import annotations

from dataclasses import replace

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.attempt import Answer, AtomRecord, Attempt, Reused
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import to_nano
from mge_ray.domain.errors import BudgetError, IllegalTransitionError
from mge_ray.domain.execution_record import ACCEPTANCE, Outcome
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation, Remedy, StopReason
from mge_ray.domain.spending import Spending
from mge_ray.domain.state import TRANSITIONS, AtomStatus, ExecutionStatus
from mge_ray.domain.validation import Level, ValidationResult, failed_at

BAD_ANSWERS = {
    StopReason.MAX_TOKENS: "the answer was cut at max_tokens; write the code alone, without commentary",
    StopReason.REFUSAL: "the model refused to answer",
    StopReason.CONTEXT_WINDOW: "the prompt does not fit the model's context window",
    StopReason.OTHER: "the model stopped before the end of its answer",
}


class ExecutionMachine(Spending):
    """One execution of one masterplan, as a state machine over events."""

    # ---- the door -------------------------------------------------------------------------------------------------

    def handle(self, event: e.Event) -> Outcome:
        """Take one event, return what follows from it. Raises IllegalTransitionError and changes nothing if illegal."""
        target = TRANSITIONS.get((self.status, type(event)))
        if target is None:
            raise IllegalTransitionError(f"{event.kind} is not possible while the execution is {self.status.value}")
        outcome: Outcome = getattr(self, f"_on_{event.kind}")(event)
        self.last_at = max(self.last_at, event.at)
        self.events_handled += 1
        return [*outcome, *self._soft_limit()]

    def _on_execution_started(self, event: e.ExecutionStarted) -> Outcome:
        self.money.dearest_nano = to_nano(event.dearest_call_usd)
        self.status = ExecutionStatus.RUNNING
        self.settings = event.settings
        if not self.budget_changes:  # what a person has said already holds
            self.money.limit_usd = event.settings.budget_usd
        self.started_at = event.at
        return self._advance(event.at)

    def _on_lease_granted(self, event: e.LeaseGranted) -> Outcome:
        if event.atom_id == ACCEPTANCE:
            return self._begin_acceptance(event)
        record = self._record(event.atom_id)
        self._expect(record, event)
        if not self.queues.has(event.pool, event.atom_id, now=event.at):
            raise IllegalTransitionError(f"atom {event.atom_id!r} is not ready for the {event.pool.value} pool")
        if event.pool is Pool.GENERATE:
            return self._begin_call(record, event)
        return self._begin_check(record, event)

    def _begin_call(self, record: AtomRecord, event: e.LeaseGranted) -> Outcome:
        command = self.preview(record.atom_id, gateway=event.gateway)
        if not self.fits_atom(record.atom_id, event.reserved_usd):
            raise IllegalTransitionError(f"a call of at most ${event.reserved_usd:.6f} does not fit its atom's budget")
        try:
            self.money.reserve(command.call_id, event.reserved_usd)
        except BudgetError as error:
            raise IllegalTransitionError(str(error)) from error
        record.status = AtomStatus.GENERATING
        record.call_id, record.settings, record.gateway = command.call_id, command.settings, event.gateway
        self._take_off(record, event)
        return [command]

    def _begin_check(self, record: AtomRecord, event: e.LeaseGranted) -> Outcome:
        record.status = AtomStatus.EXECUTING
        self._take_off(record, event)
        return [self._check(record)]

    def _begin_acceptance(self, event: e.LeaseGranted) -> Outcome:
        if event.pool is not Pool.EXECUTE or not self.queues.has(Pool.EXECUTE, ACCEPTANCE, now=event.at):
            raise IllegalTransitionError("the acceptance run is not ready")
        self.acceptance.status = AtomStatus.EXECUTING
        self._take_off(self.acceptance, event)
        return [self._accept()]

    def _on_atom_reused(self, event: e.AtomReused) -> Outcome:
        record = self._record(event.atom_id)
        self._expect(record, event)
        if not record.untried or not self.queues.has(Pool.GENERATE, record.atom_id, now=event.at):
            raise IllegalTransitionError(f"atom {event.atom_id!r} is not waiting for its first call")
        self.queues.take(Pool.GENERATE, record.atom_id)
        record.reused = Reused(event.code, event.key, event.source, event.saved_usd, event.by)
        record.code = event.code
        return self._end_atom(record, AtomStatus.SUCCEEDED, event.at)

    # ---- calls ----------------------------------------------------------------------------------------------------

    def _on_generation_arrived(self, event: e.GenerationArrived) -> Outcome:
        record = self._record(event.atom_id)
        gateway = record.gateway
        if record.status is not AtomStatus.GENERATING or record.call_id != event.call_id:
            return self._bill_late(record, event.call_id, event.generation.cost_usd, gateway)
        generation = event.generation
        self.money.settle(event.call_id, generation.cost_usd)
        self.answers += 1
        self.shared_answers += generation.shared
        record.cost_usd += generation.cost_usd
        self.transport_errors_in_a_row = 0
        self.queues.answered()
        self._learn_size(record, generation)
        outcome: Outcome = [*self._land(record, Pool.GENERATE, event.at), c.Acknowledge(event.call_id, gateway)]
        record.tries = 1
        if self._cut_short(record, generation):
            return outcome
        if generation.stop_reason is StopReason.END_TURN and generation.code is not None:
            record.status = AtomStatus.ANSWERED
            record.answer = _answer(record, generation, generation.code)
            self.queues.add(Pool.EXECUTE, record.atom_id)
            return outcome
        return outcome + self._on_bad_answer(record, generation, event.at)

    def _on_bad_answer(self, record: AtomRecord, generation: Generation, at: float) -> Outcome:
        stop = generation.stop_reason
        record.cut_answers += stop is StopReason.MAX_TOKENS
        message = BAD_ANSWERS.get(stop, "the answer has no fenced code block; answer with exactly one")
        verdict = failed_at(Level.ANSWER, message, rule=stop.value if stop in BAD_ANSWERS else "no-code-block")
        record.answer = _answer(record, generation, generation.code or "")
        hopeless = message if stop is StopReason.CONTEXT_WINDOW else ""
        return self._conclude_attempt(record, verdict, at, stop=stop, hopeless=hopeless)

    def _on_generation_failed(self, event: e.GenerationFailed) -> Outcome:
        record = self._record(event.atom_id)
        gateway, failure = record.gateway, event.failure
        if record.status is not AtomStatus.GENERATING or record.call_id != event.call_id:
            if failure.billing is Billing.BILLED:
                return self._bill_late(record, event.call_id, failure.cost_usd, gateway)
            return [c.Acknowledge(event.call_id, gateway)]
        self._book_failure(record, failure)
        outcome: Outcome = [*self._land(record, Pool.GENERATE, event.at), c.Acknowledge(event.call_id, gateway)]
        return outcome + self._after_failure(record, failure, event.at)

    def _book_failure(self, record: AtomRecord, failure: CallFailure) -> None:
        if failure.billing is Billing.NOT_BILLED:
            self.money.refund(record.call_id)
        elif failure.billing is Billing.BILLED:
            self.money.settle(record.call_id, failure.cost_usd)
            record.cost_usd += failure.cost_usd
        else:
            self._lose_spend(record)
        self._count_call(f"{failure.kind.value}:{failure.billing.value}")
        record.transport_errors += 1
        self.transport_errors += 1
        self.transport_errors_in_a_row += 1

    def _after_failure(self, record: AtomRecord, failure: CallFailure, at: float) -> Outcome:
        assert self.settings is not None  # noqa: S101  # set by ExecutionStarted, the only way here
        if failure.remedy is Remedy.FAIL_ATOM:
            return self._end_atom(record, AtomStatus.FAILED, at, cause=f"{failure.kind.value}: {failure.message}")
        wait_s = self.settings.policy.backoff_s(failure, record.call_id, record.tries)
        record.tries += 1
        if failure.remedy is Remedy.STOP_RUN:
            self._pause(f"{failure.kind.value}: {failure.message}", at)
        elif record.tries > self.settings.max_transport_tries:
            if self.transport_errors_in_a_row < self.settings.max_transport_tries:
                cause = f"no answer in {self.settings.max_transport_tries} calls; the last: {failure.message}"
                return self._end_atom(record, AtomStatus.FAILED, at, cause=cause)
            self._pause(f"the provider does not answer; the last failure was {failure.message}", at)
            record.tries = 1
        if failure.remedy is Remedy.RETRY_ALL_TOGETHER:
            self.queues.hold(
                now=at,
                retry_after_s=failure.retry_after_s,
                failures_in_a_row=self.transport_errors_in_a_row,
                base_s=self.settings.policy.backoff_base_s,
                cap_s=self.settings.policy.backoff_cap_s,
            )
        self._queue_call(record, not_before=at + wait_s)
        return []

    def _bill_late(self, record: AtomRecord, call_id: str, cost_usd: float, gateway: str) -> Outcome:
        if call_id in self.money.lost:
            record.unknown_usd = max(0.0, record.unknown_usd - self.money.lost[call_id] / 1e9)
            record.cost_usd += cost_usd
            self.money.settle(call_id, cost_usd)
        return [c.Acknowledge(call_id, gateway)]

    # ---- checks ---------------------------------------------------------------------------------------------------

    def _on_atom_executed(self, event: e.AtomExecuted) -> Outcome:
        record = self._record(event.atom_id)
        if record.status is not AtomStatus.EXECUTING or record.call_id != event.call_id:
            return []
        outcome: Outcome = list(self._land(record, Pool.EXECUTE, event.at))
        return outcome + self._conclude_attempt(record, event.result, event.at)

    def _on_worker_lost(self, event: e.WorkerLost) -> Outcome:
        record = self._record(event.atom_id)
        if record.status is not AtomStatus.EXECUTING or record.call_id != event.call_id:
            return []
        record.workers_lost += 1
        outcome: Outcome = list(self._land(record, Pool.EXECUTE, event.at))
        if record.workers_lost >= self._settings.max_worker_losses:
            cause = f"checking it ended {record.workers_lost} workers; the last: {event.reason}"
            verdict = failed_at(Level.TESTS, cause, rule="worker-lost")
            return outcome + self._conclude_attempt(record, verdict, event.at, hopeless=cause)
        record.status = AtomStatus.ANSWERED
        self.queues.add(Pool.EXECUTE, record.atom_id)
        return outcome

    def _conclude_attempt(
        self,
        record: AtomRecord,
        verdict: ValidationResult,
        at: float,
        *,
        stop: StopReason = StopReason.END_TURN,
        hopeless: str = "",
    ) -> Outcome:
        answer, record.answer = record.answer, None
        assert answer is not None  # noqa: S101  # a verdict is always on an answer
        if record.rechecks:
            return self._conclude_recheck(record, verdict, at, hopeless=hopeless)
        attempt = Attempt(
            number=record.attempt,
            call_id=answer.call_id,
            settings=answer.settings,
            code=answer.code or None,
            verdict=verdict,
            cost_usd=answer.cost_usd,
            stop_reason=stop,
            latency_s=answer.latency_s,
            check_s=verdict.duration_s,
        )
        cooled = bool(record.attempts) and record.attempts[-1].settings.temperature != attempt.settings.temperature
        record.attempts.append(attempt)
        self.attempts_made += 1
        outcome: Outcome = [c.AttemptMade(record.atom_id, attempt.number, verdict.passed, cooled)]
        if verdict.passed:
            kept = self._take_code(record, len(record.attempts) - 1)
            return outcome + self._end_atom(record, AtomStatus.SUCCEEDED, at, cause=kept)
        if hopeless:
            return outcome + self._end_atom(record, AtomStatus.FAILED, at, cause=hopeless)
        return outcome + self._go_on(record, at, blaming=True)

    def _conclude_recheck(
        self, record: AtomRecord, verdict: ValidationResult, at: float, *, hopeless: str = ""
    ) -> Outcome:
        self.rechecks += 1
        recheck = record.rechecks.pop(0)
        attempt = replace(record.attempts[recheck.attempt], verdict=verdict, check_s=verdict.duration_s)
        if verdict.passed:
            record.attempts[recheck.attempt] = attempt
            self._adopt(recheck)
            kept = self._take_code(record, recheck.attempt)
            return self._end_atom(record, AtomStatus.SUCCEEDED, at, cause=kept)
        if hopeless:
            return self._end_atom(record, AtomStatus.FAILED, at, cause=hopeless)
        record.hints += verdict.blamed[:1]
        if record.rechecks:
            self._recheck(record)
            return []
        return self._go_on(record, at)

    def _on_atom_timed_out(self, event: e.AtomTimedOut) -> Outcome:
        record = self._record(event.atom_id)
        self._expect(record, event)
        generating = record.status is AtomStatus.GENERATING
        if generating:
            self._give_up_call(record)
        outcome: Outcome = [c.Abandon(record.call_id, record.gateway)]
        outcome += self._land(record, Pool.GENERATE if generating else Pool.EXECUTE, event.at)
        cause = f"not done after {self._settings.atom_timeout_s:g} s in flight"
        return outcome + self._end_atom(record, AtomStatus.FAILED, event.at, cause=cause)

    # ---- acceptance -----------------------------------------------------------------------------------------------

    def _on_acceptance_finished(self, event: e.AcceptanceFinished) -> Outcome:
        if self.acceptance.status is not AtomStatus.EXECUTING:
            return []
        outcome: Outcome = list(self._land(self.acceptance, Pool.EXECUTE, event.at))
        self._leave_gate(event.result)
        return outcome + self._advance(event.at)

    def _on_acceptance_lost(self, event: e.AcceptanceLost) -> Outcome:
        if self.acceptance.status is not AtomStatus.EXECUTING:
            return []
        self.acceptance.workers_lost += 1
        if self.acceptance.workers_lost >= self._settings.max_worker_losses:
            verdict = failed_at(Level.TESTS, f"the acceptance run lost its worker: {event.reason}", rule="worker-lost")
            return self._on_acceptance_finished(e.AcceptanceFinished(event.at, verdict))
        outcome: Outcome = list(self._land(self.acceptance, Pool.EXECUTE, event.at))
        self.acceptance.status = AtomStatus.READY
        self.queues.add(Pool.EXECUTE, ACCEPTANCE)
        return outcome

    # ---- another process ------------------------------------------------------------------------------------------

    def _on_coordinator_restarted(self, event: e.CoordinatorRestarted) -> Outcome:
        outcome: Outcome = []
        for record in [record for record in self.atoms.values() if record.in_flight]:
            record.active_s += max(0.0, self.last_at - record.flight_began_at)  # time without anybody does not count
            self._begin_flight(record, event.at)
            if record.status is AtomStatus.EXECUTING:
                outcome.append(self._check(record))
            elif record.gateway in event.live_gateways:
                outcome.append(self.preview(record.atom_id, gateway=record.gateway))
            else:
                lost = CallFailure(FailureKind.GATEWAY_LOST, "the gateway's process is gone", Billing.UNKNOWN)
                outcome += self._on_generation_failed(
                    e.GenerationFailed(event.at, record.atom_id, record.call_id, lost)
                )
        if self.acceptance.in_flight:
            outcome.append(self._accept())
        return outcome


def _answer(record: AtomRecord, generation: Generation, code: str) -> Answer:
    assert record.settings is not None  # noqa: S101  # set when the call began
    return Answer(record.call_id, record.settings, code, generation.cost_usd, generation.latency_s)
