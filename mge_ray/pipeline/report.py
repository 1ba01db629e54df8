"""ExecutionReport: what an execution came to, as `--report` writes it and tests read it. Made from a machine alone."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.attempt import AtomRecord, Attempt
from mge_ray.domain.cost import BudgetChange
from mge_ray.domain.generation import Billing, Usage
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state, wave_state
from mge_ray.domain.state import AtomStatus
from mge_ray.pipeline.confidence import ReviewItem, review_list, scored
from mge_ray.pipeline.forecast_report import ForecastReport, compare
from mge_ray.pipeline.observed import Observed

REPORT_VERSION = 1
COMMANDS_TOLD = 5

CostOf = Callable[[str, Usage], float | None]


class AttemptReport(BaseModel):
    """One attempt: how it asked, what it cost (US dollars), how long call and check took (seconds), how it ended.

    `by` is empty, or the person who wrote the code.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    model: str
    temperature: float | None
    effort: str | None
    passed: bool
    failed_level: str | None
    first_error: str | None
    stop_reason: str
    cost_usd: float
    latency_s: float
    check_s: float
    by: str = ""


class AtomReport(BaseModel):
    """One atom. `approved_by` says who looked at the code it has, `edited_by` who wrote that.

    One that is `used_despite_failure` is counted as failed; its code is in the project all the same.
    """

    model_config = ConfigDict(frozen=True)

    atom_id: str
    wave_id: int
    status: AtomStatus
    cause: str
    attempts: tuple[AttemptReport, ...]
    transport_errors: int
    total_cost_usd: float
    unknown_cost_usd: float
    total_time_seconds: float
    approved_by: str = ""
    approval_note: str = ""
    edited_by: str = ""
    used_despite_failure: bool = False
    reused_from: str = ""


class Totals(BaseModel):
    """What is counted alike for an execution and for one wave."""

    model_config = ConfigDict(frozen=True)

    atoms_total: int
    atoms_succeeded: int
    atoms_failed: int
    atoms_blocked: int
    attempts: int
    retry_rate: float
    precision_percent: float
    total_cost_usd: float
    total_time_seconds: float
    check_seconds: float


class WaveReport(Totals):
    """One wave."""

    wave_id: int


class CallsReport(BaseModel):
    """Every call to the provider, once: answers, and calls without one by kind and by whether they were billed."""

    model_config = ConfigDict(frozen=True)

    answers: int
    billed_without_answer: int
    unknown_spend: int
    not_billed: int
    by_kind: dict[str, int]


class TokensReport(BaseModel):
    """What the provider counted, over all calls that told; `input` excludes cached ones."""

    model_config = ConfigDict(frozen=True)

    input: int
    output: int
    cache_write: int
    cache_read: int


class ReuseReport(BaseModel):
    """Code taken over from earlier executions and what it cost there; answers paid by an execution that ran beside."""

    model_config = ConfigDict(frozen=True)

    atoms_reused: int = 0
    saved_usd: float = 0.0
    shared_answers: int = 0


class PromptCacheReport(BaseModel):
    """Prompt tokens read from the provider's cache and written to it.

    `saved_usd` is what the same prompts would have cost more without a cache; None where a price is not known.
    """

    model_config = ConfigDict(frozen=True)

    read_tokens: int
    write_tokens: int
    saved_usd: float | None = None


class MoneyReport(BaseModel):
    """An execution's money in US dollars, each amount apart; `forecast_usd` is what it will have cost at its end.

    `limit_usd` is None without a hard limit, the forecast where nothing is known. `changes` of the limit were made by
    people. `answers_cut_short` were longer than what had been asked for to fit more calls into the budget.
    """

    model_config = ConfigDict(frozen=True)

    spent_usd: float
    reserved_usd: float
    unknown_usd: float
    limit_usd: float | None
    forecast_usd: float | None
    soft_limit_reached: bool
    atom_budget_usd: float | None
    answers_cut_short: int
    changes: tuple[BudgetChange, ...]


