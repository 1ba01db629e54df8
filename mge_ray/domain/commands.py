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
    """Check the atom's candidate in the sandbox, on accepted code or what is to be used `instead`: (atom id, code).

    Free to run again.
    """

    atom_id: str
    attempt: int
    call_id: str
    code: str
    instead: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Accept:
    """Check the project as it stands above the single atom: at the end of a wave, or (0) its acceptance tests.

    Free to run again.
    """

    wave_id: int = 0


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


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """An attempt ended in a verdict."""

    atom_id: str
    attempt: int
    passed: bool
    temperature_changed: bool


@dataclass(frozen=True, slots=True)
class AtomFinished:
    """An atom reached its end."""

    atom_id: str
    wave_id: int
    succeeded: bool
    attempts: int
    active_s: float


@dataclass(frozen=True, slots=True)
class WaveFinished:
    """The last atom of a wave reached its end."""

    wave_id: int


@dataclass(frozen=True, slots=True)
class ExecutionFinished:
    """The execution reached its end."""


@dataclass(frozen=True, slots=True)
class SoftLimitReached:
    """Most of the limit is spent or may have been (US dollars). Told once for each limit; the execution goes on."""

    committed_usd: float
    limit_usd: float


# Not to be carried out but to be told: to metrics, logs and whoever watches.
Notice = AttemptMade | AtomFinished | WaveFinished | ExecutionFinished | SoftLimitReached
