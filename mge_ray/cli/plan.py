"""`mge-ray plan`: a specification in natural language becomes a plan file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mge_ray.cli.on_ray import RunError
from mge_ray.cli.options import DbOption, FreshOption, JsonOption, PriceOption, check_folder
from mge_ray.cli.run import make_request
from mge_ray.cli.run_flags import (
    AddressOption,
    BudgetOption,
    ConcurrencyOption,
    EscalationOption,
    FaultOption,
    LatencyOption,
    LiveOption,
    ModelOption,
    SandboxOption,
    SeedOption,
    SimulatedOption,
    TemperatureOption,
)
from mge_ray.cli.spec_run import execute_plan_only
from mge_ray.domain.cost import DEFAULT_BUDGET_USD
from mge_ray.pipeline.spec.spec_file import load_spec
from mge_ray.pipeline.spec.steps import requirements_stage
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("plan")
    def plan(
        spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Specification, Markdown or plain text.")],
        out: Annotated[Path, typer.Option(help="Plan file to write, YAML or JSON by its name.")] = Path("plan.yaml"),
        simulated: SimulatedOption = False,
        answers: Annotated[
            Path | None, typer.Option(help="Answers of the simulated server. [answers.json beside the specification]")
        ] = None,
        fault: FaultOption = None,
        latency: LatencyOption = "fixed:0",
        seed: SeedOption = 0,
        live: LiveOption = False,
        model: ModelOption = DEFAULT_MODEL,
        escalation_model: EscalationOption = DEFAULT_ESCALATION_MODEL,
        budget: BudgetOption = DEFAULT_BUDGET_USD,
        price: PriceOption = None,
        concurrency: ConcurrencyOption = 100,
        temperature: TemperatureOption = None,
        sandbox: SandboxOption = None,
        address: AddressOption = None,
        db: DbOption = None,
        fresh: FreshOption = False,
        as_json: JsonOption = False,
    ) -> None:
        """Make a plan from a specification: requirements, interfaces, atoms, tests. Executes nothing."""
        loaded = load_spec(spec)
        if out.is_dir():
            raise RunError(f"--out {out} is a folder; name a file")
        request = make_request(
            requirements_stage(loaded.title, loaded.text).plan,
            source=spec,
            out=None,
            reports=(),
            simulated=simulated,
            live=live,
            answers=answers,
            wrong_answers=None,
            fault=fault or [],
            latency=latency,
            seed=seed,
            model=model,
            escalation_model=escalation_model or None,
            budget=budget,
            price=price or [],
            concurrency=concurrency,
            max_tokens=4_096,
            atom_timeout=300.0,
            call_timeout=120.0,
            temperature=temperature,
            sandbox=sandbox,
            address=address,
            db=db,
            as_json=as_json,
        )
        check_folder("--out", out)
        sys.exit(execute_plan_only(request, loaded, out, fresh=fresh))