class ExecutionReport(Totals):
    """One execution. `simulated` figures are no statement about any model's quality.

    `partial` until every atom is there. `review` lists atoms of low confidence, worst first. `tokens` are None where
    the events were not at hand, `forecast` where none was made at the start.
    """

    report_version: int = REPORT_VERSION
    execution_id: str
    masterplan_id: str
    name: str
    status: str
    reason: str
    partial: bool
    simulated: bool
    total_waves: int
    transport_errors: int
    success_after_retry: float | None
    unknown_cost_usd: float
    budget_usd: float | None
    calls: CallsReport
    acceptance_passed: bool | None
    acceptance_errors: tuple[str, ...]
    waves: tuple[WaveReport, ...]
    atoms: tuple[AtomReport, ...]
    edited_atoms: int = 0
    used_despite_failure: int = 0
    review: tuple[ReviewItem, ...] = ()
    tokens: TokensReport | None = None
    reuse: ReuseReport = ReuseReport()
    prompt_cache: PromptCacheReport | None = None
    money: MoneyReport | None = None
    forecast: ForecastReport | None = None


def build_report(
    machine: ExecutionMachine, seen: Observed | None = None, cost_usd: CostOf | None = None
) -> ExecutionReport:
    """Return the report of an execution as it stands; `seen` is its history, where the journal was read.

    `cost_usd` prices tokens of a model, or returns None for a model that it does not know.
    """
    state = execution_state(machine)
    records = list(machine.atoms.values())
    retried = [record for record in records if len(record.attempts) > 1]
    won = sum(record.status is AtomStatus.SUCCEEDED and not record.edited_by for record in retried)
    acceptance = machine.acceptance_result
    return ExecutionReport(
        **_totals(records, state.total_time_seconds, machine.money.spent_usd),
        execution_id=str(state.execution_id),
        masterplan_id=str(state.masterplan_id),
        name=state.name,
        status=state.status.value,
        reason=state.reason,
        partial=any(record.status is not AtomStatus.SUCCEEDED and not record.waived for record in records),
        simulated=state.simulated,
        total_waves=state.total_waves,
        transport_errors=state.transport_errors,
        success_after_retry=won / len(retried) if retried else None,
        unknown_cost_usd=state.unknown_cost_usd,
        budget_usd=state.budget_usd,
        calls=_calls(machine),
        acceptance_passed=acceptance.passed if acceptance else None,
        acceptance_errors=tuple(issue.message for issue in acceptance.failures) if acceptance else (),
        waves=tuple(_wave(machine, wave.wave_id) for wave in machine.plan.waves),
        atoms=tuple(_atom(record) for record in records),
        edited_atoms=sum(bool(record.edited_by) for record in records),
        used_despite_failure=machine.waived_atoms,
        review=review_list(scored(machine)),
        tokens=_tokens(seen) if seen else None,
        reuse=_reuse(machine),
        prompt_cache=_prompt_cache(seen, cost_usd) if seen else None,
        money=money_report(machine),
        forecast=compare(machine, seen),
    )


def money_report(machine: ExecutionMachine) -> MoneyReport:
    """Return how an execution's money stands."""
    money, settings = machine.money, machine.settings
    return MoneyReport(
        spent_usd=money.spent_usd,
        reserved_usd=money.reserved_usd,
        unknown_usd=money.unknown_usd,
        limit_usd=money.limit_usd,
        forecast_usd=machine.forecast_usd,
        soft_limit_reached=money.soft_limit_reached,
        atom_budget_usd=settings.atom_budget_usd if settings else None,
        answers_cut_short=machine.answers_cut_short,
        changes=tuple(machine.budget_changes),
    )


def review_commands(report: ExecutionReport) -> list[str]:
    """Return what somebody who looks at the first unreviewed atoms may want to type, for people to copy."""
    short = report.execution_id[:8]
    failed = {atom.atom_id for atom in report.atoms if atom.status is AtomStatus.FAILED}
    lines = []
    for item in [item for item in report.review if not item.reviewed][:COMMANDS_TOLD]:
        despite = " --despite-failures" if item.atom_id in failed else ""
        lines.append(f"mge-ray approve {short} {item.atom_id}{despite}")
        lines.append(f"mge-ray edit {short} {item.atom_id} --code FILE")
    return lines


