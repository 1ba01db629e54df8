"""The code of the V2 task list, adapted where an ADR says so, over the names that `mge_ray` exports."""

from __future__ import annotations

import inspect
from datetime import datetime
from uuid import UUID, uuid4

import mge_ray
from mge_ray import (
    AtomicUnit,
    ExecutionResult,
    ExecutionServiceV2,
    ExecutionState,
    ExecutionStatus,
    ExecutionWave,
    Generation,
    RetryOrchestrator,
    Severity,
    ValidationIssue,
    ValidationResult,
    WaveExecutor,
)
from mge_ray.domain.generation import StopReason, Usage
from mge_ray.domain.validation import Level
from mge_ray.execution.ports import Candidate

CRITICAL, ERROR = Severity.CRITICAL, Severity.ERROR


class LLMClient:
    """The seed's client, returning a Generation instead of a str (ADR 0002)."""

    def __init__(self, *codes):
        self.codes = list(codes) or ["pass\n"]
        self.asked = []

    async def generate(self, atom_spec, dependencies, temperature=None, previous_errors=None, *, call=None):
        self.asked.append((atom_spec.id, [d.atom.id for d in dependencies], temperature, previous_errors))
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        return Generation(code, code, Usage(), 0.01, StopReason.END_TURN, "m")


class AtomicValidator:
    """The seed's validator, judging a candidate instead of an atom with code in it (ADR 0001)."""

    async def validate(self, candidate):
        if "bug" not in candidate.code:
            return ValidationResult()
        severities = (Severity.WARNING, ERROR, CRITICAL)
        return ValidationResult(
            issues=tuple(ValidationIssue(severity=s, level=Level.TESTS, message=f"{s.value}!") for s in severities)
        )

    async def accept(self, plan, codes):
        return ValidationResult()


def atom(atom_id, *depends_on):
    return AtomicUnit(id=atom_id, file="m.py", symbol=f"f_{atom_id}", depends_on=depends_on)


def wave(wave_id, *atom_ids):
    return ExecutionWave(wave_id=wave_id, atom_ids=atom_ids)


# ---- task 1.1: RetryOrchestrator -------------------------------------------------------------------------------------


def test_the_orchestrators_constructor_and_constants():
    llm_client, validator = LLMClient(), AtomicValidator()
    orchestrator = RetryOrchestrator(llm_client, validator)
    assert orchestrator.llm_client is llm_client
    assert orchestrator.validator is validator
    assert RetryOrchestrator.MAX_ATTEMPTS == 4
    assert RetryOrchestrator.TEMPERATURE_SCHEDULE == [0.7, 0.5, 0.3, 0.3]


# ---- task 1.2: execute_with_retry ------------------------------------------------------------------------------------


async def test_execute_with_retry_returns_code_verdict_and_attempts():
    orchestrator = RetryOrchestrator(LLMClient("bug\n", "fine\n"), AtomicValidator())
    code, validation_result, attempts_used = await orchestrator.execute_with_retry(
        atom_spec=atom("a", "b"), dependencies=[atom("b")]
    )
    assert (code, validation_result.passed, attempts_used) == ("fine\n", True, 2)


async def test_the_retry_loop_of_the_seed_gives_the_same_calls():
    atom_spec, dependencies = atom("a"), []
    reference, errors = LLMClient("bug\n"), []
    for attempt in range(1, RetryOrchestrator.MAX_ATTEMPTS + 1):
        temperature = RetryOrchestrator.TEMPERATURE_SCHEDULE[attempt - 1]
        generation = await reference.generate(
            atom_spec=atom_spec,
            dependencies=dependencies,
            temperature=temperature,
            previous_errors=errors if attempt > 1 else None,
        )
        validation_result = await AtomicValidator().validate(Candidate(atom_spec, generation.code))  # ADR 0001: beside
        if validation_result.passed:
            break
        errors = [issue.message for issue in validation_result.issues if issue.severity in [CRITICAL, ERROR]]

    ours = LLMClient("bug\n")
    result = await RetryOrchestrator(ours, AtomicValidator()).execute_with_retry(atom_spec, dependencies)
    assert (result[0], result[1].passed, result[2]) == ("bug\n", False, RetryOrchestrator.MAX_ATTEMPTS)
    assert [asked[:3] for asked in ours.asked] == [asked[:3] for asked in reference.asked]
    assert ours.asked[0][3] is reference.asked[0][3] is None
    for (*_, told), (*_, expected) in zip(ours.asked[1:], reference.asked[1:], strict=True):
        assert sorted(message.split("] ")[1] for message in told) == sorted(expected)


