"""What is to be done next, in the imperative.

The machine returns commands; a shell carries them out, after the events that led to them are journalled.
"""

from __future__ import annotations

from dataclasses import dataclass

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.retry import AttemptSettings


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the model for the atom's code. `call_id` is the call's identity for ever, `gateway` who has been asked."""

    atom_id: str
    attempt: int
    call_id: str
    settings: AttemptSettings
    previous_code: str | None = None
    previous_errors: tuple[str, ...] = ()
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Execute:
    """Check the atom's candidate in the sandbox. Free to run again."""

    atom_id: str
    attempt: int
    call_id: str
    code: str


@dataclass(frozen=True, slots=True)
class Accept:
    """Run the plan's acceptance tests on the assembled project. Free to run again."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give a lease back."""

    pool: Pool
    lease_id: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Tell the gateway that the answer is journalled and may be forgotten."""

    call_id: str
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop waiting for a piece of work."""

    call_id: str
    gateway: str = ""


Command = Generate | Execute | Accept | Release | Acknowledge | Abandon
