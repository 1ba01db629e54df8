"""Forecast: what an execution was expected to take before it began, as it is stored with its settings.

Owns the data alone. Making one is left to `pipeline.forecast`; comparing it with what happened, to the report.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Quantiles(BaseModel):
    """One figure's spread: one run in ten stays below `p10`, half below `p50`, nine in ten below `p90`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    p10: float
    p50: float
    p90: float


class Assumption(BaseModel):
    """One thing the forecast rests on, in words for people, and where it is from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: str
    source: str


class Forecast(BaseModel):
    """What a plan was expected to take: calls, tokens, US dollars (None without a price), seconds.

    `calls` counts every call sent, also those that end without an answer. `input_tokens` include cached ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    calls: Quantiles
    input_tokens: Quantiles
    output_tokens: Quantiles
    cost_usd: Quantiles | None
    wall_s: Quantiles
    runs: int
    assumptions: tuple[Assumption, ...]
