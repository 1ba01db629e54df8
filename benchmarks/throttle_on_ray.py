"""How much of what a provider allows is used end to end: real Ray, real SDK, simulated server with limits a minute.

    python benchmarks/throttle_on_ray.py                                   # all arms, six at a time: about 20 minutes
    python benchmarks/throttle_on_ray.py --case output --arm adaptive --arm fixed:15 --arm oracle

The server allows 300 requests and 100,000 output tokens a minute. In the case `requests` answers are short and requests
bind, in `output` output tokens do; `-storm` adds 20 s of 529s for everyone in the middle. An arm is a program of its
own: a server, a Ray, an engine, and one wave of so many atoms that there is more to ask for until the window ends. The
window lies from one minute to four after the first request and is read from the server's own books. `adaptive` is the
engine as it is; the others have another controller under the same name: a fixed number of calls in flight, or an oracle
that knows what is allowed and starts calls at exactly that rate. Nobody is told anything before the first answer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dispatch import synthetic_plan
from rivals import install, rival
from simulated import Engine, Run, open_simulated
from throttle import OUTPUT, REQUESTS, SPREAD

from mge_ray.cli.simulate import configuration
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.faults import draw_transport

MEDIAN_TOKENS = {"requests": 250, "output": 600}
LATENCY = "lognormal:5:0.6"
SETTLED_S, UNTIL_S, STORM_S = 60.0, 240.0, 20.0
MOST_IN_FLIGHT = 500
RIVALS = {"requests": ("fixed:25", "fixed:30", "fixed:40"), "output": ("fixed:12", "fixed:15", "fixed:20")}
STORM_AT = (3.3, 3.6)
"""Which atom's request begins the storm, in minutes' worth of calls: one is sent at once, the others as time passes."""


@dataclass(frozen=True)
class Look:
    """The server's books at one moment, in seconds on the monotonic clock."""

    at: float
    requests: int
    refused: int
    overloaded: int
    answers: int
    output_tokens: int

    @property
    def admitted(self) -> int:
        """How many requests were let in."""
        return self.requests - self.refused - self.overloaded


@dataclass(frozen=True)
class Result:
    """What one arm came to. Rates are per minute within the window."""

    case: str
    arm: str
    admitted: float
    output_tokens: float
    allowed_calls: float
    refused_share: float
    refused_before: int
    overloaded: int
    most_in_flight: int
    failures: dict[str, int]
    succeeded: int
    failed: int
    atoms: int
    status: str
    wall_s: float

    @property
    def used(self) -> float:
        """Share of the limit that binds."""
        return max(self.admitted / REQUESTS, self.output_tokens / OUTPUT)


