"""What injected faults predict, beside what the engine reports. Simulated server: no statement about any model.

    python benchmarks/faults.py --seeds 20 [--plan PLAN --answers FILE --wrong-answers FILE]

For each seed: wrong code at 0.2, and 429, 529 and stall at 0.05 each. The simulator draws faults by seed, atom and try,
so the end of each atom is known beforehand: it fails only if all four of its answers are bad. The server's own books
(`/stats`) are compared with the report: billed answers = attempts + billed without answer + unknown spend.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from simulated import billed, open_simulated, predict

from mge_ray.cli.simulate import configuration
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.output_folder import write_project
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.workspace import assemble
from mge_ray.simulator.config import SimulatorConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "bookkeeping"
FAULTS = ("--rate-wrong=0.2", "--rate-429=0.05", "--rate-529=0.05", "--rate-stall=0.05")
CALL_TIMEOUT_S = 5.0
BUDGET_USD = 200.0


def execute(plan: Masterplan, simulator: SimulatorConfig, folder: str) -> tuple[ExecutionReport, dict[str, Any], str]:
    """Run once on a local Ray of its own; return the report, the server's books, and what pytest says of the output."""
    with open_simulated(simulator, folder, call_timeout_s=CALL_TIMEOUT_S, budget_usd=BUDGET_USD) as engine:
        run = engine.run(plan)
        stats = engine.books()
    if run.report.precision_percent < 100:  # noqa: PLR2004  # whole
        return run.report, stats, "partial"
    project = Path(folder) / "project"
    write_project(assemble(plan, run.codes), project)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project, capture_output=True, check=False
    )
    return run.report, stats, "pass" if done.returncode == 0 else "FAIL"


def main() -> None:
    """Run all seeds and print one line each; exit 1 if a report differs from its prediction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--plan", type=Path, default=EXAMPLE / "plan.yaml")
    parser.add_argument("--answers", type=Path, default=EXAMPLE / "answers.json")
    parser.add_argument("--wrong-answers", type=Path, default=EXAMPLE / "wrong_answers.json")
    arguments = parser.parse_args()
    plan = load_plan(arguments.plan)
    print(f"{plan.name}: {len(plan.atoms)} atoms; simulated server with {' '.join(FAULTS)}")
    print("seed  precision % (predicted)  retry rate (predicted)  attempts (predicted)  output  books")
    differing = 0
    for seed in range(arguments.seeds):
        files = [f"--answers={arguments.answers}", f"--wrong-answers={arguments.wrong_answers}"]
        simulator = configuration([*files, f"--seed={seed}", *FAULTS])
        prediction = predict(plan, simulator)
        with tempfile.TemporaryDirectory() as folder:
            report, stats, output = execute(plan, simulator, folder)
        actual = {atom.atom_id: len(atom.attempts) for atom in report.atoms if atom.attempts}
        precision, retry_rate = prediction.of(plan)
        calls = report.calls
        same = actual == prediction.attempts and stats["billed_answers"] == billed(calls)
        differing += not same
        ending = "" if same else "  DIFFERS"
        print(
            f"{seed:4}  {report.precision_percent:6.2f} ({precision:6.2f})          "
            f"{report.retry_rate:.3f} ({retry_rate:.3f})           "
            f"{report.attempts:4} ({sum(prediction.attempts.values()):4})          {output:7} "
            f"billed {stats['billed_answers']} = {calls.answers} answers "
            f"+ {calls.billed_without_answer} without answer "
            f"+ {calls.unknown_spend} unknown; not billed {calls.not_billed}{ending}",
            flush=True,
        )
    print(f"{arguments.seeds - differing} of {arguments.seeds} reports equal their prediction, atom by atom")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
