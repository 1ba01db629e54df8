"""Views of a machine: what API, CLI and reports read. Nothing here changes anything."""

from __future__ import annotations

from datetime import datetime, timezone

from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.errors import UnknownExecutionError
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.retry import feedback
from mge_ray.domain.state import AtomState, AtomStatus, ExecutionState, WaveState


def execution_state(machine: ExecutionMachine, *, now: float | None = None) -> ExecutionState:
    """Return the execution as the outside sees it; `now` (seconds since the epoch) lets a running time go on."""
    ended = machine.ended
    settings = machine.settings
    return ExecutionState(
        execution_id=machine.execution_id,
        masterplan_id=machine.plan.masterplan_id,
        name=machine.plan.name,
        status=machine.status,
        reason=machine.reason,
        current_wave=machine.current_wave,
        total_waves=len(machine.plan.waves),
        atoms_total=len(machine.atoms),
        atoms_completed=sum(ended.values()),
        atoms_succeeded=ended[AtomStatus.SUCCEEDED],
        atoms_failed=ended[AtomStatus.FAILED],
        atoms_blocked=ended[AtomStatus.BLOCKED],
        atoms_in_flight=machine.in_flight,
        atoms_reused=machine.atoms_reused,
        attempts=machine.attempts_made,
        retried_atoms=machine.retried_atoms,
        transport_errors=machine.transport_errors,
        total_cost_usd=machine.money.spent_usd,
        reserved_cost_usd=machine.money.reserved_usd,
        unknown_cost_usd=machine.money.unknown_usd,
        budget_usd=machine.money.limit_usd,
        soft_limit_reached=machine.money.soft_limit_reached,
        forecast_cost_usd=machine.forecast_usd,
        total_time_seconds=_elapsed_s(machine, now),
        started_at=_moment(machine.started_at),
        completed_at=_moment(machine.ended_at),
        simulated=bool(settings and settings.simulated),
    )


def wave_state(machine: ExecutionMachine, wave_id: int) -> WaveState:
    """Return one wave as the outside sees it; raise UnknownExecutionError if there is none of that number."""
    if not 1 <= wave_id <= len(machine.plan.waves):
        raise UnknownExecutionError(f"wave {wave_id} does not exist; waves are 1 to {len(machine.plan.waves)}")
    records = [machine.atoms[atom_id] for atom_id in machine.plan.waves[wave_id - 1].atom_ids]
    began, finished = machine.wave_times.get(wave_id, (0.0, 0.0))
    return WaveState(
        wave_id=wave_id,
        atoms_total=len(records),
        atoms_completed=sum(record.status.ended for record in records),
        atoms_succeeded=_count(records, AtomStatus.SUCCEEDED),
        atoms_failed=_count(records, AtomStatus.FAILED),
        atoms_blocked=_count(records, AtomStatus.BLOCKED),
        attempts=sum(len(record.attempts) for record in records),
        cost_usd=sum(record.cost_usd for record in records),
        time_seconds=max(0.0, (finished or machine.last_at) - began) if began else 0.0,
    )


def atom_state(machine: ExecutionMachine, atom_id: str) -> AtomState:
    """Return one atom as the outside sees it; raise UnknownExecutionError if there is none of that id."""
    if atom_id not in machine.atoms:
        raise UnknownExecutionError(f"execution {machine.execution_id} has no atom {atom_id!r}")
    record = machine.atoms[atom_id]
    last = record.last_try
    return AtomState(
        atom_id=atom_id,
        wave_id=record.wave_id,
        status=record.status,
        attempts=len(record.attempts),
        transport_errors=record.transport_errors,
        cost_usd=record.cost_usd,
        unknown_cost_usd=record.unknown_usd,
        time_seconds=record.active_s,
        cause=record.cause,
        code=record.code,
        errors=feedback(last.verdict) if last else (),
        reused_from=record.reused.source if record.reused else "",
    )


def _count(records: list[AtomRecord], status: AtomStatus) -> int:
    return sum(record.status is status for record in records)


def _elapsed_s(machine: ExecutionMachine, now: float | None) -> float:
    if machine.started_at is None:
        return 0.0
    until = machine.ended_at or machine.paused_at or max(machine.last_at, now or 0.0)
    return max(0.0, until - machine.started_at - machine.paused_s)


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, tz=timezone.utc)
