"""What a driven execution writes to the log: one line for each thing that happened, with its ids, without code.

Standard logging, silent until the process configures it (`adapters.logs`). The execution's id is bound by the driver.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from mge_ray.domain.commands import (
    AtomFinished,
    AttemptMade,
    ExecutionFinished,
    Notice,
    SoftLimitReached,
    WaveFinished,
)
from mge_ray.domain.generation import REMEDIES, Remedy
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state, wave_state
from mge_ray.execution.facts import (
    BudgetMoved,
    BudgetRefused,
    CallEnded,
    CheckEnded,
    CodeTaken,
    Fact,
    JournalAway,
    Recovered,
    StatusChanged,
    WorkerGone,
)

_log = logging.getLogger(__name__)

DEBUG, INFO, WARNING = logging.DEBUG, logging.INFO, logging.WARNING
Line = tuple[int, str, Mapping[str, Any]]


def log_news(machine: ExecutionMachine, news: Notice | Fact) -> None:
    """Write the line of a notice or fact."""
    level, message, fields = _LINES[type(news)](machine, news)
    if _log.isEnabledFor(level):
        atom_id = getattr(news, "atom_id", "")
        attempt = getattr(news, "attempt", 0)
        ids = ({"atom_id": atom_id} if atom_id else {}) | ({"attempt": attempt} if attempt else {})
        _log.log(level, message, extra={"execution_id": str(machine.execution_id), **ids, **fields})


def log_tenant_soft_limit(machine: ExecutionMachine, standing: str) -> None:
    """Log that most of the limit over all of the tenant's executions is used; `standing` has the sums."""
    _log.warning("70 %% of the limit is used: %s", standing, extra={"execution_id": str(machine.execution_id)})


def log_left(machine: ExecutionMachine, error: BaseException) -> None:
    """Write that the execution is driven no longer; a process that closes does so on purpose."""
    level = INFO if isinstance(error, asyncio.CancelledError) else WARNING
    fields = {"execution_id": str(machine.execution_id), "error": type(error).__name__}
    _log.log(level, "execution left", extra=fields)


def _call(_machine: ExecutionMachine, call: CallEnded) -> Line:
    fields = {"model": call.model, "latency_s": round(call.latency_s, 3), "cost_usd": call.cost_usd}
    if call.failure is None:
        usage = {"input_tokens": call.usage.input_tokens, "output_tokens": call.usage.output_tokens}
        return DEBUG, "call answered", fields | usage | {"shared": call.shared, "late": call.late}
    stops = REMEDIES[call.failure] is Remedy.STOP_RUN
    return (
        WARNING if stops else INFO,
        "call failed",
        fields | {"kind": call.failure.value, "billing": call.billing.value},
    )


def _check(_machine: ExecutionMachine, check: CheckEnded) -> Line:
    fields = {"level": check.level.value, "passed": check.passed, "seconds": round(sum(check.seconds.values()), 3)}
    above = not check.atom_id
    return INFO if above else DEBUG, "project checked" if above else "candidate checked", fields


def _worker(_machine: ExecutionMachine, _gone: WorkerGone) -> Line:
    return WARNING, "worker lost", {}


def _taken(_machine: ExecutionMachine, taken: CodeTaken) -> Line:
    return INFO, "code reused", {"saved_usd": taken.saved_usd}


def _refused(_machine: ExecutionMachine, refused: BudgetRefused) -> Line:
    return WARNING, "budget refused a call", {"scope": refused.scope}


def _moved(machine: ExecutionMachine, moved: BudgetMoved) -> Line:
    return INFO, "budget changed", {"limit_usd": moved.limit_usd, **_money(machine)}


def _status(machine: ExecutionMachine, changed: StatusChanged) -> Line:
    fields = {"status": changed.after.value, "before": changed.before.value, "reason": changed.reason}
    message = "execution ended" if changed.after.ended else f"execution {changed.after.value}"
    about = {"masterplan_id": str(machine.plan.masterplan_id), "atoms": len(machine.atoms)}
    return INFO, message, fields | about | _money(machine)


def _recovered(_machine: ExecutionMachine, recovered: Recovered) -> Line:
    return WARNING, "execution recovered", {"live_gateways": recovered.live_gateways}


def _away(_machine: ExecutionMachine, _away: JournalAway) -> Line:
    return WARNING, "journal away", {}


def _attempt(machine: ExecutionMachine, made: AttemptMade) -> Line:
    return DEBUG, "attempt made", {"passed": made.passed, "cost_usd": machine.atoms[made.atom_id].cost_usd}


def _atom(machine: ExecutionMachine, atom: AtomFinished) -> Line:
    record = machine.atoms[atom.atom_id]
    money = {"cost_usd": record.cost_usd, "unknown_usd": record.unknown_usd}
    fields = {"wave_id": atom.wave_id, "succeeded": atom.succeeded, "attempts": atom.attempts}
    return INFO, "atom finished", {**fields, "seconds": round(atom.active_s, 3), **money}


def _wave(machine: ExecutionMachine, wave: WaveFinished) -> Line:
    state = wave_state(machine, wave.wave_id)
    counts = {"succeeded": state.atoms_succeeded, "failed": state.atoms_failed, "blocked": state.atoms_blocked}
    return INFO, "wave finished", {"wave_id": wave.wave_id, **counts, "seconds": round(state.time_seconds, 3)}


def _soft(machine: ExecutionMachine, _reached: SoftLimitReached) -> Line:
    return WARNING, f"execution {machine.execution_id}: soft limit reached: {machine.money.describe()}", {}


def _finished(machine: ExecutionMachine, _finished: ExecutionFinished) -> Line:
    state = execution_state(machine)
    counts = {"succeeded": state.atoms_succeeded, "failed": state.atoms_failed, "blocked": state.atoms_blocked}
    fields = {**counts, "attempts": state.attempts, "seconds": round(state.total_time_seconds, 3)}
    return INFO, "execution finished", {"status": state.status.value, **fields, **_money(machine)}


def _money(machine: ExecutionMachine) -> dict[str, float]:
    return {"spent_usd": machine.money.spent_usd, "unknown_usd": machine.money.unknown_usd}


_LINES: dict[type, Callable[[ExecutionMachine, Any], Line]] = {
    CallEnded: _call,
    CheckEnded: _check,
    WorkerGone: _worker,
    CodeTaken: _taken,
    BudgetRefused: _refused,
    BudgetMoved: _moved,
    StatusChanged: _status,
    Recovered: _recovered,
    JournalAway: _away,
    AttemptMade: _attempt,
    AtomFinished: _atom,
    WaveFinished: _wave,
    SoftLimitReached: _soft,
    ExecutionFinished: _finished,
}
