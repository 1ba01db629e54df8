"""ExecutionRecord: everything that an execution remembers, and what can be asked of it.

Owns the fields and the smallest moves between them. Which move follows which event is decided in `machine`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.answer_sizes import AnswerSizes, planned_bound
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import BudgetChange, CostGuardrails, to_nano
from mge_ray.domain.errors import IllegalTransitionError, UnknownExecutionError
from mge_ray.domain.lease import Lease, model_class
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.queues import ReadyQueues
from mge_ray.domain.retry import AttemptSettings, feedback
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.domain.validation import ValidationResult

Outcome = list[c.Command | c.Notice]

ACCEPTANCE = ""
"""Stands in for an atom id where the plan's acceptance run is meant."""


class ExecutionRecord:
    """The state of one execution of one masterplan."""

    def __init__(self, execution_id: UUID, plan: Masterplan) -> None:
        self.execution_id = execution_id
        self.plan = plan
        self.status = ExecutionStatus.PENDING
        self.reason = ""
        self.settings: e.ExecutionSettings | None = None
        self.money = CostGuardrails()
        self.budget_changes: list[BudgetChange] = []
        self.soft_limit_told = False
        self.closed_usd = 0.0
        self.sizes = AnswerSizes()
        self.answers_cut_short = 0
        self.atoms = {a: AtomRecord(a, wave.wave_id) for wave in plan.waves for a in wave.atom_ids}
        self.current_wave = 0
        self.open_in_wave = 0
        self.wave_times: dict[int, list[float]] = {}
        self.ended = dict.fromkeys((AtomStatus.SUCCEEDED, AtomStatus.FAILED, AtomStatus.BLOCKED), 0)
        self.leases: dict[Pool, dict[str, None]] = {pool: {} for pool in Pool}
        self.attempts_made = 0
        self.atoms_reused = 0
        self.shared_answers = 0
        self.retried_atoms = 0
        self.transport_errors = 0
        self.transport_errors_in_a_row = 0
        self.answers = 0
        self.calls_without_answer: dict[str, int] = {}
        self.acceptance = AtomRecord(ACCEPTANCE, len(plan.waves) + 1)
        self.acceptance_result: ValidationResult | None = None
        self.gate = 0
        self.gates_passed = 0
        self.reopenings = 0
        self.rechecks = 0
        self.waiting: dict[str, list[str]] = {}
        self.failed_gates: list[int] = []
        self.waived_atoms = 0
        self.interventions = 0
        self.queues = ReadyQueues()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.last_at = 0.0
        self.events_handled = 0
        self.paused_at: float | None = None
        self.paused_s = 0.0

    def atom(self, atom_id: str) -> AtomRecord:
        """Return where one atom stands, to be read only; raise UnknownExecutionError for an id that is not there."""
        return self._record(atom_id)

    @property
    def flying(self) -> dict[Pool, int]:
        """How many calls and how many checks are under way: each holds a lease."""
        return {pool: len(ids) for pool, ids in self.leases.items()}

    @property
    def in_flight(self) -> int:
        """How many calls and checks are under way."""
        return sum(map(len, self.leases.values()))

    @property
    def settled(self) -> bool:
        """True when nothing is in flight and nothing will be until somebody says so."""
        return self.in_flight == 0 and self.status is not ExecutionStatus.RUNNING

    def ready(self, pool: Pool, *, now: float, limit: int) -> list[str]:
        """Return up to `limit` atom ids (or ACCEPTANCE) that could start now, in the order they should."""
        if self.status is not ExecutionStatus.RUNNING:
            return []
        return self.queues.first(pool, now=now, limit=limit)

    def preview(self, atom_id: str, *, gateway: str = "") -> c.Generate:
        """Return the call that the atom's next lease will make; pure, so that it can be quoted first."""
        record = self._record(atom_id)
        last = record.last_try
        return c.Generate(
            atom_id=atom_id,
            attempt=record.attempt,
            call_id=f"{self.execution_id}:{atom_id}:{record.attempt}:{record.calls_failed + 1}",
            settings=self.asking(atom_id),
            previous_code=last.code if last else None,
            previous_errors=feedback(last.verdict) if last else (),
            gateway=gateway,
        )

    def reusable(self, *, now: float) -> list[str]:
        """Return the open wave's atoms for which accepted code would do: ready to be called, and nothing bought yet."""
        return [
            atom_id
            for wave in self.plan.waves[max(0, self.current_wave - 1) : self.current_wave]
            for atom_id in wave.atom_ids
            if self.atoms[atom_id].untried and self.queues.has(Pool.GENERATE, atom_id, now=now)
        ]

    def asking(self, atom_id: str) -> AttemptSettings:
        """Return how the atom's next call asks, or the one in flight has asked.

        `max_tokens` is lowered to what answers have needed, or should by the forecast, where the budget cannot carry as
        many calls at a time as are wanted.
        """
        record = self._record(atom_id)
        if record.in_flight and record.settings is not None:
            return record.settings
        own, policy = self._own_settings(record), self._settings.policy
        if not policy.learns_max_tokens or record.cut_short or record.cut_answers or not self._budget_is_tight:
            return own
        bound = self.sizes.bound(own.model, own.effort, self.plan.by_id[atom_id].complexity.value)
        bound = planned_bound(self._settings.forecast) if bound is None else bound
        return own if bound is None or bound >= own.max_tokens else replace(own, max_tokens=bound)

    @property
    def forecast_usd(self) -> float | None:
        """What the execution will have cost at its end: what it has, and for each open atom what an ended one took.

        Before the first has ended, the forecast made at the start; None where there is none.
        """
        done = self.ended[AtomStatus.SUCCEEDED] + self.ended[AtomStatus.FAILED]
        still_open = len(self.atoms) - done - self.ended[AtomStatus.BLOCKED]
        committed_usd = self.money.spent_usd + self.money.unknown_usd
        if self.status.ended or not still_open:
            return committed_usd
        if done:
            return max(committed_usd, self.closed_usd * (1 + still_open / done))
        planned = self.settings.forecast if self.settings else None
        return max(committed_usd, planned.cost_usd.p50) if planned and planned.cost_usd else None

    def fits_atom(self, atom_id: str, usd: float) -> bool:
        """Return whether a call of at most `usd` fits the limit of a single atom."""
        limit = self._settings.atom_budget_usd
        return limit is None or to_nano(self.atoms[atom_id].committed_usd + usd) <= to_nano(limit)

    def lease(self, pool: Pool, atom_id: str, model: str = "") -> Lease:
        """Return the lease that the atom's next piece of work needs: a check, or a call of `model`."""
        return Lease(str(self.execution_id), pool, atom_id, model_class(model), self._settings.priority)

    def next_wake(self) -> float | None:
        """Return when something may become ready or late without any event, or None."""
        return self.queues.next_wake()

    def overdue(self, *, now: float) -> list[str]:
        """Return the atoms whose time in flight is used up."""
        return [
            atom_id
            for atom_id, began_at in self.queues.overdue(now=now)
            if self.atoms[atom_id].in_flight and self.atoms[atom_id].flight_began_at == began_at
        ]

    def held_leases(self) -> dict[Pool, list[str]]:
        """Return the leases of what is in flight."""
        return {pool: list(ids) for pool, ids in self.leases.items()}

    def accepted_codes(self) -> dict[str, str]:
        """Return the code in use by atom: accepted, before it was opened again, or taken in spite of tests."""
        codes = {
            atom_id: record.code if record.status is AtomStatus.SUCCEEDED or record.waived else record.fallback
            for atom_id, record in self.atoms.items()
        }
        return {atom_id: code for atom_id, code in codes.items() if code is not None}

    @property
    def accepted_version(self) -> tuple[int, ...]:
        """Changes whenever what checks rest on may: with the wave, at its gate, with each verdict after it, by hand."""
        gate_open = self.open_in_wave == 0
        changing = gate_open or self.reopenings or self.interventions
        return (self.current_wave, gate_open, self.verdicts if changing else 0, self.interventions)

    @property
    def verdicts(self) -> int:
        """How many checks of atoms have ended in a verdict."""
        return self.attempts_made + self.rechecks

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain data; two machines are equal when their snapshots are."""
        return {
            "status": self.status,
            "reason": self.reason,
            "current_wave": self.current_wave,
            "open_in_wave": self.open_in_wave,
            "wave_times": {wave: list(times) for wave, times in self.wave_times.items()},
            "atoms": {atom_id: asdict(record) for atom_id, record in self.atoms.items()},
            "acceptance": asdict(self.acceptance),
            "gates": [self.gate, self.gates_passed, self.reopenings, self.rechecks, list(self.failed_gates)],
            "by_hand": [self.waived_atoms, self.interventions],
            "money": asdict(self.money),
            "budget": [self.budget_changes.copy(), self.soft_limit_told, self.closed_usd],
            "sizes": self.sizes.content(),
            "calls_without_answer": dict(self.calls_without_answer),
            "queued": self.queues.content(),
            "counts": [
                self.in_flight,
                self.answers,
                self.atoms_reused,
                self.shared_answers,
                self.answers_cut_short,
                self.attempts_made,
                self.transport_errors,
                self.transport_errors_in_a_row,
            ],
            "times": [self.started_at, self.ended_at, self.paused_at, self.paused_s, self.last_at],
            "hold": [self.queues.hold_until, self.queues.hold_level],
        }

    @property
    def _settings(self) -> e.ExecutionSettings:
        if self.settings is None:
            raise IllegalTransitionError("the execution has not started")
        return self.settings

    @property
    def _budget_is_tight(self) -> bool:
        """True where the money left does not carry the calls that could be in flight."""
        still_open = len(self.atoms) - sum(self.ended.values())
        return not self.money.carries(min(self._settings.max_concurrency, still_open))

    @property
    def _all_succeeded(self) -> bool:
        return self.ended[AtomStatus.SUCCEEDED] == len(self.atoms)

    @property
    def _acceptance_gate(self) -> int:
        """The number of the gate after the last wave's own: the acceptance tests."""
        return len(self.plan.waves) + 1

    def _accept(self) -> c.Accept:
        return c.Accept(0 if self.gate == self._acceptance_gate else self.gate)

    def _record(self, atom_id: str) -> AtomRecord:
        try:
            return self.atoms[atom_id]
        except KeyError:
            raise UnknownExecutionError(f"execution {self.execution_id} has no atom {atom_id!r}") from None

    def _queue_call(self, record: AtomRecord, *, not_before: float = 0.0) -> None:
        record.status = AtomStatus.READY
        record.not_before = not_before
        self.queues.add(Pool.GENERATE, record.atom_id, not_before=not_before)

    def _take_off(self, record: AtomRecord, event: e.LeaseGranted) -> None:
        self.queues.take(event.pool, record.atom_id)
        record.lease_id = event.lease_id
        self.leases[event.pool][event.lease_id] = None
        self._begin_flight(record, event.at)

    def _begin_flight(self, record: AtomRecord, at: float) -> None:
        record.flight_began_at = at
        if record is not self.acceptance:
            deadline = at + self._settings.atom_timeout_s - record.active_s
            self.queues.watch(record.atom_id, began_at=at, deadline=deadline)

    def _land(self, record: AtomRecord, pool: Pool, at: float) -> list[c.Release]:
        record.active_s += max(0.0, at - record.flight_began_at)
        lease_id, record.lease_id = record.lease_id, ""
        del self.leases[pool][lease_id]
        return [c.Release(pool, lease_id)]

    def _own_settings(self, record: AtomRecord) -> AttemptSettings:
        """Return how the policy lets the atom's present attempt ask."""
        complexity = self.plan.by_id[record.atom_id].complexity
        return self._settings.policy.settings(record.attempt_of_round, complexity, cut_answers=record.cut_answers)

    def _count_cost(self, record: AtomRecord, *, ended: bool) -> None:
        """Keep the sum of what ended atoms have cost: call when one ends, and when it is opened again."""
        if ended:
            record.closed_usd = record.cost_usd + record.unknown_usd
            self.closed_usd += record.closed_usd
        else:
            self.closed_usd -= record.closed_usd
            record.closed_usd = 0.0

    def _check(self, record: AtomRecord) -> c.Execute:
        assert record.answer is not None  # noqa: S101  # only an answered atom is checked
        below = record.rechecks[0].instead if record.rechecks else ()
        instead = tuple((atom_id, self.atoms[atom_id].attempts[index].code or "") for atom_id, index in below)
        return c.Execute(record.atom_id, record.attempt, record.call_id, record.answer.code, instead)

    def _count_pause(self, at: float) -> None:
        if self.paused_at is not None:
            self.paused_s += max(0.0, at - self.paused_at)
            self.paused_at = None
