"""Run drawn executions in virtual time.

python -m tests.simulation --seed N            one seed, as a failing one is reproduced
python -m tests.simulation --count 1000        many, or --until-atoms 1000000
python -m tests.simulation --tenant            executions of one tenant under one limit; with --seed or --count
python -m tests.simulation --scale             time and memory an atom from 1,000 to 100,000 atoms in one execution
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import count, islice

from tests.simulation.scenario import simulate, simulate_whole
from tests.simulation.tenants import simulate_tenant


def main() -> None:
    """Run, and print what it came to; exit 1 at the first seed that fails, naming it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--until-atoms", type=int)
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--tenant", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # soft limits are told thousands of times
    if arguments.scale:
        show_scale()
    elif arguments.tenant:
        one = arguments.seed
        run_tenants(range(arguments.first, arguments.first + arguments.count) if one is None else [one])
    elif arguments.seed is not None:
        run_seeds(iter([arguments.seed]), None)
    elif arguments.until_atoms:
        run_seeds(count(arguments.first), arguments.until_atoms)
    else:
        run_seeds(islice(count(arguments.first), arguments.count), None)


def run_seeds(seeds, until_atoms) -> None:
    """Run seeds until there are no more, or enough atoms were in them."""
    began, ends, sums = time.perf_counter(), Counter(), Counter()
    for seed in seeds:
        try:
            done = simulate(seed)
        except BaseException:
            sys.stderr.write(f"seed {seed} fails: python -m tests.simulation --seed {seed}\n")
            raise
        ends[done.status.value] += 1
        sums.update(atoms=done.atoms, calls=done.calls, crashes=done.crashes, gateways=done.gateway_deaths)
        if until_atoms and sums["atoms"] >= until_atoms:
            break
    took_s = time.perf_counter() - began
    sys.stdout.write(
        f"{ends.total()} executions in {took_s:.1f} s ({60 * ends.total() / took_s:.0f} a minute): "
        f"{', '.join(f'{n} {status}' for status, n in ends.most_common())}\n"
        f"{sums['atoms']} atoms, {sums['calls']} calls, {sums['crashes']} crashes, {sums['gateways']} dead gateways; "
        f"{1e3 * took_s / sums['atoms']:.2f} ms an atom\n"
    )


def run_tenants(seeds) -> None:
    """Run seeds of executions that share a limit."""
    began, ends, sums = time.perf_counter(), Counter(), Counter()
    for seed in seeds:
        try:
            shared = simulate_tenant(seed)
        except BaseException:
            sys.stderr.write(f"seed {seed} fails: python -m tests.simulation --tenant --seed {seed}\n")
            raise
        ends.update(status.value for status in shared.statuses)
        sums.update(worlds=1, paused=shared.paused_for_the_tenant, crashes=shared.crashes)
    sys.stdout.write(
        f"{sums['worlds']} worlds in {time.perf_counter() - began:.1f} s: "
        f"{', '.join(f'{n} {status}' for status, n in ends.most_common())}; "
        f"{sums['paused']} times paused for the tenant's limit, {sums['crashes']} crashes\n"
    )


def show_scale() -> None:
    """Run executions of growing size, each in a process of its own, and print what an atom takes."""
    first_ms = 0.0
    for atoms in (1_000, 10_000, 100_000):
        with ProcessPoolExecutor(1) as pool:
            took_ms, kib, status = pool.submit(_measured, atoms).result()
        first_ms = first_ms or took_ms
        sys.stdout.write(
            f"{atoms:7} atoms, {status}: {took_ms:.3f} ms an atom ({took_ms / first_ms:.2f} x that of 1,000), "
            f"{kib:.1f} KiB an atom\n"
        )
        sys.stdout.flush()


def _measured(atoms: int) -> tuple[float, float, str]:
    simulate_whole(0, atoms=10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    done = simulate_whole(0, atoms=atoms)
    took_s = time.perf_counter() - began
    return (
        1e3 * took_s / atoms,
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / atoms,
        done.status.value,
    )


if __name__ == "__main__":
    main()
