"""A few runs of the kit on every test run; `make chaos` makes fifty."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PATIENCE_S = 170


def test_executions_end_right_when_processes_die_at_and_between_the_journal_s_boundaries():
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.chaos", "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.endswith("right") or "WRONG" in line]
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(said) == 2, done.stdout
