"""An execution changed by somebody who does not run it: by asking its owner through the journal, or in the journal.

One that somebody drives is its owner's; one that nobody drives is replayed, changed by one event, and written under a
new epoch. No Ray, and nothing is bought: `resume` does that.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import typer

from mge_ray.adapters.journal import (
    ControlRequest,
    SqlJournal,
    Standing,
    StoredExecution,
    load_events,
    load_execution,
    load_plan_of,
    move_request,
    put_request,
    read_request,
)
from mge_ray.cli.options import database, upgrade_if_there
from mge_ray.domain.errors import EngineUnavailableError, IllegalTransitionError, MgeRayError, StateConflictError
from mge_ray.domain.events import Event
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import ExecutionState
from mge_ray.execution.recovery import replay
from mge_ray.execution.requests import check_state

PATIENCE_S = 15.0
POLL_S = 0.2

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Execution id, or its first characters.")]
AtomArgument = Annotated[str, typer.Argument(metavar="ATOM", help="Id of an atom of the plan.")]
Decide = Callable[[ExecutionMachine], Event]


class ControlError(MgeRayError):
    """A wish that cannot be carried out as it was said; nothing was changed."""


def user_name() -> str:
    """Return the operating system's name of this process's user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def found(db: str | None, execution_id: str) -> tuple[str, StoredExecution]:
    """Return the journal's URL and the execution that the id or its beginning means."""
    url = database(db)
    upgrade_if_there(url)
    return url, load_execution(url, execution_id)


def ask_or_change(
    url: str, stored: StoredExecution, verb: str, arguments: dict[str, Any], decide: Decide
) -> ExecutionState:
    """Ask whoever drives the execution; where nobody does, change it in the journal."""
    if stored.driven(time.time()) and answer_of_owner(url, stored, verb, arguments) is not None:
        return load_execution(url, stored.execution_id).state
    return _change(url, stored, decide)


def answer_of_owner(url: str, stored: StoredExecution, verb: str, arguments: dict[str, Any]) -> str | None:
    """Return what the owner said when it had carried the request out; None if it died and the request is withdrawn."""
    request = ControlRequest(stored.execution_id, stored.epoch, verb, arguments, made_by=user_name())
    put_request(url, request)
    deadline = time.monotonic() + PATIENCE_S
    while (answer := read_request(url, request.request_id)).standing in {Standing.OPEN, Standing.TAKEN}:
        if time.monotonic() > deadline and answer.standing is Standing.OPEN:
            if not move_request(url, request.request_id, Standing.OPEN, Standing.WITHDRAWN):
                continue
            if load_execution(url, stored.execution_id).driven(time.time()):
                raise EngineUnavailableError(
                    f"{stored.owner}, which runs execution {stored.execution_id}, does not answer; nothing was changed"
                )
            return None
        if time.monotonic() > deadline + PATIENCE_S:
            raise EngineUnavailableError(
                f"{stored.owner} took the request and has not answered; see `mge-ray status {stored.execution_id}`"
            )
        time.sleep(POLL_S)
    if answer.standing is Standing.REFUSED:
        raise StateConflictError(answer.answer)
    return answer.answer


def expect_undriven(stored: StoredExecution) -> None:
    """Raise StateConflictError, with advice, if somebody waits for what is in flight."""
    if stored.driven(time.time()):
        check = f"`mge-ray pause {str(stored.execution_id)[:8]} --now` gives that up"
        raise StateConflictError(
            f"execution {stored.execution_id} is {stored.status.value}, and {stored.owner} waits for "
            f"{stored.state.atoms_in_flight} in flight: try again when they have landed, or {check}"
        )


def change_undriven(url: str, stored: StoredExecution, decide: Decide) -> ExecutionState:
    """Write what was decided to the journal of an execution that nobody drives; raise if somebody does."""
    expect_undriven(stored)
    return _change(url, stored, decide)


def _change(url: str, stored: StoredExecution, decide: Decide) -> ExecutionState:
    """Write one event to the journal of an execution that nobody drives; whoever had it holds a stale epoch then."""
    _applied(machine_of(url, stored.execution_id), decide)  # what is refused does not even take the epoch
    return asyncio.run(_write(url, stored.execution_id, decide))


async def _write(url: str, execution_id: UUID, decide: Decide) -> ExecutionState:
    journal = SqlJournal(url)
    try:
        epoch = await journal.take_over(execution_id)
        machine = machine_of(url, execution_id)
        event = _applied(machine, decide)
        state = execution_state(machine)
        await journal.append(execution_id, epoch, [event], state)
    finally:
        journal.close()
    return state


def _applied(machine: ExecutionMachine, decide: Decide) -> Event:
    event = decide(machine)
    check_state(machine.execution_id, machine.status, type(event))
    try:
        machine.handle(event)
    except IllegalTransitionError as error:
        raise StateConflictError(f"execution {machine.execution_id}: {error}") from error
    return event


def machine_of(url: str, execution_id: UUID) -> ExecutionMachine:
    """Return the execution as the journal has it."""
    return replay(execution_id, load_plan_of(url, execution_id), load_events(url, execution_id))


def tell_next(state: ExecutionState) -> None:
    """Say how an execution that is paused now goes on."""
    typer.echo(f"go on with: mge-ray resume {str(state.execution_id)[:8]}")
