"""Views of one execution for whoever looks at it from outside, made from a machine alone: rows, attempts, what waits.

Every function takes the machine first and returns plain data, so it runs where the machine is: in the process that
drives it, or over a replay of the journal.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.atom import AcceptedAtom
from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import wave_state
from mge_ray.domain.retry import feedback
from mge_ray.domain.state import AtomStatus, WaveState
from mge_ray.domain.validation import ValidationIssue
from mge_ray.execution.ports import PlanContext
from mge_ray.pipeline.prompt import render
from mge_ray.pipeline.report import ExecutionReport, build_report

MAX_CAUSE_CHARS = 300


class AtomRow(BaseModel):
    """One atom in a line. Money in US dollars, time in seconds in flight.

    `approved_by` says who looked at the code it has, `reused_from` which execution that was taken over from.
    """

    model_config = ConfigDict(frozen=True)

    atom_id: str
    name: str
    file: str
    symbol: str
    wave_id: int
    depends_on: tuple[str, ...]
    status: AtomStatus
    attempts: int
    cost_usd: float
    time_seconds: float
    cause: str
    approved_by: str = ""
    approval_note: str = ""
    used_despite_failure: bool = False
    reused_from: str = ""


class AttemptView(BaseModel):
    """One attempt with what was asked, what was answered and how it was judged.

    `prompt` is rendered again from the journal; `prompt_exact` is false where code that it shows was replaced since.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    model: str
    temperature: float | None
    effort: str | None
    max_tokens: int
    passed: bool
    failed_level: str | None
    issues: tuple[ValidationIssue, ...]
    tests_run: int
    stop_reason: str
    cost_usd: float
    latency_s: float
    check_s: float
    by: str
    system: tuple[str, ...]
    prompt: str
    prompt_exact: bool
    code: str | None


def atom_rows(
    machine: ExecutionMachine, ids: Collection[str] | None, after: int, limit: int
) -> tuple[list[AtomRow], int | None]:
    """Return rows in the plan's order, from position `after` on, and where the next page begins (None at the end).

    `ids`, where given, are the only ones wanted; unknown ones are left out.
    """
    if ids is not None:
        return [_row(machine, atom_id) for atom_id in ids if atom_id in machine.atoms][:limit], None
    atoms = machine.plan.atoms[after : after + limit]
    following = after + limit
    return [_row(machine, atom.id) for atom in atoms], following if following < len(machine.plan.atoms) else None


def waves(machine: ExecutionMachine) -> list[WaveState]:
    """Return how every wave stands."""
    return [wave_state(machine, wave.wave_id) for wave in machine.plan.waves]


def atom_attempts(machine: ExecutionMachine, atom_id: str) -> list[AttemptView]:
    """Return an atom's attempts, the first one first. Raises UnknownExecutionError for an atom it does not have."""
    record, atom = machine.atom(atom_id), machine.plan.atom(atom_id)
    context = PlanContext(machine.plan.name, machine.plan.description, machine.plan.files)
    below = [AcceptedAtom(atom=machine.plan.by_id[one], code=machine.atoms[one].code) for one in atom.depends_on]
    steady = not any(machine.atoms[one].reopened or machine.atoms[one].attempts_before for one in atom.depends_on)
    views: list[AttemptView] = []
    previous_code: str | None = None
    errors: tuple[str, ...] = ()
    for attempt in record.attempts:
        prompt = render(atom, below, plan=context, previous_code=previous_code, previous_errors=errors)
        views.append(
            AttemptView(
                number=attempt.number,
                model=attempt.settings.model,
                temperature=attempt.settings.temperature,
                effort=attempt.settings.effort,
                max_tokens=attempt.settings.max_tokens,
                passed=attempt.verdict.passed,
                failed_level=None if attempt.verdict.passed else attempt.verdict.level.value,
                issues=attempt.verdict.issues,
                tests_run=attempt.verdict.tests_run,
                stop_reason=attempt.stop_reason.value,
                cost_usd=attempt.cost_usd,
                latency_s=attempt.latency_s,
                check_s=attempt.check_s,
                by=attempt.by,
                system=() if attempt.by else prompt.system,
                prompt="" if attempt.by else prompt.user,
                prompt_exact=steady and not record.reopened,
                code=attempt.code,
            )
        )
        previous_code, errors = attempt.code, feedback(attempt.verdict)
    return views


def accepted(machine: ExecutionMachine) -> tuple[dict[str, str], ExecutionReport]:
    """Return the accepted code of every atom that has some, and the report that goes with it."""
    return machine.accepted_codes(), build_report(machine)


def report(machine: ExecutionMachine) -> ExecutionReport:
    """Return what the execution has come to."""
    return build_report(machine)


def _row(machine: ExecutionMachine, atom_id: str) -> AtomRow:
    record: AtomRecord = machine.atoms[atom_id]
    atom = machine.plan.by_id[atom_id]
    return AtomRow(
        atom_id=atom_id,
        name=atom.title,
        file=atom.file,
        symbol=atom.symbol,
        wave_id=record.wave_id,
        depends_on=atom.depends_on,
        status=record.status,
        attempts=len(record.attempts),
        cost_usd=record.cost_usd,
        time_seconds=record.active_s,
        cause=record.cause[:MAX_CAUSE_CHARS],
        approved_by=record.approved.by if record.approved else "",
        approval_note=record.approved.note[:MAX_CAUSE_CHARS] if record.approved else "",
        used_despite_failure=record.waived,
        reused_from=record.reused.source if record.reused and record.stands_reused else "",
    )
