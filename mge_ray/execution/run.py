"""ExecutionRun: one execution while it is being driven: its machine, its epoch, and who wants something of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mge_ray.domain.commands import Command, Generate, Notice
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import NANO, to_nano
from mge_ray.domain.errors import BudgetError, IllegalTransitionError
from mge_ray.domain.events import Event
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.tenants import TenantAccount
from mge_ray.execution.facts import Fact, StatusChanged, fact_of
from mge_ray.execution.offer import Offer
from mge_ray.execution.ports import Metrics, Traces, Work
from mge_ray.execution.priming import PromptPriming
from mge_ray.execution.reuse import Reuse

PRICED_AT_THE_START = 8


@dataclass(slots=True)
class ExecutionRun:
    """One execution in progress. `unwritten` events have been handled but are not durable yet, so `held` commands wait.

    `trouble` says why nothing is being bought although the machine would; `watch` is told what finished. `account` is
    the tenant's, where it has one.
    """

    machine: ExecutionMachine
    work: Work
    metrics: Metrics
    epoch: int = 0
    watch: Callable[[Notice], None] | None = None
    requests: list[tuple[Event, asyncio.Future[None]]] = field(default_factory=list)
    unwritten: list[Event] = field(default_factory=list)
    held: list[Command] = field(default_factory=list)
    news: list[tuple[float, Notice | Fact]] = field(default_factory=list)
    traces: Traces | None = None
    trouble: str = ""
    trouble_since: float = 0.0
    told_cost_usd: float = 0.0
    told_unanswered: dict[str, int] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    answered: list[asyncio.Future[None]] = field(default_factory=list)
    reuse: Reuse | None = None
    priming: PromptPriming = field(default_factory=PromptPriming)
    account: TenantAccount | None = None

    def offer(self, atom_id: str) -> Offer:
        """Return what the atom's next call needs; quoted once, however many turns it waits."""
        record = self.machine.atoms[atom_id]
        call = (record.attempt, record.calls_failed, self.machine.asking(atom_id))
        known = self.offers.get(atom_id)
        if known is None or known.call != call:
            command = self.machine.preview(atom_id)
            model = command.settings.model
            lease = self.machine.lease(Pool.GENERATE, atom_id, model)
            usd = to_nano(self.work.quote_usd(command)) / NANO  # as it will be reserved
            known = self.offers[atom_id] = Offer(atom_id, call, lease.id, model, usd)
        return known

    def tenant_affords(self, usd: float) -> bool:
        """Return whether calls of at most `usd` together fit what the tenant's other executions leave."""
        return self.account is None or self.account.fits(usd)

    def expect_affordable(self) -> None:
        """Raise BudgetError, saying what one call may cost, if none of the first wave's fits all budgets.

        What the tenant's other executions have in flight may still leave enough: the execution waits for it then.
        """
        machine, cheapest, refusal = self.machine, 0.0, ""
        for atom_id in machine.plan.waves[0].atom_ids:
            usd = self.offer(atom_id).usd
            fits_both = machine.money.fits(usd) and machine.fits_atom(atom_id, usd)
            account = self.account
            if fits_both and (account is None or account.may_fit_later(usd)):
                return
            if fits_both and account is not None:
                refusal = f"one call alone can cost up to ${usd:.4f}; {account.describe()}"
            cheapest = min(cheapest or usd, usd)
        if refusal:
            raise BudgetError(f"the budget of the tenant is too small: {refusal}")
        settings = machine.settings
        of_atom = settings.atom_budget_usd if settings and machine.money.fits(cheapest) else None
        what = "the budget" if of_atom is None else "the budget of a single atom"
        limit = machine.money.limit_usd if of_atom is None else of_atom
        raise BudgetError(f"{what}, ${limit:g}, is too small: one call alone can cost up to ${cheapest:.4f}")

    def dearest_first_call_usd(self, policy: AttemptPolicy) -> float:
        """Return the most that a call at the start can bill, by some of them, as the policy has them ask.

        Raises UnknownPriceError if a model that may be asked has no price.
        """
        plan, quotes = self.machine.plan, []
        for atom_id in plan.waves[0].atom_ids[:PRICED_AT_THE_START]:
            settings = policy.settings(1, plan.by_id[atom_id].complexity)
            command = Generate(atom_id, 1, f"price of {atom_id}", settings)
            quotes.append(self.work.quote_usd(command))
        if policy.escalation_model is not None:
            last = replace(command, call_id="price", settings=replace(settings, model=policy.escalation_model))
            self.work.quote_usd(last)
        return max(quotes)

    def request(self, event: Event) -> asyncio.Future[None]:
        """Hand in an event from outside; the future is done when it is durable, or carries why it was refused.

        A future that is cancelled before its event was handled takes the request back.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.requests.append((event, future))
        return future

    def durable(self) -> asyncio.Future[None]:
        """Return what is done when everything handled so far is durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered.append(future)
        return future

    def try_feed(self, event: Event) -> IllegalTransitionError | None:
        """Let the machine handle one event from outside; return why it was refused, if it was."""
        try:
            self.feed([event])
        except IllegalTransitionError as error:
            return error
        return None

    def feed(self, events: Sequence[Event]) -> None:
        """Let the machine handle events, and keep what is to be written, done and told."""
        machine = self.machine
        for event in events:
            before, fact = machine.status, fact_of(machine, event)
            outcome = machine.handle(event)
            if fact is not None:
                self.news.append((event.at, fact))
            for item in outcome:
                if isinstance(item, Command):
                    self.held.append(item)
                else:
                    self.news.append((event.at, item))
            if machine.status is not before:
                self.news.append((event.at, StatusChanged(before, machine.status, machine.reason)))
            self.unwritten.append(event)