def _totals(records: list[AtomRecord], seconds: float, cost_usd: float) -> dict[str, float]:
    count = {status: sum(record.status is status for record in records) for status in AtomStatus}
    tried = [record for record in records if record.attempts]
    return {
        "atoms_total": len(records),
        "atoms_succeeded": count[AtomStatus.SUCCEEDED],
        "atoms_failed": count[AtomStatus.FAILED],
        "atoms_blocked": count[AtomStatus.BLOCKED],
        "attempts": sum(len(record.attempts) for record in records),
        "retry_rate": sum(len(record.attempts) > 1 for record in tried) / len(tried) if tried else 0.0,
        "precision_percent": 100.0 * count[AtomStatus.SUCCEEDED] / len(records),
        "total_cost_usd": cost_usd,
        "total_time_seconds": seconds,
        "check_seconds": sum(attempt.check_s for record in records for attempt in record.attempts),
    }


def _wave(machine: ExecutionMachine, wave_id: int) -> WaveReport:
    state = wave_state(machine, wave_id)
    records = [machine.atoms[atom_id] for atom_id in machine.plan.waves[wave_id - 1].atom_ids]
    return WaveReport(wave_id=wave_id, **_totals(records, state.time_seconds, state.cost_usd))


def _atom(record: AtomRecord) -> AtomReport:
    approved = record.approved
    return AtomReport(
        atom_id=record.atom_id,
        wave_id=record.wave_id,
        status=record.status,
        cause=record.cause,
        attempts=tuple(_attempt(attempt) for attempt in record.attempts),
        transport_errors=record.transport_errors,
        total_cost_usd=record.cost_usd,
        unknown_cost_usd=record.unknown_usd,
        total_time_seconds=record.active_s,
        approved_by=approved.by if approved else "",
        approval_note=approved.note if approved else "",
        edited_by=record.edited_by,
        used_despite_failure=record.waived,
        reused_from=record.reused.source if record.reused and record.stands_reused else "",
    )


def _attempt(attempt: Attempt) -> AttemptReport:
    failures = attempt.verdict.failures
    return AttemptReport(
        number=attempt.number,
        model=attempt.settings.model,
        temperature=attempt.settings.temperature,
        effort=attempt.settings.effort,
        passed=attempt.verdict.passed,
        failed_level=failures[0].level.value if failures else None,
        first_error=failures[0].message if failures else None,
        stop_reason=attempt.stop_reason.value,
        cost_usd=attempt.cost_usd,
        latency_s=attempt.latency_s,
        check_s=attempt.check_s,
        by=attempt.by,
    )


def _calls(machine: ExecutionMachine) -> CallsReport:
    by_kind = dict(sorted(machine.calls_without_answer.items()))

    def billed(how: Billing) -> int:
        return sum(count for kind, count in by_kind.items() if kind.endswith(f":{how.value}"))

    return CallsReport(
        answers=machine.answers - machine.shared_answers,
        billed_without_answer=billed(Billing.BILLED),
        unknown_spend=billed(Billing.UNKNOWN),
        not_billed=billed(Billing.NOT_BILLED),
        by_kind=by_kind,
    )


def _tokens(seen: Observed) -> TokensReport:
    usage = seen.usage
    return TokensReport(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cache_write=usage.cache_write_tokens,
        cache_read=usage.cache_read_tokens,
    )


def _reuse(machine: ExecutionMachine) -> ReuseReport:
    standing = [record.reused for record in machine.atoms.values() if record.reused and record.stands_reused]
    return ReuseReport(
        atoms_reused=len(standing),
        saved_usd=sum(one.saved_usd for one in standing),
        shared_answers=machine.shared_answers,
    )


def _prompt_cache(seen: Observed, cost_usd: CostOf | None) -> PromptCacheReport:
    usage, saved = seen.usage, 0.0
    for model, used in seen.usages:
        if cost_usd is not None and (used.cache_read_tokens or used.cache_write_tokens):
            prompt = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens
            plain, paid = cost_usd(model, Usage(prompt, used.output_tokens)), cost_usd(model, used)
            if plain is None or paid is None:
                cost_usd = None
            else:
                saved += plain - paid
    return PromptCacheReport(
        read_tokens=usage.cache_read_tokens,
        write_tokens=usage.cache_write_tokens,
        saved_usd=saved if cost_usd is not None else None,
    )
