"""How strong are a plan's tests? Every single mutation of the reference code against the atom's own tests.

    python -m benchmarks.mutation_score examples/bookkeeping/plan.yaml examples/bookkeeping/answers.json

For each atom: a workspace in which only the atom's dependencies and the atom itself are implemented, every other stub
raising. Its tests must pass there, and fail with the atom's own stub; then each mutant (`mge_ray.simulator.mutations`)
takes the atom's place. Tests run in a forked process each, without starting Python again; one that loops or grows
without end is killed and counts as noticed. Exit status: 0 if the premises hold and the score is at least `--at-least`.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins of this environment are no part of the plan
os.environ.pop("PYTEST_ADDOPTS", None)

import pytest

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.workspace import build_workspace
from mge_ray.simulator.mutations import Mutant, destructive, mutants

MEMORY_BYTES = 2 << 30
MOST_WRONG = 6
FEWEST_WRONG = 3
_QUICK = ("-x", "-q", "--assert=plain", "--tb=no", "-p", "no:cacheprovider", "-p", "no:faulthandler")


class Outcome(str, Enum):
    """What the tests of an atom made of a version of its code."""

    PASSED = "passed"
    FAILED = "failed"
    BROKEN = "broken"  # the tests did not even start: an import failed, or the process died
    TIMEOUT = "timeout"


@dataclass(slots=True)
class AtomScore:
    """The fate of all mutants of one atom; `problem` is set where the premises do not hold."""

    atom_id: str
    problem: str = ""
    seconds: float = 0.0
    results: list[tuple[Mutant, Outcome]] = field(default_factory=list)
    spares: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Wrong answers from all over the code: those that fail a test, quickly."""
        failing = [mutant.code for mutant, outcome in self.results if outcome is Outcome.FAILED]
        count = min(MOST_WRONG, len(failing))
        chosen = [failing[index * len(failing) // count] for index in range(count)]
        return chosen + self.spares[: max(0, FEWEST_WRONG - count)]

    @property
    def survivors(self) -> list[Mutant]:
        """The mutants that the tests did not notice."""
        return [mutant for mutant, outcome in self.results if outcome is Outcome.PASSED]

    @property
    def killed(self) -> int:
        """How many the tests noticed."""
        return len(self.results) - len(self.survivors)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement and print it."""
    options = _options(arguments)
    plan = load_plan(options.plan)
    answers: dict[str, str] = json.loads(options.answers.read_text(encoding="utf-8"))
    wanted = [atom for atom in plan.atoms if not options.atom or atom.id in options.atom]
    started = time.monotonic()
    with ProcessPoolExecutor(options.jobs, initializer=_start, initargs=(plan, answers, options.timeout)) as pool:
        scores = list(pool.map(_premises if options.premises else _score, wanted))
    _print_table(scores)
    problems = [score for score in scores if score.problem]
    if options.premises:
        print(f"\n{len(scores)} atoms, {len(problems)} with a problem, in {time.monotonic() - started:.0f} s")
        return 1 if problems else 0
    total = sum(len(score.results) for score in scores)
    killed = sum(score.killed for score in scores)
    share = killed / total if total else 0.0
    late = sum(outcome is Outcome.TIMEOUT for score in scores for _, outcome in score.results)
    print(
        f"\n{len(scores)} atoms, {total} mutants, {killed} killed ({late} by the time limit), "
        f"{total - killed} survived: score {share:.1%} in {time.monotonic() - started:.0f} s with {options.jobs} jobs"
    )
    if options.write_wrong and not problems:
        wrong = {score.atom_id: score.wrong for score in scores}
        options.write_wrong.write_text(json.dumps(wrong, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"wrote {sum(map(len, wrong.values()))} wrong answers to {options.write_wrong}")
    return 0 if not problems and share >= options.at_least else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("answers", type=Path, help="JSON: atom id -> reference code")
    parser.add_argument("--atom", action="append", help="only this atom (may be repeated)")
    parser.add_argument("--premises", action="store_true", help="only check reference code and stubs, no mutants")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for the tests of one mutant")
    parser.add_argument("--at-least", type=float, default=0.95, metavar="SHARE")
    parser.add_argument(
        "--write-wrong", type=Path, metavar="FILE", help="JSON: atom id -> wrong code that fails a test"
    )
    return parser.parse_args(arguments)


_plan: Masterplan
_answers: Mapping[str, str]
_timeout: float


def _start(plan: Masterplan, answers: Mapping[str, str], timeout: float) -> None:
    global _plan, _answers, _timeout
    _plan, _answers, _timeout = plan, answers, timeout
    sys.dont_write_bytecode = True  # modules change within a second: their caches would be taken for fresh
    with tempfile.TemporaryDirectory() as nothing, redirect_stdout(io.StringIO()):
        pytest.main([*_QUICK, "-s", "--rootdir", nothing, nothing])  # what pytest imports, every fork has
    gc.freeze()


def _premises(atom: AtomicUnit) -> AtomScore:
    return _score(atom, with_mutants=False)


def _score(atom: AtomicUnit, *, with_mutants: bool = True) -> AtomScore:
    score = AtomScore(atom.id)
    started = time.monotonic()
    dependencies = [(_plan.atom(name), _answers[name]) for name in _plan.closure(atom.id)]

    def module(code: str) -> str:
        return build_workspace(_plan.files, [*dependencies, (atom, code)])[atom.file]

    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name)
        _write(folder, build_workspace(_plan.files, dependencies))
        place = folder / atom.file
        if _run(folder, atom.tests) is Outcome.PASSED:
            score.problem = "its tests pass with its stub"
        place.write_text(module(_answers[atom.id]), encoding="utf-8")
        if _run(folder, atom.tests) is not Outcome.PASSED:
            score.problem = "its tests fail with its reference code"
        if with_mutants and not score.problem:
            for mutant in mutants(_answers[atom.id]):
                place.write_text(module(mutant.code), encoding="utf-8")
                score.results.append((mutant, _run(folder, atom.tests)))
            for mutant in destructive(_answers[atom.id]):
                place.write_text(module(mutant.code), encoding="utf-8")
                if _run(folder, atom.tests) is Outcome.FAILED:
                    score.spares.append(mutant.code)
    score.seconds = time.monotonic() - started
    return score


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _run(folder: Path, tests: Iterable[str]) -> Outcome:
    """Run tests in a fork of this process, which has imported pytest but nothing of the workspace."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(_run_here(folder, tests))
        finally:
            os._exit(99)
    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], _timeout)[0]:
            os.killpg(pid, signal.SIGKILL) if _leads_group(pid) else os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return Outcome.TIMEOUT
    finally:
        os.close(watched)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {0: Outcome.PASSED, 1: Outcome.FAILED}.get(status, Outcome.BROKEN)


def _leads_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _run_here(folder: Path, tests: Iterable[str]) -> int:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    return int(pytest.main([*_QUICK, "--rootdir", str(folder), *tests]))


def _print_table(scores: Sequence[AtomScore]) -> None:
    width = max((len(score.atom_id) for score in scores), default=4)
    print(f"{'atom':<{width}}  mutants  killed  survived   score  seconds")
    for score in scores:
        count, killed = len(score.results), score.killed
        share = f"{killed / count:7.1%}" if count else "      -"
        note = f"  PROBLEM: {score.problem}" if score.problem else ""
        print(
            f"{score.atom_id:<{width}}  {count:7}  {killed:6}  {count - killed:8} {share}  {score.seconds:7.1f}{note}"
        )
    survivors = [(score.atom_id, mutant) for score in scores for mutant in score.survivors]
    if survivors:
        print("\nsurvivors (atom, line of its code, change):")
    for atom_id, mutant in survivors:
        print(f"  {atom_id}:{mutant.line}: {mutant.description}")


if __name__ == "__main__":
    sys.exit(main())
