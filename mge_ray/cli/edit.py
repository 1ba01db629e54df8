"""`mge-ray edit`: code written by hand takes an atom's place, if it passes what the model's answers must pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mge_ray.adapters.sandbox import SandboxLevel
from mge_ray.cli.change import (
    AtomArgument,
    ControlError,
    IdArgument,
    change_undriven,
    expect_undriven,
    found,
    machine_of,
    tell_next,
    user_name,
)
from mge_ray.cli.exits import SOME_FAILED
from mge_ray.cli.options import DbOption
from mge_ray.cli.run_options import stored_options
from mge_ray.domain.events import CodeEdited, Event
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.validation import ValidationResult
from mge_ray.execution.ports import Candidate
from mge_ray.execution.requests import EditRefusedError, candidate_of, check_atom, check_state
from mge_ray.wiring.build import validator
from mge_ray.wiring.settings import EngineConfig

MAX_CODE_BYTES = 1_000_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("edit")(edit)


def edit(
    execution_id: IdArgument,
    atom: AtomArgument,
    code: Annotated[Path, typer.Option(help="File with the atom's code, as the model would have answered it.")],
    sandbox: Annotated[
        str | None, typer.Option(help="Isolation: bubblewrap, namespaces, restricted or none. [the run's own]")
    ] = None,
    db: DbOption = None,
) -> None:
    """Give an atom code of your own, if it passes the atom's check; `resume` then goes on."""
    text, level = _read_code(code), _level(sandbox)
    url, stored = found(db, execution_id)
    check_state(stored.execution_id, stored.status, CodeEdited)
    expect_undriven(stored)
    machine = machine_of(url, stored.execution_id)
    check_atom(machine.atom(atom), CodeEdited)
    candidate = candidate_of(machine, atom, text)
    verdict = _judged(url, candidate, level or stored_options(stored).sandbox)
    if not verdict.passed:
        typer.echo(f"mge-ray: {EditRefusedError(atom, verdict)}", err=True)
        raise typer.Exit(SOME_FAILED)

    def decide(machine: ExecutionMachine) -> Event:
        if candidate_of(machine, atom, text) != candidate:
            raise ControlError(f"what atom {atom!r} rests on has changed meanwhile; edit it again")
        return CodeEdited(time.time(), atom, text, user_name(), verdict)

    state = change_undriven(url, stored, decide)
    typer.echo(f"atom {atom} has your code now; it passed {verdict.tests_run} tests")
    tell_next(state)


def _read_code(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CODE_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ControlError(f"--code {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ControlError(f"--code {path} is not UTF-8 text") from None
    if len(data) > MAX_CODE_BYTES:
        raise ControlError(f"--code {path} is longer than {MAX_CODE_BYTES:,} bytes")
    if not text.strip():
        raise ControlError(f"--code {path} is empty")
    return text


def _level(sandbox: str | None) -> str | None:
    if sandbox is not None and sandbox not in {level.value for level in SandboxLevel}:
        raise ControlError(f"--sandbox {sandbox!r} is none of {', '.join(level.value for level in SandboxLevel)}")
    return sandbox


def _judged(url: str, candidate: Candidate, level: str | None) -> ValidationResult:
    """Judge in this process's own sandbox: the same validator that judges the model's answers."""
    judge = validator(EngineConfig(engine_id="by hand", db_url=url, sandbox_level=level))
    try:
        return judge.judge(candidate)
    except RuntimeError as error:  # what a sandbox raises that cannot run at all
        raise ControlError(f"the code could not be checked, so nothing was changed: {error}") from error
    finally:
        judge.close()
