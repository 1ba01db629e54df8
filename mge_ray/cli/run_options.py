"""What a run was told about its surroundings, kept with the execution so that a resume need not be told again.

No key and no base URL: those come from the environment of whoever resumes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from mge_ray.adapters.journal import StoredExecution
from mge_ray.simulator.arguments import to_arguments

if TYPE_CHECKING:
    from mge_ray.cli.run import Request


class RunOptions(BaseModel):
    """Where output and reports go, and what decides how calls and checks are made. `simulator` are its flags."""

    model_config = ConfigDict(frozen=True)

    out: Path | None = None
    reports: tuple[Path, ...] = ()
    prices: tuple[str, ...] = ()
    sandbox: str | None = None
    sampling: bool | None = None
    simulator: tuple[str, ...] | None = None


def options_of(request: Request) -> str:
    """Return what is to be kept of a run, as JSON."""
    return RunOptions(
        out=request.out.resolve(),
        reports=tuple(path.resolve() for path in request.reports),
        prices=request.config.prices,
        sandbox=request.sandbox,
        sampling=request.config.sampling,
        simulator=tuple(to_arguments(request.simulator)) if request.simulator else None,
    ).model_dump_json()


def stored_options(stored: StoredExecution) -> RunOptions:
    """Return what was kept of a run; nothing where it was started by a library or another version."""
    try:
        return RunOptions.model_validate_json(stored.run_options or "{}")
    except ValidationError:
        return RunOptions()
