"""`mge-ray pause`, `cancel`, `retry` and `approve`: what a person may ask of any execution, wherever it runs."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mge_ray.cli import remote
from mge_ray.cli.change import (
    AtomArgument,
    IdArgument,
    answer_of_owner,
    ask_or_change,
    change_undriven,
    found,
    tell_next,
    user_name,
)
from mge_ray.cli.options import DbOption
from mge_ray.cli.remote import ServerOption
from mge_ray.domain.events import (
    MOST_CONCURRENCY,
    CancelRequested,
    ConcurrencyChanged,
    Event,
    HaltRequested,
    PauseRequested,
    RetryRequested,
)
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.requests import approval, check_atom, check_state

MAX_NOTE_CHARS = 2_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (pause, cancel, retry, approve, concurrency):
        app.command(command.__name__)(command)


def pause(
    execution_id: IdArgument,
    now: Annotated[
        bool, typer.Option("--now", help="Give up what is in flight; its calls may be billed all the same.")
    ] = False,
    db: DbOption = None,
    server: ServerOption = None,
) -> None:
    """Let nothing new start; what is in flight finishes and is kept."""
    if server:
        reason = f"paused by {user_name()}"
        remote.steer(server, execution_id, lambda client, one: client.pause(one, reason=reason, now=now))
        return
    url, stored = found(db, execution_id)
    before, reason = stored.state, f"paused by {user_name()}"
    if stored.status is not ExecutionStatus.PAUSED or (now and stored.state.atoms_in_flight):
        check_state(stored.execution_id, stored.status, HaltRequested if now else PauseRequested)
        arguments = {"reason": reason, "now": now}
        # Where nobody waits for what is in flight any more, it is given up either way.
        state = ask_or_change(url, stored, "pause", arguments, lambda _: HaltRequested(time.time(), reason))
    else:
        state = before
    _tell(state)
    _tell_unknown(before, state)
    tell_next(state)


def cancel(execution_id: IdArgument, db: DbOption = None, server: ServerOption = None) -> None:
    """End an execution for good; what is in flight is given up, what was accepted is kept."""
    if server:
        reason = f"cancelled by {user_name()}"
        remote.steer(server, execution_id, lambda client, one: client.cancel(one, reason=reason))
        return
    url, stored = found(db, execution_id)
    state, reason = stored.state, f"cancelled by {user_name()}"
    if stored.status is not ExecutionStatus.CANCELLED:
        check_state(stored.execution_id, stored.status, CancelRequested)
        arguments = {"reason": reason}
        state = ask_or_change(url, stored, "cancel", arguments, lambda _: CancelRequested(time.time(), reason))
    _tell(state)
    _tell_unknown(stored.state, state)


def retry(
    execution_id: IdArgument,
    atom: Annotated[list[str] | None, typer.Option(help="A failed atom; may be repeated. [every failed one]")] = None,
    db: DbOption = None,
    server: ServerOption = None,
) -> None:
    """Grant failed atoms new attempts, and open what they blocked; `resume` then goes on."""
    if server:
        remote.steer(server, execution_id, lambda client, one: client.retry(one, atom or ()))
        return
    url, stored = found(db, execution_id)

    def decide(machine: ExecutionMachine) -> Event:
        for atom_id in atom or ():
            check_atom(machine.atom(atom_id), RetryRequested)
        return RetryRequested(time.time(), tuple(atom or ()))

    check_state(stored.execution_id, stored.status, RetryRequested)
    state = change_undriven(url, stored, decide)
    _tell(state)
    tell_next(state)


def approve(
    execution_id: IdArgument,
    atom: AtomArgument,
    despite_failures: Annotated[
        bool, typer.Option(help="Use the best code of a failed atom all the same; it stays counted as failed.")
    ] = False,
    note: Annotated[str, typer.Option(help="Why; shown in the report.")] = "",
    db: DbOption = None,
    server: ServerOption = None,
) -> None:
    """Say that you have looked at an atom's code; or, despite failures, that it is to be used."""
    if server:
        said_note = note[:MAX_NOTE_CHARS]
        remote.steer(
            server,
            execution_id,
            lambda client, one: client.approve(one, atom, note=said_note, despite_failures=despite_failures),
        )
        return
    url, stored = found(db, execution_id)
    said = {"by": user_name(), "note": note[:MAX_NOTE_CHARS], "despite_failures": despite_failures}

    def decide(machine: ExecutionMachine) -> Event:
        return approval(machine, atom, at=time.time(), **said)  # type: ignore[arg-type]  # as written above

    if despite_failures:
        state = change_undriven(url, stored, decide)
    else:
        state = ask_or_change(url, stored, "approve", {"atom_id": atom, **said}, decide)
    typer.echo(f"atom {atom} is {'used despite its failures' if despite_failures else 'approved'} by {said['by']}")
    if despite_failures:
        tell_next(state)


def concurrency(
    execution_id: IdArgument,
    limit: Annotated[int | None, typer.Option(min=1, max=MOST_CONCURRENCY, help="Calls in flight at most.")] = None,
    db: DbOption = None,
    server: ServerOption = None,
) -> None:
    """Show how an execution's calls are throttled, or bound them anew while it runs."""
    if server:
        remote.concurrency(server, execution_id, limit)
        return
    url, stored = found(db, execution_id)
    said = {"limit": limit, "by": user_name()}
    if stored.driven(time.time()) and (told := answer_of_owner(url, stored, "concurrency", said)) is not None:
        typer.echo(told)
    elif limit is None:
        typer.echo(f"execution {stored.execution_id} is {stored.status.value} and makes no calls")
    else:
        check_state(stored.execution_id, stored.status, ConcurrencyChanged)
        state = change_undriven(url, stored, lambda _: ConcurrencyChanged(time.time(), limit, user_name()))
        typer.echo(f"at most {limit} calls in flight from its resume on")
        tell_next(state)


def _tell(state: ExecutionState) -> None:
    reason = f": {state.reason}" if state.reason else ""
    in_flight = f"; {state.atoms_in_flight} in flight finish first" if state.atoms_in_flight else ""
    typer.echo(f"execution {state.execution_id} is {state.status.value}{reason}{in_flight}")


def _tell_unknown(before: ExecutionState, after: ExecutionState) -> None:
    more = after.unknown_cost_usd - before.unknown_cost_usd
    if more > 0:
        simulated = " (simulated)" if after.simulated else ""
        typer.echo(f"calls that were given up may have been billed: at most ${more:.4f}{simulated}")
