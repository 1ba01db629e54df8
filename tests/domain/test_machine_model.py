"""Random plans, random events: what must hold whatever happens."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import to_nano
from mge_ray.domain.errors import IllegalTransitionError
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, StopReason
from mge_ray.domain.machine import ACCEPTANCE, ExecutionMachine
from mge_ray.domain.plan import Masterplan, compute_waves
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import ATOM_TRANSITIONS, TRANSITIONS, AtomStatus, ExecutionStatus
from tests.builders import EXECUTION_ID, PASSED, failed, generation, settings
from tests.properties import atom_lists, driven_far

BUDGET_USD = 2.0
OPENABLE = {ExecutionStatus.PAUSED, ExecutionStatus.FAILED, ExecutionStatus.COMPLETED}
GATEWAYS = ["g1", "g2"]
shares = st.sampled_from([0.0, 0.5, 1.0])
picks = st.integers(0, 99)
prices = st.sampled_from([0.0, 0.01, 0.1, 1 / 3])
failures = st.builds(
    CallFailure,
    kind=st.sampled_from(FailureKind),
    message=st.just("in a test"),
    billing=st.sampled_from(Billing),
    retry_after_s=st.sampled_from([None, None, 7.0]),
)
bad_ends = failures | st.sampled_from(StopReason).map(lambda stop: generation(None, stop_reason=stop))
verdicts = st.sampled_from([PASSED, PASSED, failed()])


class Executions(RuleBasedStateMachine):
    """An ExecutionMachine beside a ledger of what it was given and what it asked for."""

    def __init__(self):
        super().__init__()
        self.now = 1_000.0
        self.events = []
        self.calls = {}  # call id -> (atom id, gateway, dollars reserved): those whose answer is awaited
        self.given_up = {}  # the same, for those that nobody awaits
        self.checks = {}  # atom id -> call id
        self.accepting = False
        self.leases = {}  # lease id -> pool
        self.leases_made = 0
        self.call_ids_seen = set()
        self.ends = {}  # atom id -> AtomFinished
        self.waves_finished = []
        self.machine = None

    @initialize(
        listed=atom_lists(least=3),
        acceptance=st.booleans(),
        gates=st.sets(st.integers(1, 3)),
        tries=st.integers(1, 4),
        attempts=st.integers(1, 4),
        atom_budget=st.sampled_from([None, None, 0.2]),
    )
    def begin(self, *, listed, acceptance, gates, tries, attempts, atom_budget):
        waves = compute_waves(listed)
        tested = [wave.model_copy(update={"tests": ("tests",)}) if wave.wave_id in gates else wave for wave in waves]
        plan = Masterplan(
            name="plan",
            atoms=tuple(listed),
            files={"tests/test_all.py": ""},
            execution_plan=tuple(tested),
            acceptance_tests=("tests",) if acceptance else (),
        )
        self.machine = ExecutionMachine(EXECUTION_ID, plan)
        policy = {"model": "m", "accepts_sampling": True, "max_attempts": attempts, "backoff_base_s": 2.0}
        policy["learns_max_tokens"] = True
        run_settings = settings(
            policy=policy,
            budget_usd=BUDGET_USD,
            atom_budget_usd=atom_budget,
            max_transport_tries=tries,
            atom_timeout_s=60.0,
            max_worker_losses=2,
        )
        self.send(e.ExecutionStarted(self.now, run_settings))

    # ---- sending, and looking at what comes back ---------------------------------------------------------------------

    def send(self, event):
        atom_id = getattr(event, "atom_id", ACCEPTANCE)
        before = self.machine.atoms[atom_id].status if atom_id else None
        outcome = self.machine.handle(event)
        self.events.append(event)
        awaited = getattr(event, "call_id", None) not in self.given_up
        if atom_id and awaited and (before, type(event)) in ATOM_TRANSITIONS:
            assert self.machine.atoms[atom_id].status in ATOM_TRANSITIONS[before, type(event)]
        for item in outcome:
            self.note(item, event)
        return outcome

    def note(self, item, event):
        if isinstance(item, c.Release):
            assert self.leases.pop(item.lease_id) is item.pool
        elif isinstance(item, c.AtomFinished):
            assert item.atom_id not in self.ends
            self.ends[item.atom_id] = item
        elif isinstance(item, c.WaveFinished):
            self.waves_finished.append(item.wave_id)
        elif isinstance(item, c.Abandon):
            self.give_up(item.call_id)
        elif isinstance(item, c.Generate):
            self.note_call(item, event)
        elif isinstance(item, c.Execute):
            self.checks[item.atom_id] = item.call_id
        elif isinstance(item, c.Accept):
            self.accepting = True

    def note_call(self, command, event):
        if isinstance(event, e.CoordinatorRestarted):
            assert self.calls[command.call_id][:2] == (command.atom_id, command.gateway)
            return
        assert command.call_id not in self.call_ids_seen
        self.call_ids_seen.add(command.call_id)
        assert command.atom_id not in [atom_id for atom_id, _, _ in self.calls.values()]
        assert command.atom_id not in self.checks
        atom = self.machine.plan.atom(command.atom_id)
        codes = self.machine.accepted_codes()
        assert all(dependency in codes for dependency in atom.depends_on)
        if not self.machine.interventions:  # what a person opens again may run beside work of later waves
            for wave in self.machine.plan.waves[: self.machine.plan.wave_of[command.atom_id] - 1]:
                assert all(self.machine.atoms[a].status.ended or self.machine.atoms[a].reopened for a in wave.atom_ids)
        self.calls[command.call_id] = (command.atom_id, command.gateway, event.reserved_usd)

    def give_up(self, call_id):
        if call_id in self.calls:
            self.given_up[call_id] = self.calls.pop(call_id)
        else:
            self.checks = {a: c_id for a, c_id in self.checks.items() if c_id != call_id}
            self.accepting = self.accepting and call_id != ""

    def pick(self, things, number):
        listed = sorted(things)
        return listed[number % len(listed)]

    @property
    def running(self):
        return self.machine.status is ExecutionStatus.RUNNING

    # ---- what may happen ---------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, 30.0, 90.0]))
    def time_passes(self, seconds):
        self.now += seconds
        for atom_id in self.machine.overdue(now=self.now):
            self.send(e.AtomTimedOut(self.now, atom_id))

    @rule(usd=prices, number=picks, times=st.integers(1, 4))
    def work_starts(self, usd, number, times):
        self.start_some(usd, number, times)

    @rule(usd=prices, number=picks, times=st.integers(1, 4), share=shares, bad=st.none() | bad_ends)
    def calls_end_and_work_starts(self, usd, number, times, share, bad):
        self.start_some(usd, number, times)
        for call_id in sorted(self.calls)[:times]:
            if isinstance(bad, CallFailure):
                self.fail(call_id, bad, share)
            else:
                self.answer(call_id, bad or generation(), share)
            bad = None

    @rule(usd=prices, number=picks, times=st.integers(1, 4), verdict=verdicts, blamed=st.lists(picks, max_size=2))
    def verdicts_come_and_work_starts(self, usd, number, times, verdict, blamed):
        named = tuple(self.pick(self.machine.atoms, one) for one in blamed)
        for atom_id in sorted(self.checks)[:times]:
            given = verdict if verdict.passed else verdict.model_copy(update={"blamed": named})
            self.send(e.AtomExecuted(self.now, atom_id, self.checks.pop(atom_id), given))
        self.start_some(usd, number, times)

    def start_some(self, usd, number, times):
        """Hypothesis leaves out rules at random; without this one nothing would happen, so others do it too."""
        for pool in Pool:
            for _ in range(times):
                if self.machine.ready(pool, now=self.now, limit=1):
                    self.grant_one(pool, number, usd, self.pick(GATEWAYS, number))

    @precondition(lambda self: self.running and self.machine.reusable(now=self.now))
    @rule(number=picks, sure=picks)
    def code_is_taken_over(self, number, sure):
        if sure < 50:
            return
        atom_id = self.pick(self.machine.reusable(now=self.now), number)
        spent = self.machine.money.spent_nano
        self.send(e.AtomReused(self.now, atom_id, "x = 2\n", "key", "earlier", 0.5))
        assert self.machine.money.spent_nano == spent
        self.must_be_refused(e.AtomReused(self.now, atom_id, "x = 3\n", "key", "earlier"))

    def grant_one(self, pool, number, usd, gateway):
        atom_id = self.pick(self.machine.ready(pool, now=self.now, limit=100), number)
        self.leases_made += 1
        lease_id = f"lease {self.leases_made}"
        if pool is Pool.EXECUTE:
            usd, gateway = 0.0, ""
        event = e.LeaseGranted(self.now, pool, atom_id, lease_id, usd, gateway)
        if pool is Pool.GENERATE and not (self.machine.money.fits(usd) and self.machine.fits_atom(atom_id, usd)):
            self.must_be_refused(event)
            if not self.machine.fits_atom(atom_id, usd):
                self.send(e.AtomBudgetExceeded(self.now, atom_id, usd))
                assert self.machine.atoms[atom_id].status.ended
            return
        if pool is Pool.GENERATE:
            self.must_be_refused(e.AtomBudgetExceeded(self.now, atom_id, usd))
        self.leases[lease_id] = pool
        (command,) = self.send(event)
        expected = c.Generate if pool is Pool.GENERATE else c.Accept if atom_id == ACCEPTANCE else c.Execute
        assert isinstance(command, expected)

    def answer(self, call_id, answer, share):
        atom_id, _, usd = self.calls.pop(call_id)
        self.send(e.GenerationArrived(self.now, atom_id, call_id, replace(answer, cost_usd=usd * share)))

    def fail(self, call_id, why, share):
        atom_id, _, usd = self.calls.pop(call_id)
        self.send(e.GenerationFailed(self.now, atom_id, call_id, replace(why, cost_usd=usd * share)))

    @precondition(lambda self: self.given_up)
    @rule(number=picks, share=shares, answered=st.booleans())
    def a_late_call_ends(self, number, share, answered):
        call_id = self.pick(self.given_up, number)
        atom_id, _, usd = self.given_up[call_id]
        statuses = {a: record.status for a, record in self.machine.atoms.items()}
        if answered:
            self.send(e.GenerationArrived(self.now, atom_id, call_id, generation(usd=usd * share)))
        else:
            self.send(e.GenerationFailed(self.now, atom_id, call_id, CallFailure(FailureKind.TIMEOUT, "late")))
        del self.given_up[call_id]
        assert statuses == {a: record.status for a, record in self.machine.atoms.items()}

    @precondition(lambda self: self.checks)
    @rule(number=picks)
    def a_worker_dies(self, number):
        atom_id = self.pick(self.checks, number)
        self.send(e.WorkerLost(self.now, atom_id, self.checks.pop(atom_id), "gone"))

    @precondition(lambda self: self.accepting)
    @rule(event=st.sampled_from([PASSED, failed(), "lost"]), numbers=st.lists(picks, max_size=3))
    def acceptance_ends(self, event, numbers):
        self.accepting = False
        if event == "lost":
            self.send(e.AcceptanceLost(self.now, "gone"))
            return
        blamed = tuple(self.pick(self.machine.atoms, number) for number in numbers)
        self.send(e.AcceptanceFinished(self.now, event.model_copy(update={"blamed": blamed})))

    @precondition(lambda self: self.running)
    @rule(sure=picks)
    def pause(self, sure):
        if sure < 50:
            return
        self.send(e.PauseRequested(self.now))
        for pool in Pool:
            assert self.machine.ready(pool, now=self.now + 1e6, limit=100) == []
        for atom_id in [*self.machine.atoms, ACCEPTANCE]:
            for pool in Pool:
                self.must_be_refused(e.LeaseGranted(self.now, pool, atom_id, "lease"))

    @precondition(lambda self: self.machine.status is ExecutionStatus.PAUSED)
    @rule()
    def resume(self):
        self.send(e.ResumeRequested(self.now))

    @precondition(lambda self: not self.machine.status.ended and len(self.events) > 40)
    @rule(sure=picks)
    def cancel(self, sure):
        if sure < 90:
            return
        self.send(e.CancelRequested(self.now))
        assert self.calls == self.checks == {}

    @precondition(lambda self: not self.machine.status.ended)
    @rule(sure=picks, live=st.sets(st.sampled_from(GATEWAYS)), after_s=st.sampled_from([0.0, 5.0, 10_000.0]))
    def the_coordinator_restarts(self, sure, live, after_s):
        if sure < 50:
            return
        self.now += after_s
        lost = {call_id: call for call_id, call in self.calls.items() if call[1] not in live}
        checks, self.checks = self.checks, {}
        self.send(e.CoordinatorRestarted(self.now, tuple(sorted(live))))
        self.calls = {call_id: call for call_id, call in self.calls.items() if call_id not in lost}
        self.given_up |= lost
        assert self.checks == checks
        if after_s:
            assert self.machine.overdue(now=self.now) == []

    @precondition(lambda self: not self.machine.status.ended)
    @rule(sure=picks)
    def halt(self, sure):
        if sure < 60:
            return
        self.send(e.HaltRequested(self.now))
        assert self.calls == self.checks == {}
        assert not self.accepting

    @precondition(lambda self: self.machine.status in {ExecutionStatus.RUNNING, ExecutionStatus.PAUSED})
    @rule(limit=st.integers(1, 9))
    def the_bound_changes(self, limit):
        self.send(e.ConcurrencyChanged(self.now, limit, "me"))
        assert self.machine.settings.max_concurrency == limit

    @precondition(lambda self: self.machine.status is not ExecutionStatus.CANCELLED)
    @rule(limit_usd=st.sampled_from([0.0, 0.1, 1.0, 2.0, 3.0]), sure=picks)
    def a_person_sets_another_limit(self, limit_usd, sure):
        event = e.BudgetRaised(self.now, limit_usd, "me", "because")
        if to_nano(limit_usd) < self.machine.money.committed_nano:
            self.must_be_refused(event)
        elif sure > 50:
            status = self.machine.status
            self.send(event)
            assert (self.machine.status, self.machine.money.limit_usd) == (status, limit_usd)

    @precondition(lambda self: self.machine.status in OPENABLE)
    @rule(wish=st.sampled_from(["retry all", "retry one", "edit", "take", "approve"]), number=picks)
    def a_person_steps_in(self, wish, number):
        record = self.machine.atoms[self.pick(self.machine.atoms, number)]
        was, failed_here = self.machine.status, record.status is AtomStatus.FAILED and not record.waived
        anything_failed = self.machine.failed_gates or any(
            one.status is AtomStatus.FAILED and not one.waived for one in self.machine.atoms.values()
        )
        event, possible = {
            "retry all": (e.RetryRequested(self.now), anything_failed),
            "retry one": (e.RetryRequested(self.now, (record.atom_id,)), failed_here),
            "edit": (
                e.CodeEdited(self.now, record.atom_id, "mended\n", "me", PASSED),
                record.status in {AtomStatus.FAILED, AtomStatus.SUCCEEDED},
            ),
            "take": (
                e.FailureAccepted(self.now, record.atom_id, "me"),
                record.status is AtomStatus.FAILED and record.code is not None,
            ),
            "approve": (e.AtomApproved(self.now, record.atom_id, "me"), record.status is AtomStatus.SUCCEEDED),
        }[wish]
        possible = possible and (wish == "approve" or not self.accepting)
        if not possible or (was, type(event)) not in TRANSITIONS:
            self.must_be_refused(event)
            return
        attempts = self.machine.attempts_made
        assert self.send(event) == []
        assert self.machine.attempts_made == attempts + (wish == "edit")
        if wish != "approve":
            assert self.machine.status is ExecutionStatus.PAUSED
            self.ends = {a: end for a, end in self.ends.items() if self.stays_told(a)}
            self.waves_finished = [wave for wave in self.waves_finished if wave < self.machine.current_wave]

    def stays_told(self, atom_id):
        record = self.machine.atoms[atom_id]
        return record.status.ended or record.reopened

    @rule(event_type=st.sampled_from(e.EVENT_TYPES), number=picks)
    def something_impossible(self, event_type, number):
        atom_id = self.pick(self.machine.atoms, number)
        event = {
            e.ExecutionStarted: lambda: e.ExecutionStarted(self.now, settings()),
            e.LeaseGranted: lambda: e.LeaseGranted(self.now, Pool.GENERATE, atom_id, "lease"),
            e.AtomTimedOut: lambda: e.AtomTimedOut(self.now, atom_id),
            e.ResumeRequested: lambda: e.ResumeRequested(self.now),
            e.PauseRequested: lambda: e.PauseRequested(self.now),
            e.CancelRequested: lambda: e.CancelRequested(self.now),
            e.CoordinatorRestarted: lambda: e.CoordinatorRestarted(self.now),
        }.get(event_type, lambda: None)()
        record = self.machine.atoms[atom_id]
        atom_refuses = isinstance(event, e.AtomTimedOut) and not record.in_flight
        atom_refuses |= isinstance(event, e.LeaseGranted) and record.status is not AtomStatus.READY
        if event is not None and ((self.machine.status, event_type) not in TRANSITIONS or atom_refuses):
            self.must_be_refused(event)

    def must_be_refused(self, event):
        before = self.machine.snapshot()
        try:
            self.machine.handle(event)
        except IllegalTransitionError:
            assert self.machine.snapshot() == before
        else:
            raise AssertionError(f"{event} was allowed")

    # ---- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def money_stays_within_the_limit(self):
        money = self.machine.money
        assert min(money.spent_nano, money.reserved_nano, money.unknown_nano) >= 0
        assert money.committed_nano <= to_nano(money.limit_usd)
        if money.soft_limit_reached:
            assert self.machine.soft_limit_told
        forecast = self.machine.forecast_usd
        assert forecast is None or forecast >= money.spent_usd + money.unknown_usd
        closed = sum(record.closed_usd for record in self.machine.atoms.values())
        assert abs(self.machine.closed_usd - closed) < 1e-9
        assert set(money.reservations) == set(self.calls)

    @invariant()
    def everything_in_flight_holds_its_lease_and_nothing_else_does(self):
        held = self.machine.held_leases()
        assert {lease: pool for pool, leases in held.items() for lease in leases} == self.leases
        assert {pool: len(leases) for pool, leases in held.items()} == self.machine.flying
        assert self.machine.flying == {Pool.GENERATE: len(self.calls), Pool.EXECUTE: len(self.checks) + self.accepting}

    @invariant()
    def what_is_told_is_true(self):
        seen = execution_state(self.machine)
        statuses = [record.status for record in self.machine.atoms.values()]
        assert seen.atoms_succeeded == statuses.count(AtomStatus.SUCCEEDED)
        assert seen.atoms_failed == statuses.count(AtomStatus.FAILED)
        assert seen.atoms_blocked == statuses.count(AtomStatus.BLOCKED)
        opened_again = [r for r in self.machine.atoms.values() if r.reopened and not r.status.ended]
        cancelled = self.machine.status is ExecutionStatus.CANCELLED
        again = sum(r.reopened and r.status is AtomStatus.CANCELLED for r in self.machine.atoms.values())
        assert len(self.ends) == seen.atoms_succeeded + seen.atoms_failed + len(opened_again) + again * cancelled
        assert 0 <= seen.retry_rate <= 1
        assert seen.atoms_reused == sum(record.stands_reused for record in self.machine.atoms.values())
        assert self.waves_finished == sorted(set(self.waves_finished))

    @invariant()
    def attempts_and_failures_are_within_their_bounds(self):
        policy = self.machine.settings.policy
        for record in self.machine.atoms.values():
            by_hand = sum(bool(attempt.by) for attempt in record.attempts)
            if not self.machine.interventions:
                assert len(record.attempts) <= policy.max_attempts
            assert record.attempt_of_round <= policy.max_attempts
            assert record.attempts_before >= by_hand
            assert [attempt.number for attempt in record.attempts] == list(range(1, len(record.attempts) + 1))

    @invariant()
    def what_is_open_is_what_the_wave_waits_for(self):
        machine = self.machine
        waited_for = [
            record
            for record in machine.atoms.values()
            if not record.status.ended and (record.wave_id == machine.current_wave or record.reopened)
        ]
        if machine.status is not ExecutionStatus.CANCELLED:
            assert machine.open_in_wave == len(waited_for)
        assert machine.waived_atoms == sum(record.waived for record in machine.atoms.values())

    @invariant()
    def completed_means_everything_passed(self):
        if self.machine.status is ExecutionStatus.COMPLETED:
            assert len(self.machine.accepted_codes()) == len(self.machine.atoms)
            accepted = self.machine.acceptance_result
            assert not self.machine.plan.acceptance_tests or (accepted is not None and accepted.passed)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def teardown(self):
        if self.machine is None:
            return
        self.drive_to_an_end()
        again = ExecutionMachine(EXECUTION_ID, self.machine.plan)
        for event in self.events:
            again.handle(e.decode(e.encode(event)))
        assert again.snapshot() == self.machine.snapshot()
        assert execution_state(again) == execution_state(self.machine)

    def drive_to_an_end(self):
        for _ in range(400):
            if self.machine.status.ended:
                break
            if self.machine.status is ExecutionStatus.PAUSED:
                self.resume()
            for call_id in list(self.calls):
                self.answer(call_id, generation(), 0.0)
            for atom_id in list(self.checks):
                self.send(e.AtomExecuted(self.now, atom_id, self.checks.pop(atom_id), PASSED))
            if self.accepting:
                self.acceptance_ends(PASSED, [])
            for pool in Pool:
                for _ in self.machine.ready(pool, now=self.now, limit=100):
                    self.grant_one(pool, 0, 0.0, "g1")
            self.now = max(self.now, self.machine.next_wake() or 0.0)
        assert self.machine.status.ended
        assert self.leases == {}
        assert self.machine.settled
        assert self.machine.money.reserved_nano == 0


TestExecutions = Executions.TestCase
TestExecutions.settings = hypothesis_settings(driven_far, max_examples=100)
