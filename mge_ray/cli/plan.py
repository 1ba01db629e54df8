"""`mge-ray plan`: a specification in natural language becomes a plan file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mge_ray.cli.on_ray import RunError
from mge_ray.cli.options import DbOption, FreshOption, JsonOption, PriceOption, check_folder
from mge_ray.cli.run import DEFAULT_BUDGET_USD, HELP_FAULT, make_request
from mge_ray.cli.spec_run import execute_plan_only
from mge_ray.pipeline.spec.spec_file import load_spec
from mge_ray.pipeline.spec.steps import requirements_stage
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("plan")
    def plan(
        spec: Annotated[Path, typer.Argument(metavar="SPEC", help="Specification, Markdown or plain text.")],
        out: Annotated[Path, typer.Option(help="Plan file to write, YAML or JSON by its name.")] = Path("plan.yaml"),
        simulated: Annotated[
            bool, typer.Option("--simulate", help="Use the bundled simulated Messages server; no key, no money.")
        ] = False,
        answers: Annotated[
            Path | None, typer.Option(help="Answers of the simulated server. [answers.json beside the specification]")
        ] = None,
        fault: Annotated[list[str] | None, typer.Option(metavar="NAME=RATE", help=HELP_FAULT)] = None,
        latency: Annotated[str, typer.Option(help="Simulated latency: fixed:S or lognormal:MEDIAN:SIGMA.")] = "fixed:0",
        seed: Annotated[int, typer.Option(help="Seed of the simulated faults.")] = 0,
        live: Annotated[bool, typer.Option("--live", help="Call the real provider; spends real money.")] = False,
        model: Annotated[str, typer.Option(help="Model of the attempts.")] = DEFAULT_MODEL,
        escalation_model: Annotated[
            str, typer.Option(help="Model of the last attempt where no temperature is taken; '' for none.")
        ] = DEFAULT_ESCALATION_MODEL,
        budget: Annotated[float, typer.Option(min=0, help="Hard limit in US dollars.")] = DEFAULT_BUDGET_USD,
        price: PriceOption = None,
        concurrency: Annotated[int, typer.Option(min=1, max=100_000, help="Calls in flight at most.")] = 100,
        temperature: Annotated[
            bool | None, typer.Option(help="The endpoint takes a temperature (compatible servers). [by model]")
        ] = None,
        sandbox: Annotated[
            str | None, typer.Option(help="Isolation: bubblewrap, namespaces, restricted or none. [strongest]")
        ] = None,
        address: Annotated[
            str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to join. [a local one is started]")
        ] = None,
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
