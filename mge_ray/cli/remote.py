"""Verbs for a service elsewhere: `--server URL` instead of a database. The token comes from the environment."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.table import Table

from mge_ray.api.schemas import ExecutionStatusResponse, StartSettings
from mge_ray.cli.console import console
from mge_ray.cli.exits import exit_code
from mge_ray.client import MgeRayClient, ServiceError, ServiceUnavailableError
from mge_ray.domain.errors import EngineUnavailableError, MgeRayError, UnknownExecutionError
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.throttle import described
from mge_ray.pipeline.output_folder import MARKER, write_project
from mge_ray.pipeline.wire import WireEvent

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="MGE_RAY_SERVER",
        help="Ask a service instead; its token is in $MGE_RAY_TOKEN.",
    ),
]
PATIENCE_S = 20.0
"""A coordinator is back within it; whoever has mistyped the address wants to know sooner."""
MIN_PREFIX = 4
LOOKED_THROUGH = 1_000


class RemoteError(MgeRayError):
    """A wish that the service has refused."""


@contextmanager
def service(url: str) -> Iterator[MgeRayClient]:
    """Yield a client of the service; what it refuses is one line for people."""
    with MgeRayClient(url, token=os.environ.get("MGE_RAY_TOKEN"), patience_s=PATIENCE_S) as client:
        try:
            yield client
        except ServiceError as error:
            advice = "; set MGE_RAY_TOKEN" if error.status == 401 else ""  # noqa: PLR2004  # HTTP's number
            raise RemoteError(f"{error}{advice}") from None
        except ServiceUnavailableError as error:
            raise EngineUnavailableError(str(error)) from None


def found(client: MgeRayClient, text: str) -> UUID:
    """Return the execution that an id or its beginning means."""
    try:
        return UUID(text)
    except ValueError:
        pass
    if len(text) < MIN_PREFIX:
        raise UnknownExecutionError(f"{text!r} is not an execution id; give at least its first {MIN_PREFIX} characters")
    fitting = []
    for number, one in enumerate(client.executions(LOOKED_THROUGH), start=1):
        if str(one.execution.execution_id).startswith(text.lower()):
            fitting.append(one.execution.execution_id)
        if number >= LOOKED_THROUGH:
            break
    if len(fitting) != 1:
        what = f"{len(fitting)} of" if fitting else "none of"
        raise UnknownExecutionError(f"{text!r} fits {what} the service's last {LOOKED_THROUGH} executions; give the id")
    return fitting[0]


def steer(url: str, text: str, act: Callable[[MgeRayClient, UUID], ExecutionStatusResponse]) -> None:
    """Do something with an execution and tell how it stands then."""
    with service(url) as client:
        _tell(act(client, found(client, text)))


def concurrency(url: str, text: str, limit: int | None) -> None:
    """Tell how calls are throttled, or bound an execution's anew."""
    if limit is not None:
        steer(url, text, lambda client, one: client.set_concurrency(one, limit))
        return
    with service(url) as client:
        throttles = client.concurrency().throttles
    typer.echo("\n".join(map(described, throttles)) or "no call has been made yet")


def show_status(url: str, text: str, atom: str | None, *, as_json: bool) -> None:
    """Tell how an execution stands, or one atom of it."""
    with service(url) as client:
        execution_id = found(client, text)
        if atom is not None:
            shown = client.attempts(execution_id, atom)
            state = client.atom(execution_id, atom)
            told = {"atom": state.model_dump(mode="json"), "attempts": [one.model_dump(mode="json") for one in shown]}
            typer.echo(json.dumps(told, indent=2))
            return
        progress = client.progress(execution_id)
    if as_json:
        typer.echo(progress.model_dump_json(indent=2))
        return
    _tell(progress.execution)
    table = Table("wave", "atoms", "succeeded", "failed", "blocked", "attempts", "cost", "s", box=None, pad_edge=False)
    for wave in progress.waves:
        counts = (wave.wave_id, wave.atoms_total, wave.atoms_succeeded, wave.atoms_failed, wave.atoms_blocked)
        table.add_row(*map(str, (*counts, wave.attempts)), f"${wave.cost_usd:.4f}", f"{wave.time_seconds:.1f}")
    console().print(table)


