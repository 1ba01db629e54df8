"""Packages nobody here wrote, from source distribution to plan to tested output. Simulated server: no model is judged.

    python benchmarks/real_code.py more-itertools toolz boltons --wrong 0.2 --latency lognormal:5:0.6 --leases 100

Each package is fetched, atomized by the command line, run through Ray against the simulated server (which spoils the
answers at the given rate), assembled, and judged by its own suite, by plain pytest on the original and on the output.
Several packages are one plan where no two of their files differ under one path; else each is an execution of its own,
one after the other in the same engine, and wall time and bound are sums.

The bound schedules exactly the calls that were made, with the latencies drawn for them, on the leases, wave by wave.
The second one adds measured check seconds a core; the third lets checks share the cores while calls wait.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atomized import Subject, atomize, merged, prefixed
from bound import Chain, waves_makespan
from packages import PackageError, add_arguments, counted, fetched, replaced, run_suite
from simulated import Prediction, Run, billed, open_simulated, predict

from mge_ray.cli.simulate import configuration
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.report import AtomReport
from mge_ray.pipeline.workspace import assemble
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.faults import draw_answer, draw_latency

SHOWN = 40


@dataclass(frozen=True)
class Outcome:
    """One plan's run beside its prediction."""

    plan: Masterplan
    run: Run
    prediction: Prediction


