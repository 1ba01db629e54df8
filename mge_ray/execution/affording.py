"""Which of the calls that could be made may be made with the money there is."""

from __future__ import annotations

from collections.abc import Sequence

from mge_ray.domain.events import AtomBudgetExceeded
from mge_ray.execution.facts import BUDGET_PAUSE
from mge_ray.execution.offer import Offer
from mge_ray.execution.run import ExecutionRun

OF_THE_TENANT = "budget of the tenant"
"""Begins the reason of an execution that is paused for the limit of all of its tenant's together."""


def affordable(run: ExecutionRun, offers: Sequence[Offer]) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """Return the leases of the calls that fit the budgets together, with atom and reservation, and the other atoms."""
    wanted: dict[str, tuple[str, float]] = {}
    refused: list[str] = []
    batch_usd = 0.0
    for offer in offers:
        if run.machine.money.fits(batch_usd + offer.usd) and run.tenant_affords(batch_usd + offer.usd):
            wanted[offer.lease_id] = (offer.atom_id, offer.usd)
            batch_usd += offer.usd
        else:
            refused.append(offer.atom_id)
    return wanted, refused


def out_of_money(run: ExecutionRun, usd: float) -> str:
    """Return why a call of at most `usd` cannot be made until a limit is raised; empty where it can or may yet.

    What the tenant's other executions have in flight may still leave enough when it has landed.
    """
    if not run.machine.money.fits(usd):
        return f"{BUDGET_PAUSE}the next call can cost up to ${usd:.4f}; {run.machine.money.describe()}"
    if run.account is not None and not run.account.may_fit_later(usd):
        return f"{OF_THE_TENANT}: the next call can cost up to ${usd:.4f}; {run.account.describe()}"
    return ""


def end_the_too_dear(run: ExecutionRun, ready: Sequence[str], now: float) -> bool:
    """End the atoms whose next call does not fit the limit of a single atom; return whether there were any."""
    settings = run.machine.settings
    if settings is None or settings.atom_budget_usd is None:
        return False
    suspects = [atom_id for atom_id in ready if not run.machine.fits_atom(atom_id, run.offer(atom_id).usd)]
    for atom_id in suspects:
        run.offers.pop(atom_id)  # answers that came meanwhile may have taught a lower price
    offers = [(atom_id, run.offer(atom_id).usd) for atom_id in suspects]
    too_dear = [AtomBudgetExceeded(now, *offer) for offer in offers if not run.machine.fits_atom(*offer)]
    for event in too_dear:
        run.try_feed(event)  # it may have ended with another one that it rests on
    return bool(too_dear)
