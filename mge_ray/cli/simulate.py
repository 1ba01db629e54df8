"""`mge-ray simulate`, and the simulated server that `run --simulate` starts for itself."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from mge_ray.domain.errors import MgeRayError
from mge_ray.simulator.arguments import parse_arguments, to_arguments
from mge_ray.simulator.config import SimulatorConfig, SimulatorConfigError
from mge_ray.simulator.server import serve

ANNOUNCEMENT = " on "


class SimulatorError(MgeRayError):
    """The simulated server could not be started."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("simulate", context_settings={"ignore_unknown_options": True, "help_option_names": []})
    def simulate(arguments: list[str] = typer.Argument(None, metavar="[FLAGS]")) -> None:
        """Serve a simulated Messages API: known answers, drawn faults. `mge-ray simulate --help` lists its flags."""
        serve(configuration(arguments or []))


def configuration(arguments: Sequence[str]) -> SimulatorConfig:
    """Return the simulator's configuration; raise SimulatorError with one line for flags that make no sense."""
    try:
        return parse_arguments(list(arguments))
    except SimulatorConfigError as error:
        raise SimulatorError(str(error)) from None


def configured(
    plan: Path, answers: Path | None, wrong: Path | None, faults: list[str], latency: str, seed: int
) -> SimulatorConfig:
    """Return what the options of a run say about its simulated server; raise SimulatorError with one line."""
    answers = answers or plan.parent / "answers.json"
    if not answers.exists():
        raise SimulatorError(
            f"the simulated server needs answers, and {answers} does not exist; name them with --answers"
        )
    wrong = wrong or plan.parent / "wrong_answers.json"
    return configuration(flags(answers, wrong if wrong.exists() else None, faults, latency, seed))


def flags(
    answers: Path | None, wrong: Path | None, faults: list[str], latency: str | None, seed: int | None
) -> list[str]:
    """Return the server's own flags for what was told; raise SimulatorError with one line for a wrong fault."""
    given = {
        "answers": answers and answers.resolve(),
        "wrong-answers": wrong and wrong.resolve(),
        "latency": latency,
        "seed": seed,
    }
    return [f"--{name}={value}" for name, value in given.items() if value is not None] + [
        _fault_flag(fault) for fault in faults
    ]


def _fault_flag(fault: str) -> str:
    name, separator, rate = fault.partition("=")
    if not separator:
        raise SimulatorError(f"--fault {fault!r} is not NAME=RATE, such as wrong=0.2")
    rates = {n.removeprefix("rate_"): n for n in SimulatorConfig.__dataclass_fields__ if n.startswith("rate_")}
    known = {**rates, **{n: n for n in ("storm_s", "storm_share", "stall_s", "retry_after_s")}}
    field_name = known.get(name.replace("-", "_"))
    if field_name is None or not _is_number(rate):
        raise SimulatorError(f"--fault {fault!r} is not NAME=NUMBER with a name of {', '.join(known)}")
    return f"--{field_name.replace('_', '-')}={rate}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@contextlib.contextmanager
def server(config: SimulatorConfig) -> Iterator[str]:
    """Run the simulated server in a process of its own, which ends with the block or with us; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mge_ray.simulator", *to_arguments(config), "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018  # pipes were asked for
    try:
        line = process.stdout.readline()
        if ANNOUNCEMENT not in line:
            process.stdin.close()
            last = process.stderr.read().strip().splitlines()[-1:] or ["it said nothing"]
            raise SimulatorError(f"the simulated server did not start: {last[0]}")
        yield line.rsplit(ANNOUNCEMENT, 1)[1].strip()
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
