"""What a driven execution tells: notices to its watchers, numbers to metrics, spans to traces, lines to the log.

Owns who is told what; what a line says is left to `logbook`.
"""

from __future__ import annotations

from mge_ray.domain.commands import (
    AtomFinished,
    AttemptMade,
    ExecutionFinished,
    Notice,
    SoftLimitReached,
    WaveFinished,
)
from mge_ray.domain.progress import execution_state, wave_state
from mge_ray.execution.facts import CallsUnanswered, Fact, standing_of
from mge_ray.execution.logbook import log_left, log_news, log_tenant_soft_limit
from mge_ray.execution.run import ExecutionRun


def tell(run: ExecutionRun) -> None:
    """Tell what the turn has brought."""
    news, run.news = run.news, []
    for at, item in news:
        _count(run, item)
        log_news(run.machine, item)
        if run.traces:
            run.traces.told(item, at=at)
        if run.watch and isinstance(item, Notice):
            run.watch(item)
    if any(isinstance(item, AtomFinished) for _, item in news):
        _tell_progress(run)
    if run.account is not None and run.account.soft_limit_to_tell():
        log_tenant_soft_limit(run.machine, run.account.describe())
    spent_usd = run.machine.money.spent_usd
    if spent_usd > run.told_cost_usd:
        run.metrics.cost_added(usd=spent_usd - run.told_cost_usd)
        run.told_cost_usd = spent_usd
    for how, count in run.machine.calls_without_answer.items():
        if more := count - run.told_unanswered.get(how, 0):
            kind, _, billing = how.partition(":")
            run.metrics.happened(CallsUnanswered(kind, billing, more))
            run.told_unanswered[how] = count
    run.metrics.standing(standing_of(run.machine, journal_away=bool(run.trouble)))


def tell_at_once(run: ExecutionRun, fact: Fact) -> None:
    """Tell a fact that no turn may come for."""
    run.metrics.happened(fact)
    log_news(run.machine, fact)


def tell_left(run: ExecutionRun, error: BaseException) -> None:
    """Tell that this process drives the execution no longer, though it has not settled."""
    run.metrics.standing(standing_of(run.machine, journal_away=False, driven=False))
    log_left(run.machine, error)


def _count(run: ExecutionRun, news: Notice | Fact) -> None:
    machine = run.machine
    if isinstance(news, AttemptMade):
        run.metrics.attempt_made(attempt=news.attempt, passed=news.passed, temperature_changed=news.temperature_changed)
    elif isinstance(news, AtomFinished):
        run.metrics.atom_finished(succeeded=news.succeeded, attempts=news.attempts, duration_s=news.active_s)
    elif isinstance(news, WaveFinished):
        wave = wave_state(machine, news.wave_id)
        run.metrics.wave_progress(
            wave_id=wave.wave_id,
            completed=wave.atoms_completed,
            total=wave.atoms_total,
            elapsed_s=wave.time_seconds,
            finished=True,
        )
    elif isinstance(news, SoftLimitReached):
        run.metrics.soft_limit_reached()
    elif isinstance(news, ExecutionFinished):
        state = execution_state(machine)
        run.metrics.execution_finished(precision_percent=state.precision_percent, duration_s=state.total_time_seconds)
    else:
        run.metrics.happened(news)


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
