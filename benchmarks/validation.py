"""What one check costs, warm, beside a cold pytest in the same run.

    python benchmarks/validation.py [--plan PLAN --answers FILE --atoms 75]

Each atom's reference answer is judged by the full ladder of levels in the warm sandbox; then the same tests of the same
workspace are run by a pytest that starts for them alone, with and without the sandbox's isolation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mge_ray.adapters.atomic_validator import AtomicValidator
from mge_ray.adapters.sandbox import CheckRequest, Sandbox
from mge_ray.domain.atom import AcceptedAtom
from mge_ray.execution.ports import Candidate
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.workspace import build_workspace

EXAMPLE = Path(__file__).parents[1] / "examples" / "bookkeeping"
COLD_EVERY = 5


def main() -> None:
    """Judge all atoms warm and every fifth cold; print medians in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=EXAMPLE / "plan.yaml")
    parser.add_argument("--answers", type=Path, default=EXAMPLE / "answers.json")
    parser.add_argument("--atoms", type=int, default=75)
    arguments = parser.parse_args()
    plan = load_plan(arguments.plan)
    answers = json.loads(arguments.answers.read_text())
    warm, cold, isolated_cold = [], [], []
    levels: dict[str, list[float]] = {}
    with Sandbox() as sandbox:
        validator = AtomicValidator(sandbox)
        for number, atom in enumerate(plan.atoms[: arguments.atoms]):
            closure = tuple(AcceptedAtom(atom=plan.by_id[a], code=answers[a]) for a in plan.closure(atom.id))
            candidate = Candidate(atom, answers[atom.id], closure, plan.files, plan.validation)
            if number == 0:
                validator.judge(candidate)  # starts the runner
            began = time.perf_counter()
            verdict = validator.judge(candidate)
            warm.append(time.perf_counter() - began)
            assert verdict.passed, (atom.id, verdict.failures)
            for level, seconds in verdict.seconds.items():
                levels.setdefault(level, []).append(seconds)
            if number % COLD_EVERY == 0:
                placed = [(one.atom, one.code or "") for one in closure] + [(atom, answers[atom.id])]
                files = build_workspace(plan.files, placed)
                cold.append(cold_pytest(files, atom.tests))
                began = time.perf_counter()
                sandbox.check_cold(CheckRequest(files=files, tests=atom.tests))
                isolated_cold.append(time.perf_counter() - began)
        level_of = sandbox.level.value
    print(f"{plan.name}: {len(warm)} checks warm, {len(cold)} cold; sandbox {level_of}; milliseconds, median (p90)")
    for name, seconds in {"warm, all levels": warm, **{f"  {k}": v for k, v in levels.items()}}.items():
        print(f"  {name:28} {shown(seconds)}")
    print(f"  {'cold pytest, no isolation':28} {shown(cold)}")
    print(f"  {'cold pytest, isolated':28} {shown(isolated_cold)}")
    print(
        f"  warm is {statistics.median(cold) / statistics.median(warm):.1f} x as fast as cold pytest without isolation"
    )


def cold_pytest(files: dict[str, str], tests: tuple[str, ...]) -> float:
    """Return the seconds of one pytest process on the workspace."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
            cwd=folder,
            env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return time.perf_counter() - began


def shown(seconds: list[float]) -> str:
    """Return median and 90th percentile in milliseconds."""
    ordered = sorted(1000 * one for one in seconds)
    return f"{statistics.median(ordered):7.1f} ({ordered[int(0.9 * (len(ordered) - 1))]:.1f})"


if __name__ == "__main__":
    main()
