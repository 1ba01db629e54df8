"""`mge-ray check`: what a plan would take. Spends nothing, starts nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import typer

from mge_ray.adapters.message_request import build_request, max_input_tokens
from mge_ray.adapters.prices import PriceTable, parse_price
from mge_ray.cli.options import JsonOption, PlanArgument, PriceOption
from mge_ray.domain.atom import AcceptedAtom
from mge_ray.domain.generation import Usage
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import AttemptSettings
from mge_ray.execution.ports import CallContext, PlanContext
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.wiring.settings import DEFAULT_MODEL

CALLS_PER_ATOM = 1.2
BYTES_PER_TOKEN = 4
TOKENS_PER_LINE = 12
TOKENS_AROUND_CODE = 150
SHOWN_OF_THE_PATH = 12


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan would take on `model`; `assumptions` say what the figures rest on."""

    name: str
    atoms: int
    waves: list[int]
    widest_wave: int
    critical_path: list[str]
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    assumptions: list[str]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("check")
    def check(
        plan: PlanArgument,
        model: str = typer.Option(DEFAULT_MODEL, help="Model to estimate for."),
        price: PriceOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Check a plan and estimate calls and cost. Spends nothing."""
        overrides = dict(parse_price(text) for text in price or [])
        estimated = estimate(load_plan(plan), model, PriceTable(overrides=overrides))
        typer.echo(json.dumps(asdict(estimated), indent=2) if as_json else _text(estimated))


def estimate(plan: Masterplan, model: str, prices: PriceTable) -> Estimate:
    """Estimate from the prompts' real sizes, without dependencies' code, and from the atoms' estimated lines."""
    context = PlanContext(plan.name, plan.description, plan.files)
    call = CallContext(settings=AttemptSettings(model, 4_096), plan=context)
    input_bytes = 0
    for atom in plan.atoms:
        dependencies = [AcceptedAtom(atom=plan.by_id[dependency]) for dependency in atom.depends_on]
        input_bytes += max_input_tokens(build_request(atom, dependencies, None, call))
    lines = sum(atom.estimated_loc for atom in plan.atoms)
    input_tokens = int(CALLS_PER_ATOM * input_bytes / BYTES_PER_TOKEN)
    output_tokens = int(CALLS_PER_ATOM * (lines * TOKENS_PER_LINE + len(plan.atoms) * TOKENS_AROUND_CODE))
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    sizes = [len(wave.atom_ids) for wave in plan.waves]
    return Estimate(
        name=plan.name,
        atoms=len(plan.atoms),
        waves=sizes,
        widest_wave=max(sizes),
        critical_path=list(plan.critical_path()),
        model=model,
        calls=round(CALLS_PER_ATOM * len(plan.atoms)),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=prices.cost_usd(model, usage) if prices.knows(model) else None,
        assumptions=[
            f"{CALLS_PER_ATOM} calls an atom",
            f"{BYTES_PER_TOKEN} bytes a token of prompt, nothing read from the prompt cache",
            f"{TOKENS_PER_LINE} tokens a line of code and {TOKENS_AROUND_CODE} around it, no thinking",
        ],
    )


def _text(estimated: Estimate) -> str:
    path = estimated.critical_path
    shown = path if len(path) <= SHOWN_OF_THE_PATH else [*path[: SHOWN_OF_THE_PATH - 1], "..."]
    cost = "no price known; give one with --price" if estimated.cost_usd is None else f"about ${estimated.cost_usd:.2f}"
    return "\n".join(
        [
            f"plan           {estimated.name}: {estimated.atoms} atoms in {len(estimated.waves)} waves",
            f"waves          {' '.join(str(size) for size in estimated.waves)} (widest {estimated.widest_wave})",
            f"critical path  {len(path)} atoms: {' -> '.join(shown)}",
            f"calls          about {estimated.calls} to {estimated.model}",
            f"tokens         about {estimated.input_tokens:,} in, {estimated.output_tokens:,} out",
            f"cost           {cost}",
            f"assuming       {'; '.join(estimated.assumptions)}",
        ]
    )
