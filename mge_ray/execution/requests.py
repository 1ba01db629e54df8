"""What people may ask of an execution: in which states, and the one line where its state rules it out (ADR 12)."""

from __future__ import annotations

from uuid import UUID

from mge_ray.domain import events as e
from mge_ray.domain.atom import AcceptedAtom
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.errors import MgeRayError, StateConflictError
from mge_ray.domain.execution_record import ExecutionRecord
from mge_ray.domain.retry import feedback
from mge_ray.domain.state import ATOM_TRANSITIONS, TRANSITIONS, AtomStatus, ExecutionStatus
from mge_ray.domain.validation import ValidationResult
from mge_ray.execution.ports import Candidate

_NEEDS = {
    e.PauseRequested: ("pause", "running"),
    e.HaltRequested: ("pause", "running"),
    e.ResumeRequested: ("resume", "paused"),
    e.ConcurrencyChanged: ("another bound", "running or paused"),
    e.CancelRequested: ("cancel", "running or paused"),
    e.RetryRequested: ("retry", "paused or failed"),
    e.CodeEdited: ("edit", "paused, completed or failed"),
    e.FailureAccepted: ("approve in spite of failures", "paused or failed"),
    e.AtomApproved: ("approve", "started"),
    e.BudgetRaised: ("budget", "not cancelled"),
}
ByHand = e.RetryRequested | e.CodeEdited | e.FailureAccepted | e.AtomApproved


class EditRefusedError(MgeRayError):
    """Code written by hand that does not pass its check; nothing was changed. `verdict` says why."""

    def __init__(self, atom_id: str, verdict: ValidationResult) -> None:
        told = "; ".join(" ".join(line.split()) for line in feedback(verdict))
        super().__init__(f"the code for {atom_id!r} does not pass its check, so nothing was changed: {told}")
        self.atom_id = atom_id
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[EditRefusedError], tuple[str, ValidationResult]]:
        """Survive pickling, which passes only the message otherwise."""
        return (EditRefusedError, (self.atom_id, self.verdict))


def check_state(execution_id: UUID, status: ExecutionStatus, event_type: type) -> None:
    """Raise StateConflictError, naming the state and what is possible, if no such event may follow it."""
    if (status, event_type) in TRANSITIONS:
        return
    verb, needs = _NEEDS[event_type]
    first = " (pause it first)" if status is ExecutionStatus.RUNNING else ""
    raise StateConflictError(f"execution {execution_id} is {status.value}; {verb} needs one that is {needs}{first}")


def check_atom(record: AtomRecord, event_type: type) -> None:
    """Raise StateConflictError with advice if the atom's state rules the wish out."""
    if (record.status, event_type) in ATOM_TRANSITIONS:
        return
    name = record.atom_id
    if record.status is AtomStatus.FAILED:  # the only wish a failed atom refuses
        raise StateConflictError(f"atom {name!r} failed: edit or retry it, or approve it despite its failures")
    if record.status is AtomStatus.BLOCKED:
        raise StateConflictError(f"atom {name!r} is blocked ({record.cause}): edit, retry or approve what it rests on")
    verb, _ = _NEEDS[event_type]
    needs = {status.value for status, event in ATOM_TRANSITIONS if event is event_type}
    raise StateConflictError(
        f"atom {name!r} is {record.status.value}; {verb} needs one that has {' or '.join(sorted(needs))}"
    )


def candidate_of(machine: ExecutionRecord, atom_id: str, code: str) -> Candidate:
    """Return `code` as the atom's, on top of the code now accepted for its whole dependency closure."""
    plan, codes = machine.plan, machine.accepted_codes()
    closure = tuple(AcceptedAtom(atom=plan.by_id[one], code=codes.get(one)) for one in plan.closure(atom_id))
    return Candidate(plan.by_id[atom_id], code, closure, plan.files, plan.validation)


def approval(
    machine: ExecutionRecord, atom_id: str, *, at: float, by: str, note: str, despite_failures: bool
) -> e.FailureAccepted | e.AtomApproved:
    """Return what approving this atom means; raise StateConflictError where it cannot be approved."""
    kind = e.FailureAccepted if despite_failures else e.AtomApproved
    check_state(machine.execution_id, machine.status, kind)
    check_atom(machine.atom(atom_id), kind)
    return kind(at, atom_id, by, note)
