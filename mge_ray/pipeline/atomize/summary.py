"""What `mge-ray atomize` tells people about the plan it made."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from mge_ray.pipeline.atomize.build import Atomized
from mge_ray.pipeline.atomize.project_tree import ProjectTree

BANDS = ((1, 5), (6, 10), (11, 15), (16, 25), (26, 50), (51, 10_000))
MOST_SHOWN = 8


def summary(made: Atomized, tree: ProjectTree) -> str:
    """Return the figures of one plan as lines of text."""
    plan = made.plan
    waves = [len(wave.atom_ids) for wave in plan.waves]
    own = sum(len(atom.tests) for atom in plan.atoms)
    of_waves = sum(len(wave.tests) for wave in plan.waves)
    reasons = Counter(one.reason for one in made.kept)
    merged = _listed([" + ".join(one) for one in made.merged])
    adopted = _listed([" + ".join(one) for one in made.adopted])
    needed = sum(made.dependencies.values())
    told = {
        "plan": f"{plan.name}: {len(plan.atoms)} atoms in {len(waves)} waves (widest {max(waves)})",
        "lines": _distribution(list(made.lines.values())),
        "kept": f"{len(made.kept)} symbols: {_counted(reasons)}" if made.kept else "nothing",
        "edges": f"{sum(made.edges.values())}: {_counted(made.edges)}; {made.doubtful_edges} of them uncertain, "
        f"{made.dropped_edges} more dropped: tests ran all of the source and never saw them",
        "depends on": f"{needed}: {_counted(made.dependencies)}; {made.helped} atoms wait for others only to be judged",
        "cycles": f"{len(made.merged)} merged into one atom{merged}; {len(made.cut)} edges cut{_listed(made.cut)}",
        "together": f"{len(made.adopted)} atoms of helpers with the callers through which they are tested{adopted}",
        "tests": f"{made.passing} pass: {own} judge atoms, {of_waves} wait for a wave, {made.untraced} run no atom",
        "failing": f"{len(made.failing)} left out{_listed(made.failing)}" if made.failing else "",
        "weak": f"{len(made.weak)} atoms have no test of their own{_listed(made.weak)}",
        "left out": f"{len(tree.left_out)} files that are no text{_listed(tree.left_out)}" if tree.left_out else "",
    }
    return "\n".join(f"{head:12}{text}" for head, text in told.items() if text)


def _distribution(lines: Sequence[int]) -> str:
    bands = [
        f"{low}-{high} {n}" if high < BANDS[-1][1] else f"over {low - 1} {n}"
        for low, high in BANDS
        if (n := sum(low <= one <= high for one in lines))
    ]
    short = sum(one <= BANDS[2][1] for one in lines) / len(lines)
    return f"median {statistics.median(lines):g}, {short:.0%} at most {BANDS[2][1]}: {', '.join(bands)}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return f" ({', '.join(names[:MOST_SHOWN])}{more})"
