"""Spending: how a limit is changed, when most of it is used, and what ends an atom that costs too much."""

from __future__ import annotations

from mge_ray.domain import commands as c
from mge_ray.domain import events as e
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.control import Control
from mge_ray.domain.cost import BudgetChange, to_nano
from mge_ray.domain.errors import BudgetError, IllegalTransitionError
from mge_ray.domain.execution_record import Outcome
from mge_ray.domain.generation import Generation, StopReason
from mge_ray.domain.state import AtomStatus


class Spending(Control):
    """An execution as its money steers it."""

    def _on_budget_raised(self, event: e.BudgetRaised) -> Outcome:
        money = self.money
        try:
            enough = to_nano(event.limit_usd) >= money.committed_nano
        except BudgetError as error:
            raise IllegalTransitionError(str(error)) from error
        if not enough:
            raise IllegalTransitionError(
                f"a limit of ${event.limit_usd:.4f} is below what is committed already: {money.describe()}"
            )
        change = BudgetChange(event.at, money.limit_usd, event.limit_usd, event.by, event.reason)
        self.budget_changes.append(change)
        money.limit_usd, self.soft_limit_told = event.limit_usd, False
        return []

    def _on_atom_budget_exceeded(self, event: e.AtomBudgetExceeded) -> Outcome:
        record = self._record(event.atom_id)
        self._expect(record, event)
        if not self.queues.has(Pool.GENERATE, event.atom_id, now=event.at):
            raise IllegalTransitionError(f"atom {event.atom_id!r} is not ready for the generate pool")
        if self.fits_atom(event.atom_id, event.next_call_usd):
            raise IllegalTransitionError(f"the next call of atom {event.atom_id!r} fits its budget")
        self.queues.take(Pool.GENERATE, event.atom_id)
        cause = f"its budget of ${self._settings.atom_budget_usd:g} is used up: {self._atom_money(record, event)}"
        return self._end_atom(record, AtomStatus.FAILED, event.at, cause=cause)

    def _atom_money(self, record: AtomRecord, event: e.AtomBudgetExceeded) -> str:
        lost = f", ${record.unknown_usd:.4f} unknown" if record.unknown_usd else ""
        return f"spent ${record.cost_usd:.4f}{lost}, and the next call can cost up to ${event.next_call_usd:.4f}"

    def _soft_limit(self) -> list[c.SoftLimitReached]:
        """Tell once for each limit that most of it is used."""
        money = self.money
        if self.soft_limit_told or money.limit_usd is None or not money.soft_limit_reached:
            return []
        self.soft_limit_told = True
        return [c.SoftLimitReached(money.spent_usd + money.unknown_usd, money.limit_usd)]

    def _learn_size(self, record: AtomRecord, generation: Generation) -> None:
        asked = record.settings
        if asked is not None and generation.stop_reason is StopReason.END_TURN:
            complexity = self.plan.by_id[record.atom_id].complexity.value
            self.sizes.observe(asked.model, asked.effort, complexity, generation.usage.output_tokens)

    def _cut_short(self, record: AtomRecord, generation: Generation) -> bool:
        """Return whether an answer was cut because less was asked for than the policy allows.

        The same attempt then asks again, for all of it: what we saved on is not the atom's fault.
        """
        asked = record.settings
        if generation.stop_reason is not StopReason.MAX_TOKENS or asked is None:
            return False
        if asked.max_tokens >= self._own_settings(record).max_tokens:
            return False
        record.cut_short = True
        record.calls_set_aside += 1
        self.answers_cut_short += 1
        self._queue_call(record)
        return True
