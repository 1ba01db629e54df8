"""Dependency edges of plans beside the calls their package's test suite really makes.

    python benchmarks/edges.py PACKAGE [PACKAGE ...]

An observed edge is a call from code of one atom to code of another, whatever atom it is part of; calls from module
level and from code that is kept are left out, so each plan is compared among the atoms it has. Recall is the share of
observed edges the plan has, precision the share of the plan's edges that were observed: for direct edges, and for the
closure (an atom is checked with its whole closure in place). What no test reaches cannot be observed, so precision is
also given for edges between atoms that both ran. Recall is given a second time without edges whose callee the caller
had always been handed as an argument: that is known to whoever hands it in, often a test.

Three plans of each package:

- *reading alone*: `--no-tests`, so that neither calls nor tests add an edge. Everything that can be an atom is one.
- *the plan*: as it is made, with `--all`. It was made with the calls of the same suite, so this recall is circular: it
  says what cycles and the tracer's differences cost, nothing about code no test reaches.
- *held out*: made with half of the tests (by a hash of their names), compared with the calls that the other half makes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atomized import Subject, atomize
from owners import line_owners
from packages import PackageError, Source, add_arguments, counted, fetched, run_suite

from mge_ray.domain.plan import Masterplan

PLUGIN = Path(__file__).parent / "plugins" / "call_trace.py"
TARGET = 0.95
SHOWN = 25
HALF = "MGE_HALF"
HALVES = f"""import os
import zlib


def pytest_collection_modifyitems(items):
    wanted = int(os.environ.get("{HALF}", "1"))
    items[:] = [one for one in items if zlib.crc32(one.nodeid.partition("[")[0].encode()) % 2 == wanted]
"""
Edge = tuple[str, str]


def main() -> None:
    """Compare and print; exit 1 if the closure's recall of a plan is below the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        try:
            for source in fetched(arguments, folder):
                good &= package(source, folder / source.name)
        except PackageError as error:
            sys.exit(str(error))
    sys.exit(not good)


def package(source: Source, folder: Path) -> bool:
    """Compare one package's three plans; return whether the recall of the second reaches the target."""
    whole = trace(source, folder / "calls.json")
    read = atomize(source, folder / "reading", "--no-tests")
    print(f"{source.root.name}, reading alone")
    compare(read, observe(read, whole))
    made = atomize(source, folder / "made", "--all")
    print(f"{source.root.name}, the plan ({made.seconds:.0f} s to atomize)")
    good = compare(made, observe(made, whole))
    halved = in_halves(source, folder / "halved")
    held_out = trace(halved, folder / "even.json", {HALF: "0"})
    half = atomize(halved, folder / "half", "--all")
    print(f"{source.root.name}, held out: made with the tests of one half, compared with the calls of the other")
    compare(half, observe(half, held_out))
    return good


def in_halves(source: Source, target: Path) -> Source:
    """Copy the source distribution; of its tests one half is collected, which one is said by the environment."""
    shutil.copytree(source.root, target, ignore=shutil.ignore_patterns("__pycache__"))
    copy = Source(source.name, target, *(target / source.inside(path) for path in (source.package, source.tests)))
    conftest = copy.tests / "conftest.py"
    before = conftest.read_text("utf-8") if conftest.exists() else ""
    if "pytest_collection_modifyitems" in before:
        raise PackageError(f"{source.name}: its conftest.py picks tests itself, so they cannot be halved")
    conftest.write_text(f"{before}\n\n{HALVES}", "utf-8")
    return copy


@dataclass
class Observed:
    """Calls between atoms with their number, edges the caller chose itself, and atoms that took part in any call."""

    calls: Counter[Edge] = field(default_factory=Counter)
    chosen: set[Edge] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)


Call = tuple[str, int, str, int, int, bool]


def trace(source: Source, books: Path, more: Mapping[str, str] | None = None) -> list[Call]:
    """Run the suite under the trace and return the calls."""
    books.parent.mkdir(parents=True, exist_ok=True)
    environment = {"MGE_TRACE_ROOT": str(source.package.parent), "MGE_TRACE_OUT": str(books), **(more or {})}
    outcomes = run_suite(source, plugins=[PLUGIN], environment=environment)
    print(f"{source.root.name}, suite under the trace: {counted(outcomes)}", flush=True)
    return [tuple(call) for call in json.loads(books.read_text("utf-8"))]


def observe(subject: Subject, calls: Iterable[Call]) -> Observed:
    """Return the calls between the subject's atoms."""
    package = subject.source.package.parent
    owners = {str(path.relative_to(package)): owned for path, owned in _owners(subject).items()}
    found = Observed()
    for caller_file, caller_line, callee_file, callee_line, times, handed_in in calls:
        caller = owners.get(caller_file, {}).get(caller_line)
        callee = owners.get(callee_file, {}).get(callee_line)
        found.ran.update(one for one in (caller, callee) if one is not None)
        if caller is not None and callee is not None and caller != callee:
            found.calls[caller, callee] += times
            if not handed_in:
                found.chosen.add((caller, callee))
    return found


def _owners(subject: Subject) -> dict[Path, dict[int, str]]:
    """Return the atom of each line, by file."""
    found: dict[Path, dict[int, str]] = {}
    symbols: dict[str, dict[str, str]] = {}
    for atom in subject.plan.atoms:
        symbols.setdefault(atom.file, {}).update(dict.fromkeys((atom.symbol, *atom.defines), atom.id))
    for file, owned in symbols.items():
        path = subject.source.place(file)
        found[path] = line_owners(path.read_text("utf-8"), owned)
    return found


def compare(subject: Subject, observed: Observed) -> bool:
    """Print recall, precision and misses; return whether the closure's recall reaches the target."""
    plan = subject.plan
    direct = {(atom.id, one) for atom in plan.atoms for one in atom.depends_on}
    closure = {(atom.id, one) for atom in plan.atoms for one in plan.closure(atom.id)}
    seen, ran = set(observed.calls), observed.ran
    print(
        f"  {len(plan.atoms)} atoms, {len(direct)} edges; observed: {len(seen)} edges, {observed.calls.total()} calls"
    )
    for name, planned in (("direct", direct), ("closure", closure)):
        both = {(a, b) for a, b in planned if a in ran and b in ran}
        print(
            f"  {name}: recall {_share(len(seen & planned), len(seen))}, "
            f"without callees handed in {_share(len(observed.chosen & planned), len(observed.chosen))}, "
            f"precision {_share(len(seen & planned), len(planned))}, "
            f"of edges whose ends both ran {_share(len(seen & both), len(both))}"
        )
    _misses("not direct", plan, observed, {edge for edge in seen - direct if edge in closure})
    _misses("not in the closure", plan, observed, seen - closure)
    return len(seen & closure) >= TARGET * len(seen)


def _misses(name: str, plan: Masterplan, observed: Observed, missing: set[Edge]) -> None:
    """Print edges with the number of their calls; those that lead to an atom's own dependents are marked."""
    print(f"  {name}: {len(missing)}")
    for edge in sorted(missing, key=lambda one: (-observed.calls[one], one))[:SHOWN]:
        back = "  (it rests on its caller)" if edge[0] in plan.closure(edge[1]) else ""
        back += "" if edge in observed.chosen else "  (handed in)"
        print(f"    {observed.calls[edge]:7} {edge[0]} -> {edge[1]}{back}")
    if len(missing) > SHOWN:
        print(f"    and {len(missing) - SHOWN} more")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f} ({part} of {whole})" if whole else "none"


if __name__ == "__main__":
    main()