def show_list(url: str, limit: int, *, as_json: bool) -> None:
    """List the service's executions that the token may see."""
    with service(url) as client:
        items = []
        for item in client.executions(min(limit, LOOKED_THROUGH)):
            items.append(item)
            if len(items) >= limit:
                break
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in items], indent=2))
        return
    table = Table("execution", "plan", "status", "atoms", "cost", "begun", box=None, pad_edge=False)
    for item in items:
        one = item.execution
        began = datetime.fromtimestamp(item.created_at, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        done = f"{one.atoms_succeeded}/{one.atoms_total}"
        table.add_row(str(one.execution_id), one.name, one.status.value, done, f"${one.total_cost_usd:.4f}", began)
    console().print(table if items else "no executions yet")


def submit(url: str, plan: Masterplan, settings: StartSettings, *, key: str | None, out: Path | None) -> int:
    """Start a plan on the service, follow it to its end, and fetch the project; return the exit code."""
    screen = console(stderr=True)
    with service(url) as client:
        started = client.start(plan, settings, idempotency_key=key).execution_id
        typer.echo(str(started))
        screen.print(
            f"following {url.rstrip('/')}/#/{started} (Ctrl-C stops following, not the execution)", markup=False
        )
        told = ""
        for one in client.follow(started):
            if isinstance(one, WireEvent):
                continue
            line = f"wave {one.current_wave} of {one.total_waves}, {one.atoms_completed}/{one.atoms_total} atoms"
            line = f"{one.status.value}: {line}, ${one.total_cost_usd:.4f}"
            if line != told:
                screen.print(told := line, markup=False)
            if one.status.value == "paused" and not one.atoms_in_flight:
                break
        state = client.status(started)
        if out is not None:
            unpack(client.output(started), out)
            screen.print(f"project    {out.resolve()}", markup=False)
    _tell(state)
    return exit_code(state.status)


def fetch(url: str, text: str, out: Path) -> None:
    """Fetch an execution's project into a folder."""
    with service(url) as client:
        unpack(client.output(found(client, text)), out)
    typer.echo(str(out.resolve()))


def unpack(packed: bytes, out: Path) -> None:
    """Write a project from its zip; every path in it is checked like one of a plan."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            files = {name: archive.read(name).decode("utf-8") for name in archive.namelist() if name != MARKER}
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise RemoteError(f"the service's project cannot be unpacked: {error}") from None
    write_project(files, out)


def choices(**told: object) -> StartSettings:
    """Return the settings of a start; raise RemoteError with one line for what the service would refuse."""
    try:
        return StartSettings.model_validate({name: value for name, value in told.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise RemoteError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _tell(state: ExecutionStatusResponse) -> None:
    reason = f": {state.reason}" if state.reason else ""
    simulated = " (simulated)" if state.simulated else ""
    limit = "none" if state.budget_usd is None else f"${state.budget_usd:g}"
    atoms = (
        f"{state.atoms_succeeded} succeeded, {state.atoms_failed} failed, {state.atoms_blocked} blocked, "
        f"{state.atoms_in_flight} in flight, {state.atoms_total} in all"
    )
    money = f"reserved ${state.reserved_cost_usd:.4f}, unknown ${state.unknown_cost_usd:.4f}, limit {limit}"
    lines = [
        f"execution  {state.execution_id} is {state.status.value}{reason}",
        f"atoms      {atoms}",
        f"cost       ${state.total_cost_usd:.4f}{simulated}, {money}",
    ]
    console().print("\n".join(lines), markup=False, soft_wrap=True)
    sys.stdout.flush()
