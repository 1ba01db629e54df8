"""Forecast against actual: what an execution was expected to take beside what it took.

Pure. Only an execution that went to its end is held against its forecast: a part of a run took less for another reason.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.forecast import Assumption, Forecast, Quantiles
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import ExecutionStatus
from mge_ray.pipeline.observed import Observed


class ForecastRow(BaseModel):
    """One figure. `inside` tells whether the actual lies in p10..p90; both None where it is not known or not final."""

    model_config = ConfigDict(frozen=True)

    figure: str
    unit: str
    p10: float
    p50: float
    p90: float
    actual: float | None
    inside: bool | None


class ForecastReport(BaseModel):
    """The forecast that was made before the start, with what happened."""

    model_config = ConfigDict(frozen=True)

    final: bool
    rows: tuple[ForecastRow, ...]
    assumptions: tuple[Assumption, ...]


def compare(machine: ExecutionMachine, seen: Observed | None) -> ForecastReport | None:
    """Return the execution's forecast with the actual figures; None where no forecast was made."""
    forecast = machine.settings.forecast if machine.settings else None
    if forecast is None:
        return None
    state = execution_state(machine)
    final = state.status in {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED}
    usage = seen.usage if seen else None
    known: dict[str, float | None] = {
        "calls": machine.answers + sum(machine.calls_without_answer.values()),
        "input_tokens": usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": state.total_cost_usd,
        "wall_s": state.total_time_seconds,
    }
    rows = [_row(name, spread, known[name] if final else None) for name, spread in _figures(forecast)]
    return ForecastReport(final=final, rows=tuple(rows), assumptions=forecast.assumptions)


def _figures(forecast: Forecast) -> list[tuple[str, Quantiles]]:
    figures = [(name, getattr(forecast, name)) for name in FIGURES]
    return [(name, spread) for name, spread in figures if spread is not None]


FIGURES = {
    "calls": ("Calls", ""),
    "input_tokens": ("Input tokens", ""),
    "output_tokens": ("Output tokens", ""),
    "cost_usd": ("Cost", "$"),
    "wall_s": ("Time", "s"),
}


def _row(name: str, spread: Quantiles, actual: float | None) -> ForecastRow:
    figure, unit = FIGURES[name]
    return ForecastRow(
        figure=figure,
        unit=unit,
        p10=spread.p10,
        p50=spread.p50,
        p90=spread.p90,
        actual=actual,
        inside=None if actual is None else spread.p10 <= actual <= spread.p90,
    )
