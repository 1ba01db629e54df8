"""What one attempt was and cost, and the record of one atom: everything that changes about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mge_ray.domain.generation import StopReason
from mge_ray.domain.retry import AttemptSettings, best_of
from mge_ray.domain.state import AtomStatus
from mge_ray.domain.validation import ValidationResult


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try with an answer and a verdict. `latency_s` is the call's, `check_s` the validator's time in seconds.

    `by` is empty, or names the person who wrote the code.
    """

    number: int
    call_id: str
    settings: AttemptSettings
    code: str | None
    verdict: ValidationResult
    cost_usd: float
    stop_reason: StopReason
    latency_s: float
    check_s: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody has looked at an atom's code, when it had had `attempts_seen` attempts."""

    by: str
    note: str
    at: float
    attempts_seen: int


@dataclass(frozen=True, slots=True)
class Reused:
    """Code taken over from the execution `source`, and what it cost there. `verdict` is set when it was sent back."""

    code: str
    key: str
    source: str
    saved_usd: float
    by: str = ""
    verdict: ValidationResult = field(default_factory=ValidationResult)


@dataclass(slots=True)
class Answer:
    """An answer that waits for its verdict."""

    call_id: str
    settings: AttemptSettings
    code: str
    cost_usd: float
    latency_s: float


class Recheck(NamedTuple):
    """A check of an earlier attempt (by index) with other code below it: (atom id, index of that atom's attempt)."""

    attempt: int
    instead: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class AtomRecord:
    """Where one atom stands. `attempt` and `tries` count from 1 for the call that is next or in flight.

    `active_s` is the time spent in flight, `flight_began_at` when the present flight began; waiting is not counted.
    `reopened` counts how often a failure above the atom sent it back after it was accepted, and `fallback` is the code
    that was accepted then. `waits_for` is the dependency that is open again, `opened` those that this atom has
    sent back, `rechecks` the checks still to be made with new code of theirs, the one in hand first, `hints` whom
    failed ones named. `on_trial` is true of an atom that was sent back by one that rests on it; `spares` are indices of
    its attempts that pass its own tests and wait to be of use, `newest_spare` the one of its last opening.
    `accepted_at` orders acceptances.
    `attempts_before` are those that do not count against the limit any more: a person granted new ones, or wrote some.
    `waived` says that its code is used although it failed. `cut_short` says that an answer was longer than what others
    had needed, so that the policy's own max_tokens holds from now on. `granted_from_usd` is what it had cost when a
    person granted new attempts, and its own budget with them; `closed_usd` what it had cost at its end.
    """

    atom_id: str
    wave_id: int
    status: AtomStatus = AtomStatus.PENDING
    attempt: int = 1
    tries: int = 1
    cut_answers: int = 0
    call_id: str = ""
    lease_id: str = ""
    gateway: str = ""
    settings: AttemptSettings | None = None
    answer: Answer | None = None
    attempts: list[Attempt] = field(default_factory=list)
    transport_errors: int = 0
    workers_lost: int = 0
    not_before: float = 0.0
    active_s: float = 0.0
    flight_began_at: float = 0.0
    cost_usd: float = 0.0
    unknown_usd: float = 0.0
    cause: str = ""
    code: str | None = None
    reopened: int = 0
    fallback: str | None = None
    waits_for: str = ""
    opened: list[str] = field(default_factory=list)
    rechecks: list[Recheck] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    on_trial: bool = False
    spares: list[int] = field(default_factory=list)
    newest_spare: int | None = None
    accepted_at: int = 0
    attempts_before: int = 0
    calls_set_aside: int = 0
    approval: Approval | None = None
    waived: bool = False
    reused: Reused | None = None
    cut_short: bool = False
    granted_from_usd: float = 0.0
    closed_usd: float = 0.0

    @property
    def attempt_of_round(self) -> int:
        """The number of the attempt among those that the limit counts, from 1."""
        return self.attempt - self.attempts_before

    @property
    def calls_failed(self) -> int:
        """How many calls came to nothing; tells the calls of one attempt apart."""
        return self.transport_errors + self.calls_set_aside

    @property
    def committed_usd(self) -> float:
        """What its calls have cost, or may have, since a person last granted attempts."""
        return max(0.0, self.cost_usd + self.unknown_usd - self.granted_from_usd)

    @property
    def approved(self) -> Approval | None:
        """The approval, while it is of the code that the atom has."""
        approval = self.approval
        return approval if approval is not None and approval.attempts_seen == len(self.attempts) else None

    @property
    def edited_by(self) -> str:
        """Who wrote the code that the atom has; empty where the model did."""
        return next((one.by for one in reversed(self.attempts) if one.code and one.code == self.code), "")

    @property
    def holds_up_others(self) -> bool:
        """True where nothing that rests on this atom can be made."""
        return self.status is AtomStatus.BLOCKED or (self.status is AtomStatus.FAILED and not self.waived)

    @property
    def untried(self) -> bool:
        """True while nothing was bought for this atom, nor taken over."""
        return not self.attempts and self.reused is None

    @property
    def stands_reused(self) -> bool:
        """True while code that was taken over stands for this atom."""
        return self.reused is not None and self.status is AtomStatus.SUCCEEDED and self.code == self.reused.code

    @property
    def last_try(self) -> Attempt | Reused | None:
        """What was wrong last, or accepted: the code and the verdict that the next attempt is told."""
        return self.attempts[-1] if self.attempts else self.reused

    @property
    def in_flight(self) -> bool:
        """True while a call or a check of this atom is under way."""
        return self.status in {AtomStatus.GENERATING, AtomStatus.EXECUTING}

    @property
    def best_attempt(self) -> Attempt | None:
        """The attempt whose verdict came closest to passing."""
        if not self.attempts:
            return None
        return self.attempts[best_of([attempt.verdict for attempt in self.attempts])]
