"""Forecasts for `check` and `run`: the journal's history, the prices and the limits brought to `pipeline.forecast`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mge_ray.adapters.journal import StoredExecution, list_executions, load_events, load_plan_of
from mge_ray.adapters.prices import PriceTable
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.forecast import Forecast, Quantiles
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.pipeline.forecast import forecast
from mge_ray.pipeline.forecast_basis import Told, assume
from mge_ray.pipeline.forecast_report import ForecastReport, ForecastRow
from mge_ray.pipeline.measured import Measured, measure
from mge_ray.pipeline.observed import Observed, observe
from mge_ray.simulator.config import SimulatorConfig, parse_latency
from mge_ray.simulator.kinds import AnswerFault, TransportFault
from mge_ray.wiring.build import price_table
from mge_ray.wiring.settings import EngineConfig

LOOKED_THROUGH = 100
PLANNING = "planning "
EXECUTIONS_USED = 3
EVENTS_READ = 40_000


def make_forecast(
    plan: Masterplan,
    policy: AttemptPolicy,
    prices: PriceTable,
    *,
    concurrency: int,
    simulated: bool,
    db_url: str,
    server: SimulatorConfig | None = None,
) -> Forecast:
    """Return what the plan will take with this policy; history is taken from the journal if there is one."""
    models = [model for model in (policy.model, policy.escalation_model) if model]
    known = all(prices.knows(model) for model in models)
    assumed, stated = assume(
        policy,
        concurrency=concurrency,
        cores=os.cpu_count() or 1,
        cost=prices.cost_usd if known else None,
        prices="the price table and --price" if known else "give one with --price",
        measured=history(db_url, policy.model, simulated=simulated),
        simulated=simulated,
        told=told(server) if server else None,
    )
    return forecast(plan, assumed, stated)


def with_forecast(
    settings: ExecutionSettings, plan: Masterplan, config: EngineConfig, server: SimulatorConfig | None
) -> ExecutionSettings:
    """Return the settings with what is expected of the plan: stored at the start, and compared at the end."""
    expected = make_forecast(
        plan,
        settings.policy,
        price_table(config),
        concurrency=settings.max_concurrency,
        simulated=settings.simulated,
        db_url=config.db_url,
        server=server,
    )
    return settings.model_copy(update={"forecast": expected})


def history(db_url: str, model: str, *, simulated: bool) -> Measured:
    """Return what the latest executions of `model` measured; live and simulated ones are never mixed."""
    try:
        stored = list_executions(db_url, LOOKED_THROUGH)
    except MgeRayError:  # no journal yet, or none that can be read: there is no history
        return Measured()
    seen: list[Observed] = []
    left = EVENTS_READ
    for execution in _fitting(stored, model, simulated=simulated):
        if len(seen) == EXECUTIONS_USED or execution.last_seq > left:
            break
        try:
            plan = load_plan_of(db_url, execution.execution_id)
            seen.append(observe(execution.execution_id, plan, load_events(db_url, execution.execution_id)))
        except MgeRayError:
            continue
        left -= execution.last_seq
    return measure(seen, model)


def _fitting(stored: Sequence[StoredExecution], model: str, *, simulated: bool) -> list[StoredExecution]:
    found = []
    for execution in stored:
        try:
            settings = execution.settings
        except MgeRayError:
            continue
        planned = execution.name.startswith(PLANNING)  # a stage of planning: documents, not code
        of_that_kind = settings.policy.model == model and settings.simulated is simulated
        if of_that_kind and execution.state.attempts and not planned:
            found.append(execution)
    return found


def told(server: SimulatorConfig) -> Told:
    """Return what the simulated server was told to do."""
    latency = parse_latency(server.latency)
    return Told(
        rejected=sum(getattr(server, f"rate_{kind.value}") for kind in AnswerFault),
        unanswered=sum(getattr(server, kind.rate_field) for kind in TransportFault),
        latency_median_s=latency.median_s,
        latency_sigma=latency.sigma,
        text="the simulated server's --fault and --latency",
    )


def told_shortly(expected: Forecast) -> str:
    """Return the forecast in one line: p10 to p90 of calls, cost and time."""
    parts = [f"{_range(expected.calls, ',.0f')} calls"]
    if expected.cost_usd is not None:
        parts.append(f"${_range(expected.cost_usd, _digits(expected.cost_usd.p90))}")
    parts.append(f"{_range(expected.wall_s, ',.0f')} s")
    return f"{', '.join(parts)} (p10 to p90)"


def against_actual(told_before: ForecastReport) -> str:
    """Return how the forecast held, in one line."""
    if not told_before.final:
        return "not compared: the execution did not go to its end"
    known = [row for row in told_before.rows if row.inside is not None]
    outside = [_outside(row) for row in known if not row.inside]
    held = f"{len(known) - len(outside)} of {len(known)} figures within p10 to p90"
    return f"{held}; outside: {', '.join(outside)}" if outside else held


def table(expected: Forecast) -> list[str]:
    """Return the forecast as lines of a table."""
    rows = [
        ("calls", expected.calls, ",.0f", ""),
        ("input tokens", expected.input_tokens, ",.0f", ""),
        ("output tokens", expected.output_tokens, ",.0f", ""),
        *([("cost", cost, _digits(cost.p90), "$")] if (cost := expected.cost_usd) else []),
        ("seconds", expected.wall_s, ",.1f", ""),
    ]
    lines = [f"{'':14} {'p10':>12} {'p50':>12} {'p90':>12}"]
    for name, spread, form, unit in rows:
        cells = (f"{unit}{value:{form}}" for value in (spread.p10, spread.p50, spread.p90))
        lines.append(f"{name:14} {' '.join(f'{cell:>12}' for cell in cells)}")
    if expected.cost_usd is None:
        lines.append(f"{'cost':14} no price known; give one with --price")
    return lines


def _outside(row: ForecastRow) -> str:
    side = "below p10" if (row.actual or 0) < row.p10 else "above p90"
    return f"{row.figure.lower()} {side}"


def _range(spread: Quantiles, form: str) -> str:
    return f"{spread.p10:{form}} to {spread.p90:{form}}"


def _digits(most: float) -> str:
    return ",.2f" if most >= 1 else ",.4f"
