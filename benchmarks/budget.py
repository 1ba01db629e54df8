"""A budget of a quarter of a plan's cost at 100 leases, beside the provider's own books. Simulated server.

    python benchmarks/budget.py [--share 0.25] [--leases 100] [--seed 1]

The plan's cost is measured first, without a limit that matters. Then it is executed under that share of it, once with
max_tokens as the policy has them and once with those learned from answers. All the while the server's `/stats` and the
ledger are looked at: billed <= spent + reserved + unknown <= limit. When it has paused, the limit is raised and the
execution resumed to its end. Exits with 1 if the limit was passed, the reason is another, or something is left undone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from simulated import Engine, open_simulated

from mge_ray.adapters.journal import load_events, load_plan_of
from mge_ray.cli.forecasting import with_forecast
from mge_ray.cli.simulate import configuration
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import BudgetError
from mge_ray.domain.events import LeaseGranted, PauseRequested
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState
from mge_ray.pipeline.observed import observe
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.simulator.config import SimulatorConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "bookkeeping"
FAULTS = ("--rate-wrong=0.2", "--rate-429=0.05", "--rate-529=0.03", "--rate-stall=0.02", "--latency=lognormal:1:0.4")
CALL_TIMEOUT_S = 5.0
AMPLE_USD = 200.0
POLL_S = 0.1


@dataclass(frozen=True)
class Looks:
    """What was seen while it ran: the most that was billed and committed (US dollars), and calls in flight."""

    billed_usd: float = 0.0
    committed_usd: float = 0.0
    in_flight: int = 0
    looks: int = 0
    unaccounted: int = 0


def main() -> None:
    """Measure the plan's cost, then run it under a share of that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--leases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plan", type=Path, default=EXAMPLE / "plan.yaml")
    parser.add_argument("--answers", type=Path, default=EXAMPLE / "answers.json")
    parser.add_argument("--wrong-answers", type=Path, default=EXAMPLE / "wrong_answers.json")
    parser.add_argument("--cost", type=float, help="what the plan costs in US dollars, where it is known")
    parser.add_argument("--only", choices=["own", "learned"], help="one of the two runs under the limit")
    arguments = parser.parse_args()
    plan = load_plan(arguments.plan)
    files = [f"--answers={arguments.answers}", f"--wrong-answers={arguments.wrong_answers}"]
    simulator = configuration([*files, f"--seed={arguments.seed}", *FAULTS])
    print(f"{plan.name}: {len(plan.atoms)} atoms, {arguments.leases} leases; simulated server with {' '.join(FAULTS)}")
    limit_usd = arguments.share * (arguments.cost or measured_cost(plan, simulator, arguments.leases))
    wanted = {"own": [False], "learned": [True], None: [False, True]}[arguments.only]
    held = [under_limit(plan, simulator, arguments.leases, limit_usd, learns=learns) for learns in wanted]
    sys.exit(not all(held))


def measured_cost(plan: Masterplan, simulator: SimulatorConfig, leases: int) -> float:
    """Run without a limit that matters; return what the provider has billed."""
    with opened(simulator, leases, AMPLE_USD) as engine:
        report = engine.run(plan).report
        cost_usd = float(engine.books()["cost_usd"])
    seconds = report.total_time_seconds
    print(f"without a limit that matters: ${cost_usd:.4f} billed, {seconds:.1f} s", flush=True)
    return cost_usd


@contextlib.contextmanager
def opened(simulator: SimulatorConfig, leases: int, budget_usd: float) -> Iterator[Engine]:
    """Open an engine whose journal lies in a temporary folder."""
    wishes = {"leases": leases, "call_timeout_s": CALL_TIMEOUT_S, "budget_usd": budget_usd}
    with tempfile.TemporaryDirectory() as folder, open_simulated(simulator, folder, **wishes) as engine:
        yield engine