def main() -> None:
    """Run once and print the figures; exit 1 if an output's suite passes less than the original's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--wrong", type=float, default=0.2, help="share of answers that are wrong code")
    parser.add_argument("--latency", default="lognormal:5:0.6")
    parser.add_argument("--leases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", action="store_true", help="never put packages into one plan")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave sources, plans and outputs there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        try:
            whole = benchmark(arguments, folder)
        except PackageError as error:
            sys.exit(str(error))
    sys.exit(not whole)


def benchmark(arguments: argparse.Namespace, folder: Path) -> bool:
    """Do all of it; return whether every output passes what its original passes."""
    subjects = []
    for source in fetched(arguments, folder):
        subjects.append(prefixed(atomize(source, folder / source.name)))
        print(
            f"{source.root.name}: {subjects[-1].seconds:.0f} s to atomize\n{_indented(subjects[-1].said)}", flush=True
        )
    answers = folder / "answers.json"
    codes = {atom_id: code for subject in subjects for atom_id, code in subject.answers.items()}
    answers.write_text(json.dumps(codes), encoding="utf-8")
    flags = [f"--answers={answers}", f"--seed={arguments.seed}", f"--rate-wrong={arguments.wrong}"]
    simulator = configuration([*flags, f"--latency={arguments.latency}"])
    plans = _plans(subjects, apart=arguments.apart)
    with (
        tempfile.TemporaryDirectory() as journal,
        open_simulated(simulator, journal, leases=arguments.leases) as engine,
    ):
        done = [Outcome(plan, engine.run(plan), predict(plan, simulator)) for plan in plans]
        books = engine.books()
    known = sum(billed(one.run.report.calls) for one in done)
    show_runs(done, codes, simulator, arguments.leases)
    print(f"  billed answers: {books['billed_answers']} by the server's books, {known} by the journal")
    accepted = {atom_id: code for one in done for atom_id, code in one.run.codes.items()}
    whole = [judge(subject, accepted, folder) for subject in subjects]
    return all(whole) and books["billed_answers"] == known


def _plans(subjects: Sequence[Subject], *, apart: bool) -> list[Masterplan]:
    plans = [subject.plan for subject in subjects]
    if len(plans) == 1 or apart:
        return plans
    try:
        return [merged(plans)]
    except PackageError as error:
        print(f"separate executions, one after the other: {error}")
        return plans


def show_runs(done: Sequence[Outcome], codes: Mapping[str, str], simulator: SimulatorConfig, leases: int) -> None:
    """Print what the executions came to, in all, beside what was predicted."""
    atoms = [atom for one in done for atom in one.run.report.atoms]
    tried = [atom for atom in atoms if atom.attempts]
    retried = [atom for atom in tried if len(atom.attempts) > 1]
    succeeded = sum(atom.status.value == "succeeded" for atom in atoms)
    failed = {atom_id for one in done for atom_id in one.prediction.failed}
    blocked = {atom_id for one in done for atom_id in one.prediction.blocked}
    attempts = {atom_id: count for one in done for atom_id, count in one.prediction.attempts.items()}
    for one in done:
        reason = f" ({one.run.report.reason})" if one.run.report.reason else ""
        print(f"{one.plan.name}: {one.run.report.status}{reason}")
        print(f"  acceptance tests passed: {one.run.report.acceptance_passed}")
    print(f"in all: {len(atoms)} atoms, {'+'.join(str(len(one.plan.waves)) for one in done)} waves, simulated server")
    expected = 100 * (len(atoms) - len(failed) - len(blocked)) / len(atoms)
    print(f"  precision {100 * succeeded / len(atoms):.2f} %, the drawn faults predict {expected:.2f} %")
    predicted = sum(count > 1 for count in attempts.values()) / len(attempts)
    print(f"  retry rate {len(retried) / len(tried):.3f}, predicted {predicted:.3f} if tests notice everything")
    won = sum(atom.status.value == "succeeded" for atom in retried)
    print(f"  success after retry: {won} of {len(retried)}; {_ends(atoms)}")
    show_survivors(atoms, attempts, {k: v for one in done for k, v in one.run.codes.items()}, codes, simulator)
    show_bounds(done, simulator, leases)


def show_survivors(
    atoms: Iterable[AtomReport],
    predicted: Mapping[str, int],
    accepted: Mapping[str, str],
    codes: Mapping[str, str],
    simulator: SimulatorConfig,
) -> None:
    """Print the wrong answers that no test noticed, and the right ones that were refused."""
    survivors = sorted(atom_id for atom_id, code in accepted.items() if differs(code, codes[atom_id]))
    print(f"  survivors (accepted code that differs from the original): {len(survivors)} of {len(accepted)}")
    _list(survivors)
    refused, otherwise = [], []
    for atom in atoms:
        good = [n for n, attempt in enumerate(atom.attempts) if draw_answer(simulator, atom.atom_id, n) is None]
        wrongly = [n for n in good if not atom.attempts[n].passed]
        refused += [f"{atom.atom_id}: {atom.attempts[n].failed_level}: {atom.attempts[n].first_error}" for n in wrongly]
        if len(atom.attempts) != predicted.get(atom.atom_id, 0) and not wrongly and atom.atom_id not in survivors:
            otherwise.append(
                f"{atom.atom_id}: {len(atom.attempts)} attempts, {predicted.get(atom.atom_id, 0)} predicted"
            )
    print(f"  original code that was refused: {len(refused)}")
    _list(refused)
    print(f"  attempts that differ from the prediction otherwise: {len(otherwise)}")
    _list(otherwise)


def differs(code: str, original: str) -> bool:
    """Return whether two pieces of code differ in more than layout and comments."""
    try:
        return ast.dump(ast.parse(code)) != ast.dump(ast.parse(original))
    except SyntaxError:
        return code.strip() != original.strip()


def show_bounds(done: Sequence[Outcome], simulator: SimulatorConfig, leases: int) -> None:
    """Print wall time against what the drawn latencies, and the measured checks, allow."""
    cores = os.cpu_count() or 1
    wall_s = sum(one.run.wall_s for one in done)
    waves = [chains for one in done for chains in wave_chains(one, simulator)]
    check_s = sum(one.run.report.check_seconds for one in done)
    bound_s = waves_makespan(waves, leases=leases)
    shared_s = waves_makespan(waves, leases=leases, cores=cores)
    print(f"  wall {wall_s:.1f} s; {leases} leases, {cores} cores, checks of {check_s:.1f} s in all")
    print(f"  bound by drawn latencies {bound_s:.1f} s: {wall_s / bound_s:.3f} x")
    print(
        f"  plus check seconds a core {bound_s + check_s / cores:.1f} s: {wall_s / (bound_s + check_s / cores):.3f} x"
    )
    print(f"  checks on the cores while calls wait {shared_s:.1f} s: {wall_s / shared_s:.3f} x")


def wave_chains(one: Outcome, simulator: SimulatorConfig) -> list[list[Chain]]:
    """Return each wave's atoms as their calls: the latency drawn for each, and its measured check in seconds."""
    atoms = {atom.atom_id: atom for atom in one.run.report.atoms}
    return [
        [
            [(draw_latency(simulator, name, n), attempt.check_s) for n, attempt in enumerate(atoms[name].attempts)]
            for name in wave.atom_ids
        ]
        for wave in one.plan.waves
    ]


def judge(subject: Subject, accepted: Mapping[str, str], folder: Path) -> bool:
    """Run the package's own suite on the original and on the output; print both and what was lost."""
    source, plan = subject.source, subject.plan
    mine = {atom.id: accepted[atom.id] for atom in plan.atoms if atom.id in accepted}
    original = run_suite(source)
    output = run_suite(replaced(source, assemble(plan, mine), folder / source.name / "output"))
    lost = sorted(name for name, outcome in original.items() if outcome == "passed" != output.get(name))
    print(f"{source.root.name}: {len(mine)} of {len(plan.atoms)} atoms ({len(plan.waves)} waves)")
    print(f"  original: {counted(original)}")
    print(f"  output:   {counted(output)}; {len(lost)} passes lost")
    _list([f"{name}: {output.get(name, 'not collected')}" for name in lost])
    return not lost


def _ends(atoms: Iterable[AtomReport]) -> str:
    counts = Counter(atom.status.value for atom in atoms)
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())


def _list(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"    {line[:200].splitlines()[0]}")
    if len(lines) > SHOWN:
        print(f"    and {len(lines) - SHOWN} more")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


if __name__ == "__main__":
    main()
