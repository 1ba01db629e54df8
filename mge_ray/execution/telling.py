"""What a driven execution tells: notices to who watches it, numbers to the metrics, warnings to the log."""

from __future__ import annotations

import logging

from mge_ray.domain.commands import AtomFinished, AttemptMade, Notice, SoftLimitReached, WaveFinished
from mge_ray.domain.progress import execution_state, wave_state
from mge_ray.execution.run import ExecutionRun

_log = logging.getLogger(__name__)


def tell(run: ExecutionRun) -> None:
    """Tell what the turn has brought."""
    notices, run.notices = run.notices, []
    for notice in notices:
        _count(run, notice)
        if run.watch:
            run.watch(notice)
    if any(isinstance(notice, AtomFinished) for notice in notices):
        _tell_progress(run)
    if run.account is not None and run.account.soft_limit_to_tell():
        _log.warning("70 %% of the limit is used: %s", run.account.describe())
    spent_usd = run.machine.money.spent_usd
    if spent_usd > run.told_cost_usd:
        run.metrics.cost_added(usd=spent_usd - run.told_cost_usd)
        run.told_cost_usd = spent_usd


def _count(run: ExecutionRun, notice: Notice) -> None:
    machine = run.machine
    if isinstance(notice, AttemptMade):
        run.metrics.attempt_made(
            attempt=notice.attempt, passed=notice.passed, temperature_changed=notice.temperature_changed
        )
    elif isinstance(notice, AtomFinished):
        run.metrics.atom_finished(succeeded=notice.succeeded, attempts=notice.attempts, duration_s=notice.active_s)
    elif isinstance(notice, WaveFinished):
        wave = wave_state(machine, notice.wave_id)
        run.metrics.wave_progress(
            wave_id=wave.wave_id,
            completed=wave.atoms_completed,
            total=wave.atoms_total,
            elapsed_s=wave.time_seconds,
            finished=True,
        )
    elif isinstance(notice, SoftLimitReached):
        _log.warning("execution %s: soft limit reached: %s", machine.execution_id, machine.money.describe())
        run.metrics.soft_limit_reached()
    else:
        state = execution_state(machine)
        run.metrics.execution_finished(precision_percent=state.precision_percent, duration_s=state.total_time_seconds)


def _tell_progress(run: ExecutionRun) -> None:
    """Tell how far the open wave is, once a turn: a wave that is done was told as finished."""
    machine = run.machine
    began_at, finished_at = machine.wave_times[machine.current_wave]
    if not finished_at:
        total = len(machine.plan.waves[machine.current_wave - 1].atom_ids)
        run.metrics.wave_progress(
            wave_id=machine.current_wave,
            completed=total - machine.open_in_wave,
            total=total,
            elapsed_s=max(0.0, machine.last_at - began_at),
            finished=False,
        )
