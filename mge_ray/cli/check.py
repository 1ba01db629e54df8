"""`mge-ray check`: what a plan would take. Spends nothing, starts nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mge_ray.adapters.prices import PriceTable, parse_price
from mge_ray.cli.forecasting import make_forecast, table
from mge_ray.cli.options import DbOption, JsonOption, PlanArgument, PriceOption, database
from mge_ray.domain.forecast import Forecast
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL, EngineConfig

SHOWN_OF_THE_PATH = 12


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("check")
    def check(
        plan: PlanArgument,
        model: Annotated[str, typer.Option(help="Model to forecast for.")] = DEFAULT_MODEL,
        escalation_model: Annotated[
            str, typer.Option(help="Model of the last attempt where no temperature is taken; '' for none.")
        ] = DEFAULT_ESCALATION_MODEL,
        simulated: Annotated[
            bool, typer.Option("--simulate", help="Forecast a simulated run, from simulated history.")
        ] = False,
        concurrency: Annotated[int, typer.Option(min=1, max=100_000, help="Calls in flight at most.")] = 100,
        price: PriceOption = None,
        db: DbOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Check a plan and forecast its calls, tokens, cost and time. Spends nothing."""
        loaded = load_plan(plan)
        config = EngineConfig(engine_id="check", db_url=database(db), simulated=simulated)
        expected = make_forecast(
            loaded,
            attempt_policy(config, model, escalation_model or None),
            PriceTable(overrides=dict(parse_price(text) for text in price or [])),
            concurrency=concurrency,
            simulated=simulated,
            db_url=config.db_url,
        )
        if as_json:
            typer.echo(json.dumps({**_shape(loaded), **expected.model_dump(mode="json")}, indent=2))
        else:
            typer.echo(_text(loaded, expected))


def _shape(plan: Masterplan) -> dict[str, Any]:
    sizes = [len(wave.atom_ids) for wave in plan.waves]
    return {
        "name": plan.name,
        "atoms": len(plan.atoms),
        "waves": sizes,
        "widest_wave": max(sizes),
        "critical_path": list(plan.critical_path()),
    }


def _text(plan: Masterplan, expected: Forecast) -> str:
    shape = _shape(plan)
    path = shape["critical_path"]
    shown = path if len(path) <= SHOWN_OF_THE_PATH else [*path[: SHOWN_OF_THE_PATH - 1], "..."]
    width = max(len(assumption.name) for assumption in expected.assumptions)
    return "\n".join(
        [
            f"plan           {plan.name}: {len(plan.atoms)} atoms in {len(plan.waves)} waves",
            f"waves          {' '.join(str(size) for size in shape['waves'])} (widest {shape['widest_wave']})",
            f"critical path  {len(path)} atoms: {' -> '.join(shown)}",
            f"model          {expected.model}",
            "",
            *table(expected),
            "",
            f"assuming ({expected.runs} imagined runs)",
            *(f"  {one.name:{width}}  {one.value} [{one.source}]" for one in expected.assumptions),
        ]
    )
