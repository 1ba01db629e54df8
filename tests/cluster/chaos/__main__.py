"""Kill processes of real runs, and look whether they end right.

python -m tests.cluster.chaos --runs 50 --seed 0       all kinds; prints a line a run and a table by kind
python -m tests.cluster.chaos --only gateway           runs whose kind has this in its name
python -m tests.cluster.chaos --postgres               the engine's journal on a PostgreSQL server of its own
python -m tests.cluster.chaos --self-test              take safeguards out, one at a time: a named run must fail
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.chaos.books import Books
from tests.cluster.chaos.engine import chaos_engine
from tests.cluster.chaos.kinds import QUICK, Kind, Outcome, drawn
from tests.cluster.chaos.setting import setting, simulator
from tests.cluster.chaos.whole import run_whole
from tests.contracts.conftest import PostgresServer, own_server


def main() -> None:
    """Run; exit 1 if a run did not end right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--engine-runs", action="store_true", help="leave out the runs of the whole program")
    parser.add_argument("--quick", action="store_true", help="two short runs, for every test run")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="every Nth run, from the Ith on")
    parser.add_argument("--self-test", nargs="?", const="", metavar="SAFEGUARD")
    arguments = parser.parse_args()
    if arguments.self_test is not None:
        from tests.cluster.chaos.sabotage import self_test  # noqa: PLC0415  # only then

        sys.exit(self_test(arguments.seed, arguments.self_test))
    part, parts = map(int, arguments.part.split("/"))
    wanted = QUICK if arguments.quick else drawn(arguments.runs, arguments.seed, postgres=arguments.postgres)
    kinds = [
        (number, kind)
        for number, kind in enumerate(wanted)
        if number % parts == part and arguments.only in kind.name and not (arguments.engine_runs and kind.whole)
    ]
    outcomes = list(run_all(kinds, arguments.seed, postgres=arguments.postgres))
    print_table(outcomes)
    sys.exit(not all(outcome.right for outcome in outcomes))


def run_all(
    kinds: list[tuple[int, Kind]], seed: int, *, postgres: bool = False, sabotage: str = ""
) -> Iterator[Outcome]:
    """Run each kind once: those on a living engine first, then the whole programs."""
    settings = {number: setting(f"r{number}", seed) for number, _ in kinds}
    with tempfile.TemporaryDirectory(prefix="mge-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        on_engine = [one for one in kinds if not one[1].whole]
        if on_engine:
            with contextlib.ExitStack() as inner:
                database = inner.enter_context(_postgres()) if postgres else None
                server = simulator(folder, seed, [settings[number] for number, _ in on_engine])
                engine = inner.enter_context(chaos_engine(server, folder, database=database, sabotage=sabotage))
                for number, kind in on_engine:
                    yield said(engine.run(kind, number, settings[number], _random(seed, number)))
        for number, kind in kinds:
            if kind.whole:
                place = folder / f"whole{number}"
                yield said(run_whole(kind, number, settings[number], _random(seed, number), folder=place, seed=seed))


def said(outcome: Outcome) -> Outcome:
    """Print one run's line."""
    books = outcome.books
    ending = "right" if outcome.right else f"WRONG: {'; '.join(books.problems)}"
    sys.stdout.write(
        f"{outcome.number:3} {outcome.kind.name:60} {outcome.took_s:5.1f} s  "
        f"again {books.bought_again} of {books.lost_calls} lost  {ending}\n"
    )
    sys.stdout.flush()
    return outcome


def print_table(outcomes: list[Outcome]) -> None:
    """Print what came of each kind."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.kind.group, []).append(outcome)
    sys.stdout.write(f"\n{'killed':45} runs  right  bought again  calls lost  overspend $  seconds\n")
    for name, members in [*sorted(groups.items()), ("all", outcomes)]:
        books, took_s = _sum(members), sum(one.took_s for one in members)
        sys.stdout.write(
            f"{name:45} {len(members):4}  {sum(one.right for one in members):5}  {books.bought_again:12}  "
            f"{books.lost_calls:10}  {books.overspend_usd:11.4f}  {took_s:7.1f}\n"
        )


def _sum(outcomes: list[Outcome]) -> Books:
    books = [outcome.books for outcome in outcomes]
    return Books(
        sum(one.bought_again for one in books),
        sum(one.lost_calls for one in books),
        sum(one.overspend_usd for one in books),
        (),
    )


def _random(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}:{number}")  # noqa: S311  # a sample, no secret


@contextlib.contextmanager
def _postgres() -> Iterator[PostgresServer]:
    with own_server() as server:
        yield server


if __name__ == "__main__":
    main()
