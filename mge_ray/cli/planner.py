"""Planner: the stages of planning, one execution each, on an engine that is open; what is in the journal is not bought.

Owns the order of stages, the money left for each, and asking once more for weak tests. What a stage asks and how an
answer is judged is in `pipeline/spec` and `adapters/plan_steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from mge_ray.adapters.journal import NoDatabaseError, StoredExecution, list_executions, load_events, load_plan_of
from mge_ray.adapters.plan_steps import WEAK_RULE
from mge_ray.adapters.ruff_format import format_plan
from mge_ray.cli.exits import SOME_FAILED, STOPPED_EARLY
from mge_ray.domain.errors import BudgetError, MgeRayError
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import ExecutionState, ExecutionStatus
from mge_ray.execution.recovery import replay
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.spec.assembly import (
    RequirementTable,
    WeakTest,
    assemble_plan,
    modules_of,
    requirement_table,
)
from mge_ray.pipeline.spec.checks import Interface
from mge_ray.pipeline.spec.details import Details
from mge_ray.pipeline.spec.documents import (
    DetailsDocument,
    InterfaceDocument,
    RequirementsDocument,
    read_document,
)
from mge_ray.pipeline.spec.spec_file import Spec, SpecError
from mge_ray.pipeline.spec.steps import (
    Stage,
    Step,
    details_stage,
    interface_stage,
    requirements_stage,
    strengthen_stage,
    unit_id,
)

MAX_TOKENS = 16_384
MAX_TOKENS_CEILING = 32_768
CALL_TIMEOUT_S = 600.0
STEP_TIMEOUT_S = 3_000.0
LOOKED_AT = 10_000

Follow = Callable[[Masterplan, ExecutionSettings], tuple[ExecutionState, ExecutionReport]]


class PlanningStoppedError(MgeRayError):
    """Planning ended before there was a plan; what was accepted is in the journal. Carries the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """An accepted document, and what the judge found weak in it."""

    text: str
    weak: tuple[WeakTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with its table, and what it took: dollars bought now, steps bought and steps found in the journal."""

    plan: Masterplan
    table: RequirementTable
    cost_usd: float
    steps_bought: int
    steps_known: int


@dataclass(slots=True)
class Planner:
    """Runs stages. `follow` starts a plan and returns how it ended; `say` tells a person what comes next."""

    db_url: str
    settings: ExecutionSettings
    follow: Follow
    say: Callable[[str], None]
    fresh: bool = False
    spent_usd: float = 0.0
    bought: int = 0
    known: int = 0

    def plan(self, spec: Spec) -> Planned:
        """Return the plan for a specification; raise SpecError or PlanningStoppedError."""
        first = self._only(requirements_stage(spec.title, spec.text))
        requirements = read_document(first, RequirementsDocument)
        if not requirements.requirements:
            note = " ".join(requirements.note.split())
            raise SpecError(f"{spec.title}: the model finds no requirement in it: {note}")
        second = self._only(interface_stage(spec.title, spec.text, first))
        interface = Interface(read_document(second, InterfaceDocument))
        modules = modules_of(interface)
        stage = details_stage(spec.title, spec.text, first, second, modules)
        answers = self._answers(stage)
        by_module = {module: answers[unit_id(Step.DETAILS, module)] for module in modules}
        self._strengthen(stage, spec.title, by_module)
        details = [Details(read_document(by_module[one].text, DetailsDocument), interface) for one in modules]
        weak = [test for answer in by_module.values() for test in answer.weak]
        return Planned(
            plan=format_plan(assemble_plan(requirements, interface, details)),
            table=requirement_table(requirements, details, spec.text, weak),
            cost_usd=self.spent_usd,
            steps_bought=self.bought,
            steps_known=self.known,
        )

    def _only(self, stage: Stage) -> str:
        (answer,) = self._answers(stage).values()
        return answer.text

    def _strengthen(self, details: Stage, title: str, by_module: dict[str, Answer]) -> None:
        """Ask once more for modules with weak tests; keep whichever document has fewer of them."""
        weak = {
            module: [f"{test.test}: {test.why}" for test in answer.weak]
            for module, answer in by_module.items()
            if answer.weak
        }
        if not weak:
            return
        documents = {module: answer.text for module, answer in by_module.items()}
        stage = strengthen_stage(details, title, documents, weak)
        answers = self._answers(stage, must_succeed=False)
        for module in weak:
            better = answers.get(unit_id(Step.STRENGTHEN, module))
            if better is not None and len(better.weak) < len(by_module[module].weak):
                by_module[module] = better

    def _answers(self, stage: Stage, *, must_succeed: bool = True) -> dict[str, Answer]:
        """Return the stage's accepted documents, bought where the journal has none."""
        answers = {} if self.fresh else self._accepted(stage, self._earlier(stage))
        self.known += len(answers)
        left = stage.remaining(answers)
        if left is None:
            self.say(f"stage {stage.step.value}: {_steps(len(answers))}, in the journal")
            return answers
        also = f", {len(answers)} more in the journal" if answers else ""
        self.say(f"stage {stage.step.value}: {_steps(len(left.plan.atoms))}{also}")
        try:
            state, report = self.follow(left.plan, stage_settings(self.settings, self.spent_usd))
        except BudgetError as error:
            raise PlanningStoppedError(
                f"planning is stopped before the stage {stage.step.value}: {error}, "
                f"and ${self.spent_usd:.4f} is spent; the same command with a larger budget goes on from there",
                STOPPED_EARLY,
            ) from error
        self.spent_usd += report.total_cost_usd + report.unknown_cost_usd
        self.bought += report.atoms_succeeded
        answers |= self._accepted(stage, [state.execution_id])
        if not state.status.ended or (must_succeed and state.status is not ExecutionStatus.COMPLETED):
            raise _stopped(stage, state, report)
        return answers

    def _earlier(self, stage: Stage) -> list[UUID]:
        """Return earlier executions of this very stage with the same model, the latest first."""
        try:
            executions = list_executions(self.db_url, LOOKED_AT)
        except NoDatabaseError:
            return []
        return [
            stored.execution_id
            for stored in executions
            if stored.name == stage.plan.name and _same_source(stored, self.settings)
        ]

    def _accepted(self, stage: Stage, execution_ids: Iterable[UUID]) -> dict[str, Answer]:
        wanted = {atom.id for atom in stage.plan.atoms}
        found: dict[str, Answer] = {}
        for execution_id in execution_ids:
            if found.keys() >= wanted:
                break
            for unit, answer in _accepted_in(self.db_url, execution_id).items():
                if unit in wanted:
                    found.setdefault(unit, answer)
        return found


def stage_settings(settings: ExecutionSettings, spent_usd: float = 0.0) -> ExecutionSettings:
    """Return the settings for a stage: long answers take their time, and what was spent is gone from the budget."""
    policy = settings.policy.model_copy(
        update={
            "max_tokens": max(settings.policy.max_tokens, MAX_TOKENS),
            "max_tokens_ceiling": max(settings.policy.max_tokens_ceiling, MAX_TOKENS_CEILING),
        }
    )
    timeouts = {
        "call_timeout_s": max(settings.call_timeout_s, CALL_TIMEOUT_S),
        "atom_timeout_s": max(settings.atom_timeout_s, STEP_TIMEOUT_S),
    }
    own_memory = {"reuse": None}  # what the journal has of a stage is found by `Planner`, with its weak tests
    return settings_left(settings.model_copy(update={"policy": policy, **timeouts, **own_memory}), spent_usd)


def settings_left(settings: ExecutionSettings, spent_usd: float) -> ExecutionSettings:
    """Return the settings with what was spent gone from the budget."""
    if settings.budget_usd is None:
        return settings
    return settings.model_copy(update={"budget_usd": max(0.0, settings.budget_usd - spent_usd)})


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


def _same_source(stored: StoredExecution, settings: ExecutionSettings) -> bool:
    try:
        theirs = stored.settings
    except MgeRayError:  # another version wrote it: nothing of it is used again
        return False
    own = (settings.policy.model, settings.simulated, settings.tenant)
    return (theirs.policy.model, theirs.simulated, theirs.tenant) == own


def _accepted_in(db_url: str, execution_id: UUID) -> Mapping[str, Answer]:
    try:
        machine = replay(execution_id, load_plan_of(db_url, execution_id), load_events(db_url, execution_id))
    except MgeRayError:  # what cannot be read is bought again
        return {}
    return {unit: Answer(code, _weak(machine, unit)) for unit, code in machine.accepted_codes().items()}


def _weak(machine: ExecutionMachine, unit: str) -> tuple[WeakTest, ...]:
    issues = machine.atoms[unit].attempts[-1].verdict.issues
    told = (one.message.partition(": ") for one in issues if one.rule == WEAK_RULE)
    return tuple(WeakTest(test=test, why=why) for test, _, why in told)


def _stopped(stage: Stage, state: ExecutionState, report: ExecutionReport) -> PlanningStoppedError:
    if not state.status.ended:
        return PlanningStoppedError(
            f"planning is paused in the stage {stage.step.value}: {state.reason}; the same command goes on from there",
            STOPPED_EARLY,
        )
    failed = [atom for atom in report.atoms if atom.status.value != "succeeded"]
    told = [f"{atom.atom_id}: {atom.attempts[-1].first_error if atom.attempts else atom.cause}" for atom in failed[:3]]
    return PlanningStoppedError(
        f"planning failed in the stage {stage.step.value} ({len(failed)} of {report.atoms_total} steps): "
        f"{'; '.join(' '.join(one.split())[:400] for one in told)}",
        SOME_FAILED,
    )