class Watching(contextlib.AbstractContextManager["Watching"]):
    """Looks into the server's books: until the first request has come, then every ten seconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks: list[Look] = []
        self.most_in_flight = 0

    def start(self) -> Watching:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set() and not self._look().requests:
            self.looks.clear()
            self._over.wait(0.1)
        while not self._over.wait(self.looks[0].at + 10 * len(self.looks) - time.monotonic()):
            self._look()

    def _look(self) -> Look:
        books = self._engine.books()
        self.most_in_flight = books["max_in_flight"]
        faults = sum(books["faults"].values())
        look = Look(
            time.monotonic(),
            books["requests"],
            books["rate_limited"],
            faults,
            books["billed_answers"],
            books["tokens"]["output"],
        )
        self.looks.append(look)
        return look


def measure(case: str, arm: str) -> Result:
    """Run one arm to the end of its plan."""
    binding, _, storm = case.partition("-")
    draw = random.Random(1)  # noqa: S311
    sizes = [int(MEDIAN_TOKENS[binding] * draw.lognormvariate(0, SPREAD)) for _ in range(5 * REQUESTS)]
    allowed = min(REQUESTS, OUTPUT / (sum(sizes) / len(sizes)))
    plan, answers = synthetic_plan(int(5 * allowed), 1)
    grown = {name: _of_size(code, tokens) for (name, code), tokens in zip(answers.items(), sizes, strict=False)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.json"
        path.write_text(json.dumps(grown))
        limits = [f"--requests-per-minute={REQUESTS}", f"--output-tokens-per-minute={OUTPUT}"]
        flags = [f"--answers={path}", f"--latency={LATENCY}", *limits]
        simulator = _stormy(flags, list(grown), allowed) if storm else configuration([*flags, "--seed=1"])
        chosen = rival(arm, allowed)
        with open_simulated(
            simulator,
            folder,
            leases=MOST_IN_FLIGHT,
            checks=False,
            ramp=True,
            before=None if chosen is None else lambda config: install(chosen, config),
        ) as engine:
            with Watching(engine).start() as watching:
                done = engine.run(plan)
            return _result(case, arm, allowed, watching, done)


def _of_size(code: str, tokens: int) -> str:
    """Return code that makes an answer of about so many tokens of four bytes, most of it a comment."""
    return code + "# " + "x" * max(0, 4 * tokens - len(code) - 80) + "\n"


def _stormy(flags: list[str], names: list[str], allowed: float) -> SimulatorConfig:
    """Return a configuration whose draws begin one storm, in the middle of the window."""
    first, last = (int(minutes * allowed) for minutes in STORM_AT)
    for seed in range(100_000):
        found = configuration(
            [*flags, f"--seed={seed}", f"--rate-529={0.5 / len(names):.6f}", f"--storm-s={STORM_S:g}"]
        )
        hit = [
            (again, index) for index, name in enumerate(names) for again in (0, 1) if draw_transport(found, name, again)
        ]
        if len(hit) == 1 and (0, first) <= hit[0] <= (0, last):
            return found
    raise RuntimeError("no seed draws one storm in the middle")


def _result(case: str, arm: str, allowed: float, watching: Watching, done: Run) -> Result:
    looks, report = watching.looks, done.report
    began = looks[0].at
    window = [look for look in looks if SETTLED_S - 1 <= look.at - began <= UNTIL_S + 1]
    first, last = window[0], window[-1]
    minutes = (last.at - first.at) / 60
    return Result(
        case,
        arm,
        (last.admitted - first.admitted) / minutes,
        (last.output_tokens - first.output_tokens) / minutes,
        allowed,
        (last.refused - first.refused) / (last.requests - first.requests),
        first.refused,
        looks[-1].overloaded,
        watching.most_in_flight,
        report.calls.by_kind,
        report.atoms_succeeded,
        report.atoms_failed,
        report.atoms_total,
        str(report.status),
        done.wall_s,
    )


def show(result: Result) -> None:
    """Print one line."""
    print(
        f"{result.case:14} {result.arm:9} {100 * result.used:5.1f} % used: {result.admitted:5.1f} of "
        f"{result.allowed_calls:.0f} requests, {result.output_tokens:7,.0f} of {OUTPUT:,} output tokens a minute; "
        f"{100 * result.refused_share:4.1f} % refused ({result.refused_before} in the first minute), "
        f"{result.overloaded} times 529, at most {result.most_in_flight} in flight; "
        f"{result.status}: {result.succeeded} of {result.atoms}, {result.failed} failed, {result.wall_s:.0f} s; "
        f"calls without an answer: {result.failures or 'none'}",
        flush=True,
    )


def arms(cases: list[str], wanted: list[str]) -> Iterator[tuple[str, str]]:
    """Yield every case with each of its arms."""
    for case in cases:
        usual = RIVALS[case.partition("-")[0]]
        rivals = usual[1:2] if case.endswith("-storm") else usual
        yield from ((case, arm) for arm in wanted or ("adaptive", *rivals, "oracle"))


def separately(case: str, arm: str) -> Result | None:
    """Measure an arm in a program of its own: each has its own Ray."""
    command = [sys.executable, __file__, "--case", case, "--arm", arm, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        print(f"{case} {arm}: failed\n{done.stdout[-2000:]}{done.stderr[-4000:]}", flush=True)
        return None
    values: dict[str, Any] = json.loads(found[-1])
    result = Result(**values)
    show(result)
    return result


def main() -> None:
    """Measure all arms that were asked for."""
    cases = [f"{binding}{storm}" for binding in MEDIAN_TOKENS for storm in ("", "-storm")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=cases, help="by default all")
    parser.add_argument("--arm", action="append", metavar="ARM", help="adaptive, fixed:N or oracle; by default several")
    parser.add_argument("--parallel", type=int, default=6, help="arms at the same time, each with its own Ray")
    parser.add_argument("--json", action="store_true", help="one case and arm, here; its result as JSON")
    arguments = parser.parse_args()
    wanted = list(arms(arguments.case or cases, arguments.arm or []))
    for _, arm in wanted:
        rival(arm, 1.0)
    if arguments.json:
        print(json.dumps(asdict(measure(*wanted[0]))))
        return
    print(f"{os.cpu_count()} cores, {arguments.parallel} arms at a time, simulated latency {LATENCY}", flush=True)
    with ThreadPoolExecutor(arguments.parallel) as threads:
        results = list(threads.map(lambda one: separately(*one), wanted))
    sys.exit(any(result is None or result.succeeded < result.atoms for result in results))


if __name__ == "__main__":
    main()
