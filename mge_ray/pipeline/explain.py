"""Why an atom was bought, taken over, blocked or opened again: answers in words, from the journal alone (ADR 14).

Pure. Keys are computed again for this execution and for an earlier one of the same plan, and compared part by part.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.reuse import AtomKey, differences
from mge_ray.domain.state import AtomStatus
from mge_ray.domain.validation import Level
from mge_ray.pipeline.surroundings import atom_keys

MAX_CAUSE_CHARS = 300


class Explanation(BaseModel):
    """What became of an atom in a word, and why in sentences."""

    model_config = ConfigDict(frozen=True)

    atom_id: str
    status: AtomStatus
    verdict: str
    reasons: tuple[str, ...]
    cost_usd: float
    saved_usd: float


def explain(machine: ExecutionMachine, atom_id: str, earlier: Sequence[ExecutionMachine]) -> Explanation:
    """Explain one atom. `earlier` are executions of the same plan that began before, the latest first.

    Raises UnknownExecutionError for an atom that the plan does not have.
    """
    machine.plan.atom(atom_id)
    record = machine.atoms[atom_id]
    verdict, reasons = _what_and_why(machine, record, earlier)
    return Explanation(
        atom_id=atom_id,
        status=record.status,
        verdict=verdict,
        reasons=(*reasons, *_sent_back(record)),
        cost_usd=record.cost_usd,
        saved_usd=record.reused.saved_usd if record.reused and record.stands_reused else 0.0,
    )


def _what_and_why(
    machine: ExecutionMachine, record: AtomRecord, earlier: Sequence[ExecutionMachine]
) -> tuple[str, list[str]]:
    if record.status is AtomStatus.BLOCKED:
        return "blocked", [record.cause, *_root_causes(machine, record.atom_id)]
    if record.stands_reused and record.reused is not None:
        saved = f"which saved ${record.reused.saved_usd:.4f}" if record.reused.saved_usd else "at no cost"
        return "reused", [
            f"its code passed the same check in execution {record.reused.source}, {saved}",
            "nothing that the verdict rests on has changed since: its specification, its tests, the code below it",
        ]
    if record.attempts or record.cost_usd or record.in_flight:
        return "bought", _why_bought(machine, record.atom_id, earlier)
    if record.status is AtomStatus.CANCELLED:
        return "cancelled", [f"the execution was cancelled before its turn: {machine.reason}"]
    if record.status is AtomStatus.PENDING:
        return "waiting", [f"it is of wave {record.wave_id}, and wave {machine.current_wave} is not done"]
    return "waiting", ["it waits for its call"]


def _root_causes(machine: ExecutionMachine, atom_id: str) -> list[str]:
    below = [machine.atoms[one] for one in machine.plan.closure(atom_id)]
    failed = [record for record in below if record.status is AtomStatus.FAILED]
    return [f"{record.atom_id} failed: {record.cause[:MAX_CAUSE_CHARS]}" for record in failed]


def _sent_back(record: AtomRecord) -> list[str]:
    told = []
    if record.waits_for:
        told.append(f"it waits for {record.waits_for}, which it blames for its failures and which is open again")
    if record.reopened:
        verdicts = [record.reused.verdict] if record.reused else []
        verdicts += [attempt.verdict for attempt in record.attempts]
        above = [one for one in verdicts if not one.passed and one.level in {Level.WAVE, Level.SYSTEM, Level.MODULE}]
        why = [one.failures[0].message[:MAX_CAUSE_CHARS] for one in above if one.failures]
        times = "once" if record.reopened == 1 else f"{record.reopened} times"
        told.append(f"it was accepted and opened again {times}" + "".join(f"; {message}" for message in why))
    return told


def _why_bought(machine: ExecutionMachine, atom_id: str, earlier: Sequence[ExecutionMachine]) -> list[str]:
    if machine.settings is None or machine.settings.reuse is None:
        return ["this execution was started without reuse"]
    if machine.atoms[atom_id].reused is not None:
        return ["its code had been taken over, and was sent back"]
    had = [one for one in earlier if atom_id in one.atoms]
    accepted = next((one for one in had if _kept(one, atom_id)), None)
    return _what_changed(machine, accepted, atom_id) if accepted else [_why_nothing_was_kept(had, atom_id)]


def _kept(machine: ExecutionMachine, atom_id: str) -> bool:
    return machine.atoms[atom_id].status is AtomStatus.SUCCEEDED and _key(machine, atom_id) is not None


def _why_nothing_was_kept(had: Sequence[ExecutionMachine], atom_id: str) -> str:
    if not had:
        return "no earlier execution of this plan in the database had this atom"
    last = had[0]
    if last.settings is None or last.settings.reuse is None:
        return f"execution {last.execution_id} ran without reuse, so nothing of it was kept"
    return f"in execution {last.execution_id} it did not succeed ({last.atoms[atom_id].status.value})"


def _what_changed(machine: ExecutionMachine, accepted: ExecutionMachine, atom_id: str) -> list[str]:
    before, after = _key(accepted, atom_id), _key(machine, atom_id)
    assert before is not None  # noqa: S101  # it was chosen by that
    assert after is not None  # noqa: S101  # asked above
    changed = differences(before, after)
    since = f"since execution {accepted.execution_id}"
    if changed:
        return [f"{since} {one}" for one in changed]
    return [
        f"nothing changed {since}, but its code was no longer kept: too old, cleared, or dropped when it was blamed"
    ]


def _key(machine: ExecutionMachine, atom_id: str) -> AtomKey | None:
    """Return the key as it is now; None where the execution kept none."""
    if machine.settings is None or machine.settings.reuse is None:
        return None
    keys = atom_keys(machine.plan, machine.settings.reuse)
    return keys.key(atom_id, machine.accepted_version, machine.accepted_codes)