# ---- tasks 2.1 to 2.3: WaveExecutor ----------------------------------------------------------------------------------


def test_the_wave_executors_constructor():
    retry_orchestrator = RetryOrchestrator(LLMClient(), AtomicValidator())
    executor = WaveExecutor(retry_orchestrator)
    assert executor.retry_orchestrator is retry_orchestrator
    assert executor.max_concurrency == 100
    assert WaveExecutor(retry_orchestrator, max_concurrency=7).max_concurrency == 7


async def test_execute_wave_returns_an_execution_result_for_each_atom():
    executor = WaveExecutor(RetryOrchestrator(LLMClient(), AtomicValidator()))
    all_atoms = {"a": atom("a"), "b": atom("b", "a")}
    results = await executor.execute_wave(wave_atoms=[all_atoms["b"]], all_atoms=all_atoms)
    result = results["b"]
    assert isinstance(result, ExecutionResult)
    assert (result.atom_id, result.success, result.code, result.attempts) == ("b", True, "pass\n", 1)
    assert result.validation.passed
    assert result.error is None


async def test_execute_plan_runs_waves_one_after_the_other():
    client = LLMClient()
    executor = WaveExecutor(RetryOrchestrator(client, AtomicValidator()))
    atoms = {"a": atom("a"), "b": atom("b"), "c": atom("c", "a", "b")}
    all_results = await executor.execute_plan(execution_plan=[wave(1, "a", "b"), wave(2, "c")], atoms=atoms)
    assert {atom_id: result.success for atom_id, result in all_results.items()} == dict.fromkeys(atoms, True)
    assert client.asked[-1][:2] == ("c", ["a", "b"])


# ---- tasks 3.1 to 3.3: ExecutionServiceV2 ----------------------------------------------------------------------------


def test_the_seeds_execution_statuses_exist_under_their_values():
    seed = {
        "PENDING": "pending",
        "RUNNING": "running",
        "PAUSED": "paused",
        "COMPLETED": "completed",
        "FAILED": "failed",
    }
    assert {name: ExecutionStatus[name].value for name in seed} == seed
    assert {status.value for status in ExecutionStatus} - set(seed.values()) == {"cancelled"}  # ADR 0005


def test_the_seeds_execution_state_can_be_built_as_written():
    state = ExecutionState(
        execution_id=uuid4(),
        masterplan_id=uuid4(),
        status=ExecutionStatus.RUNNING,
        current_wave=0,
        total_waves=2,
        atoms_total=3,
        atoms_completed=0,
        atoms_succeeded=0,
        atoms_failed=0,
        total_cost_usd=0.0,
        total_time_seconds=0.0,
        started_at=datetime.now().astimezone(),
    )
    assert state.completed_at is None


def test_start_execution_takes_what_the_seed_gives_it():
    parameters = inspect.signature(ExecutionServiceV2.start_execution).parameters
    assert list(parameters)[:4] == ["self", "masterplan_id", "execution_plan", "atoms"]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[4:])


async def test_start_execution_returns_an_id_and_executes_in_the_background():
    service = ExecutionServiceV2(WaveExecutor(RetryOrchestrator(LLMClient(), AtomicValidator())))
    masterplan_id = uuid4()
    execution_id = await service.start_execution(
        masterplan_id=masterplan_id, execution_plan=[wave(1, "a"), wave(2, "b")], atoms={"a": atom("a"), "b": atom("b")}
    )
    assert isinstance(execution_id, UUID)
    await service.wait(execution_id)
    state = await service.get_execution_state(execution_id)
    assert (state.masterplan_id, state.status) == (masterplan_id, ExecutionStatus.COMPLETED)
    assert (state.current_wave, state.total_waves, state.atoms_total) == (2, 2, 2)
    assert (state.atoms_completed, state.atoms_succeeded, state.atoms_failed) == (2, 2, 0)
    assert state.total_cost_usd == 0.02
    assert state.started_at <= state.completed_at
    assert (await service.get_wave_status(execution_id, 1)).completion_percent == 100.0
    assert (await service.get_atom_status(execution_id, "a")).attempts == 1


# ---- the public face -------------------------------------------------------------------------------------------------


def test_every_public_name_leads_somewhere_and_others_do_not():
    for name in mge_ray.__all__:
        assert getattr(mge_ray, name) is not None
    assert not hasattr(mge_ray, "ExecutionServiceV3")
