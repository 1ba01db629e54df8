"""How close the engine comes to the bound that latency and CPUs set. Simulated server; synthetic atoms.

    python benchmarks/dispatch.py                                      # 800 atoms, 8 waves, 100 leases, 5 s, no checks
    python benchmarks/dispatch.py --atoms 4000 --leases 1000
    python benchmarks/dispatch.py --checks                             # the full ladder of levels

The bound of a wave is ceil(atoms / leases) x latency; with checks, plus the wave's measured check seconds a core.
Everything runs on this machine: driver, Ray, gateway, sandbox and the simulated server.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from cpu import cpu_seconds, spent_since
from simulated import Engine, open_simulated

from mge_ray.cli.simulate import configuration
from mge_ray.domain.plan import Masterplan


def synthetic_plan(atoms: int, waves: int) -> tuple[Masterplan, dict[str, str]]:
    """Return a plan of one-line functions, each resting on one of the wave before, and its answers."""
    per_wave = atoms // waves
    ids = [f"a{number:05d}" for number in range(atoms)]
    units = [
        {
            "id": name,
            "file": f"lib/m{number // per_wave}.py",
            "symbol": name,
            "signature": f"def {name}() -> int",
            "depends_on": [ids[number - per_wave]] if number >= per_wave else [],
            "tests": [f"tests/test_m{number // per_wave}_{number % per_wave // 10}.py::test_{name}"],
        }
        for number, name in enumerate(ids)
    ]
    files = {"lib/__init__.py": ""}
    for wave in range(waves):
        names = ids[wave * per_wave : (wave + 1) * per_wave]
        files[f"lib/m{wave}.py"] = "\n\n".join(
            f"def {name}() -> int:\n    raise NotImplementedError\n" for name in names
        )
        for start in range(0, per_wave, 10):
            tests = "\n\n".join(
                f"def test_{name}():\n    assert m{wave}.{name}() == {int(name[1:])}\n"
                for name in names[start : start + 10]
            )
            files[f"tests/test_m{wave}_{start // 10}.py"] = f"from lib import m{wave}\n\n\n{tests}"
    answers = {name: f"def {name}() -> int:\n    return {int(name[1:])}\n" for name in ids}
    return Masterplan.model_validate({"name": f"synthetic {atoms}", "atoms": units, "files": files}), answers


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=800)
    parser.add_argument("--waves", type=int, default=8)
    parser.add_argument("--leases", type=int, default=100)
    parser.add_argument("--latency", type=float, default=5.0)
    parser.add_argument("--checks", action="store_true", help="run the full ladder of levels instead of none")
    arguments = parser.parse_args()
    plan, answers = synthetic_plan(arguments.atoms, arguments.waves)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.json"
        path.write_text(json.dumps(answers))
        simulator = configuration([f"--answers={path}", f"--latency=fixed:{arguments.latency}"])
        with open_simulated(simulator, folder, leases=arguments.leases, checks=arguments.checks) as engine:
            run(plan, engine, arguments)


def run(plan: Masterplan, engine: Engine, arguments: argparse.Namespace) -> None:
    """Execute the plan, and print what it took."""
    engine.run(synthetic_plan(4 if arguments.checks else 2, 1)[0])  # warm: the bound is about a running engine
    cpu_before = cpu_seconds()
    done = engine.run(plan)
    report, wall_s = done.report, done.wall_s
    cpu = spent_since(cpu_before)
    level = engine.config.sandbox_level
    cores = os.cpu_count() or 1
    rounds = [-(-wave.atoms_total // arguments.leases) for wave in report.waves]
    latency_bound_s = sum(rounds) * arguments.latency
    bound_s = latency_bound_s + sum(wave.check_seconds for wave in report.waves) / cores
    checks = sorted(attempt.check_s for atom in report.atoms for attempt in atom.attempts)
    print(f"{report.status}: {report.atoms_succeeded}/{report.atoms_total} atoms, {arguments.waves} waves,")
    print(
        f"  {arguments.leases} leases, {arguments.latency:g} s simulated latency, {cores} cores, {level or 'no checks'}"
    )
    print(f"  wall {wall_s:.1f} s, latency bound {latency_bound_s:.1f} s: {wall_s / latency_bound_s:.3f} x")
    if arguments.checks:
        median_ms = 1000 * checks[len(checks) // 2]
        print(f"  checks: {report.check_seconds:.1f} s in all, median {median_ms:.0f} ms")
        print(f"  bound with check seconds a core {bound_s:.1f} s: {wall_s / bound_s:.3f} x")
    print(f"  CPU: {1000 * sum(seconds for _, seconds in cpu) / report.atoms_total:.2f} ms an atom, of which")
    for role, seconds in cpu[:8]:
        print(f"    {1000 * seconds / report.atoms_total:5.2f} ms {role}")


if __name__ == "__main__":
    main()
