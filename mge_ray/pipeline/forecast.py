"""forecast: what a plan will take, as p10, p50 and p90 of calls, tokens, US dollars and wall time.

Pure, and a small seeded Monte Carlo. Closed forms exist for calls alone (a negative binomial cut at the last attempt);
cost depends on which calls find the prompt's prefix cached, and time on the longest of many chains under two limits
(leases, cores), so a few hundred executions are imagined as the engine would schedule them (`forecast_draw`) and their
quantiles taken. Each imagined world first draws its own rates and medians, as uncertain as they are known: a forecast
from a guess is wide, one from a thousand measured calls narrow. The same plan and assumptions give the same forecast.

Which assumptions, and from where, is decided in `forecast_basis`; this module only computes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from random import Random

from mge_ray.domain.forecast import Assumption, Forecast, Quantiles
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.forecast_draw import Assumptions, Drawn, draw_run
from mge_ray.pipeline.plan_sizes import plan_shape

SEED = 20_261_125
MOST_RUNS, FEWEST_RUNS = 400, 60
ATOMS_IMAGINED = 120_000
"""All imagined runs together; about two seconds of one core."""


def forecast(
    plan: Masterplan, assumed: Assumptions, stated: Sequence[Assumption] = (), *, seed: int = SEED
) -> Forecast:
    """Return the forecast for a plan; `stated` is what to tell people about the assumptions."""
    shape = plan_shape(plan)
    runs = max(FEWEST_RUNS, min(MOST_RUNS, ATOMS_IMAGINED // len(shape.atoms)))
    rng = Random(seed)  # noqa: S311  # chance, not secrets
    return summary([draw_run(shape, assumed, rng) for _ in range(runs)], assumed, stated)


def summary(drawn: Sequence[Drawn], assumed: Assumptions, stated: Sequence[Assumption] = ()) -> Forecast:
    """Return the quantiles of imagined runs."""
    return Forecast(
        model=assumed.policy.model,
        calls=_quantiles([run.calls for run in drawn]),
        input_tokens=_quantiles([run.input_tokens for run in drawn]),
        output_tokens=_quantiles([run.output_tokens for run in drawn]),
        cost_usd=None if assumed.cost is None else _quantiles([run.cost_usd for run in drawn]),
        wall_s=_quantiles([run.wall_s for run in drawn]),
        runs=len(drawn),
        assumptions=tuple(stated),
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Quantiles(p10=tenths[0], p50=tenths[4], p90=tenths[8])