def under_limit(plan: Masterplan, simulator: SimulatorConfig, leases: int, limit_usd: float, *, learns: bool) -> bool:
    """Run under the limit to the pause, raise it, go on to the end; print what was seen, return whether all held."""
    with opened(simulator, leases, limit_usd) as engine:
        policy = engine.settings.policy.model_copy(update={"learns_max_tokens": learns})
        settings = with_forecast(engine.settings.model_copy(update={"policy": policy}), plan, engine.config, simulator)
        try:
            execution_id = engine.client.start(plan, settings)
        except BudgetError as error:
            print(f"limit ${limit_usd:.4f}, max_tokens {'learned' if learns else 'as the policy has them'}: {error}")
            return not learns
        seen = watch(engine, execution_id)
        paused = engine.client.state(execution_id)
        billed_usd, report = engine.books()["cost_usd"], engine.client.report(execution_id)
        pause_s, attempt_s = times(engine, execution_id)
        engine.client.set_budget(execution_id, AMPLE_USD, "benchmark", "the rest is wanted, too")
        engine.client.resume(execution_id)
        ended = engine.client.wait(execution_id)
        books, final = engine.books(), engine.client.report(execution_id)
    print(f"limit ${limit_usd:.4f}, max_tokens {'learned' if learns else 'as the policy has them'}:")
    tell(limit_usd, seen, paused, report)
    print(f"  billed ${billed_usd:.4f}, {100 * billed_usd / limit_usd:.0f} % of the limit")
    print(f"  paused {pause_s:.2f} s after the last call began; the longest call and check took {attempt_s:.2f} s")
    print(
        f"  raised and resumed: {ended.status.value}, {ended.atoms_succeeded} of {ended.atoms_total} atoms, "
        f"${books['cost_usd']:.4f} billed, ${final.total_cost_usd:.4f} spent + ${final.unknown_cost_usd:.4f} unknown",
        flush=True,
    )
    within = max(seen.billed_usd, billed_usd, seen.committed_usd) <= limit_usd + 1e-9 and not seen.unaccounted
    right = paused.status.value == "paused" and paused.reason.startswith("budget")
    done = ended.status.ended and final.total_cost_usd <= books["cost_usd"] + 1e-6
    return within and right and done and books["cost_usd"] <= final.total_cost_usd + final.unknown_cost_usd + 1e-6


def watch(engine: Engine, execution_id: UUID) -> Looks:
    """Look at the server's books, then at the ledger, until nothing happens any more."""
    seen = Looks()
    while True:
        billed_usd = engine.books()["cost_usd"]
        progress = engine.client.progress(execution_id)
        state, committed_usd = progress.state, committed(progress.state)
        seen = Looks(
            max(seen.billed_usd, billed_usd),
            max(seen.committed_usd, committed_usd),
            max(seen.in_flight, state.atoms_in_flight),
            seen.looks + 1,
            seen.unaccounted + (billed_usd > committed_usd + 1e-9 and committed_usd > 0),
        )
        if not progress.driving:
            return seen
        time.sleep(POLL_S)


def committed(state: ExecutionState) -> float:
    """Return what is spent, reserved or unknown in US dollars."""
    return state.total_cost_usd + state.reserved_cost_usd + state.unknown_cost_usd


def times(engine: Engine, execution_id: UUID) -> tuple[float, float]:
    """Return the seconds from the last call that began to the pause, and those of the longest call and check."""
    url = engine.config.db_url
    events = load_events(url, execution_id)
    began = max(event.at for event in events if isinstance(event, LeaseGranted) and event.pool is Pool.GENERATE)
    pause = next(event.at for event in events if isinstance(event, PauseRequested))
    spans = observe(execution_id, load_plan_of(url, execution_id), events).spans
    longest = {pool: max(span.end - span.start for span in spans if span.pool is pool) for pool in Pool}
    return pause - began, sum(longest.values())


def tell(limit_usd: float, seen: Looks, paused: ExecutionState, report: ExecutionReport) -> None:
    """Print what was seen up to the pause."""
    cut = report.money.answers_cut_short if report.money else 0
    print(
        f"  {paused.status.value}: {paused.reason}\n"
        f"  at most ${seen.committed_usd:.4f} of ${limit_usd:.4f} committed in {seen.looks} looks, "
        f"{seen.unaccounted} of them with more billed than accounted for\n"
        f"  {paused.atoms_succeeded} atoms done in {paused.total_time_seconds:.1f} s, at most {seen.in_flight} in "
        f"flight, {cut} answers cut short"
    )


if __name__ == "__main__":
    main()
