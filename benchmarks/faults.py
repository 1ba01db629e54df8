"""What injected faults predict, beside what the engine reports. Simulated server: no statement about any model.

    python benchmarks/faults.py --seeds 20 [--plan PLAN --answers FILE --wrong-answers FILE]

For each seed: wrong code at 0.2, and 429, 529 and stall at 0.05 each. The simulator draws faults by seed, atom and try,
so the end of each atom is known beforehand: it fails only if all four of its answers are bad. The server's own books
(`/stats`) are compared with the report: billed answers = attempts + billed without answer + unknown spend.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mge_ray.cli.simulate import configuration, server
from mge_ray.cluster.session import local_session
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import MAX_ATTEMPTS
from mge_ray.pipeline.output_folder import write_project
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.workspace import assemble
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.faults import draw_answer
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig

EXAMPLE = Path(__file__).parents[1] / "examples" / "bookkeeping"
FAULTS = ("--rate-wrong=0.2", "--rate-429=0.05", "--rate-529=0.05", "--rate-stall=0.05")
CALL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Prediction:
    """What the draws of one seed lead to."""

    attempts: dict[str, int]
    failed: set[str]
    blocked: set[str]

    def of(self, plan: Masterplan) -> tuple[float, float]:
        """Return predicted precision in percent and retry rate."""
        tried = len(plan.atoms) - len(self.blocked)
        precision = 100 * (tried - len(self.failed)) / len(plan.atoms)
        return precision, sum(count > 1 for count in self.attempts.values()) / tried


def predict(plan: Masterplan, simulator: SimulatorConfig) -> Prediction:
    """Draw what the server will draw."""
    attempts, failed, blocked = {}, set(), set()
    for wave in plan.waves:
        for atom_id in wave.atom_ids:
            if any(d in failed or d in blocked for d in plan.by_id[atom_id].depends_on):
                blocked.add(atom_id)
                continue
            good = (i for i in range(MAX_ATTEMPTS) if draw_answer(simulator, atom_id, i) is None)
            first_good = next(good, None)
            attempts[atom_id] = MAX_ATTEMPTS if first_good is None else first_good + 1
            if first_good is None:
                failed.add(atom_id)
    return Prediction(attempts, failed, blocked)


def execute(plan: Masterplan, simulator: SimulatorConfig, folder: str) -> tuple[ExecutionReport, dict[str, Any], str]:
    """Run once on a local Ray of its own; return the report, the server's books, and what pytest says of the output."""
    with server(simulator) as url, local_session():
        from mge_ray.cluster.engine import open_engine  # noqa: PLC0415  # Ray's environment is set by now

        config = EngineConfig(
            engine_id=uuid.uuid4().hex,
            db_url=f"sqlite:///{folder}/journal.db",
            simulated=True,
            base_url=url,
            require_price=True,
            driver_pid=os.getpid(),
        )
        policy = attempt_policy(config, DEFAULT_MODEL, None)
        settings = ExecutionSettings(policy=policy, budget_usd=200.0, call_timeout_s=CALL_TIMEOUT_S, simulated=True)
        engine = open_engine(config)
        execution_id = engine.start(plan, settings)
        engine.wait(execution_id)
        report, codes = engine.report(execution_id), engine.accepted_codes(execution_id)
        with urllib.request.urlopen(f"{url}/stats") as answer:  # noqa: S310  # our own server
            stats = json.load(answer)
        engine.close()
    if report.precision_percent < 100:  # noqa: PLR2004  # whole
        return report, stats, "partial"
    project = Path(folder) / "project"
    write_project(assemble(plan, codes), project)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project, capture_output=True, check=False
    )
    return report, stats, "pass" if done.returncode == 0 else "FAIL"


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
        known = calls.answers + calls.billed_without_answer + calls.unknown_spend
        same = actual == prediction.attempts and stats["billed_answers"] == known
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
