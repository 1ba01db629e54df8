"""What the journal says was bought, beside what the simulated server says it sold."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mge_ray.adapters.journal import load_events, load_execution, load_plan_of
from mge_ray.domain.events import GenerationArrived, GenerationFailed
from mge_ray.domain.generation import Billing, FailureKind
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.recovery import replay
from mge_ray.pipeline.report import build_report
from tests.cluster.chaos.setting import Setting


@dataclass(frozen=True)
class Books:
    """One execution's calls. `bought_again` are answers that the journal does not know and cannot have got."""

    bought_again: int
    lost_calls: int
    overspend_usd: float
    problems: tuple[str, ...]


def server_stats(url: str) -> dict[str, Any]:
    """Return the server's own books."""
    with urllib.request.urlopen(f"{url}/stats") as answer:  # noqa: S310  # our own server
        found: dict[str, Any] = json.load(answer)
    return found


def examine(
    db_url: str,
    execution_id: UUID,
    setting: Setting,
    stats: dict[str, Any],
    *,
    gateway_killed: bool,
    live: tuple[int, dict[str, Any]] | None,
) -> Books:
    """Compare; what must not be is a problem, in words."""
    plan, events = load_plan_of(db_url, execution_id), load_events(db_url, execution_id)
    machine = replay(execution_id, plan, events)
    problems = [*_ended_wrong(machine, setting)]
    if live is not None and replay(execution_id, plan, events[: live[0]]).snapshot() != live[1]:
        problems.append("the replay of the journal is not the live state")
    if load_execution(db_url, execution_id).state != execution_state(machine):
        problems.append("the stored state is not that of the journal")
    sold, known, lost = _calls(machine, events, setting, stats)
    again = {atom_id: sold[atom_id] - known[atom_id] for atom_id in setting.codes}
    never = sum(-count for count in again.values() if count < 0)
    bought_again = sum(count for count in again.values() if count > 0)
    if never:
        problems.append(f"{never} answers are in the journal and were never sold")
    if lost.total() and not gateway_killed:
        problems.append(f"{lost.total()} calls count as lost, and no gateway died")
    if any(count > lost[atom_id] for atom_id, count in again.items()):
        problems.append(f"{bought_again} answers bought twice, {lost.total()} calls were in flight at a dead gateway")
    return Books(bought_again, lost.total(), _overspend(machine, setting, stats, problems), tuple(problems))


def _ended_wrong(machine: ExecutionMachine, setting: Setting) -> list[str]:
    codes = machine.accepted_codes()
    if machine.in_flight:
        return [f"{machine.in_flight} calls and checks are in flight for ever"]
    if machine.status is ExecutionStatus.PAUSED and machine.reason.startswith("budget"):
        wrong = [atom_id for atom_id, code in codes.items() if code.strip() != setting.codes[atom_id].strip()]
        return [f"wrong code for {', '.join(wrong)}"] if wrong else []
    if machine.status is not ExecutionStatus.COMPLETED:
        return [f"it ended {machine.status.value}: {machine.reason}"]
    differ = [a for a, code in setting.codes.items() if codes.get(a, "").strip() != code.strip()]
    return [f"other code than undisturbed: {', '.join(differ)}"] if differ else []


def _calls(
    machine: ExecutionMachine, events: list[Any], setting: Setting, stats: dict[str, Any]
) -> tuple[dict[str, int], Counter[str], Counter[str]]:
    """Return per atom: answers sold, those the journal knows of, and calls lost with a gateway.

    What a call that failed by itself has cost is unknown, too, but this server bills each such call. The others of
    unknown spend were in flight at a gateway when it died, and may or may not have been billed.
    """
    answered = {event.call_id: event.atom_id for event in events if isinstance(event, GenerationArrived)}
    failed = {event.call_id: event for event in events if isinstance(event, GenerationFailed)}
    known, lost = Counter(answered.values()), Counter[str]()
    for call_id in machine.money.lost.keys() - answered.keys():
        event = failed.get(call_id)
        by_itself = event is not None and event.failure.kind is not FailureKind.GATEWAY_LOST
        (known if by_itself else lost)[call_id.split(":")[1]] += 1
    known.update(event.atom_id for event in failed.values() if event.failure.billing is Billing.BILLED)
    of = stats["atoms"]
    return {a: of[a]["billed_answers"] if a in of else 0 for a in setting.codes}, known, lost


def _overspend(machine: ExecutionMachine, setting: Setting, stats: dict[str, Any], problems: list[str]) -> float:
    """Return by how much the server's bill is over the budget, which is never."""
    money = machine.money
    billed_usd = sum(of["cost_usd"] for atom_id, of in stats["atoms"].items() if atom_id in setting.codes)
    if billed_usd > money.spent_usd + money.unknown_usd + 1e-9:
        problems.append(f"the bill is ${billed_usd:.6f}, and only {money.describe()} is accounted for")
    report = build_report(machine)
    if abs(report.unknown_cost_usd - money.unknown_usd) > 1e-9 or report.calls.unknown_spend != len(money.lost):
        problems.append(f"the report has {report.calls.unknown_spend} calls of unknown spend, not {len(money.lost)}")
    if money.limit_usd is None:
        return 0.0
    if money.spent_usd + money.reserved_usd + money.unknown_usd > money.limit_usd + 1e-9:
        problems.append(f"over the budget: {money.describe()}")
    return max(0.0, billed_usd - money.limit_usd)
