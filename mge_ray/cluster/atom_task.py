"""execute_atom: the Ray task that checks one candidate, in a worker that keeps a warm sandbox; and its front.

Free of side effects, so running it again costs nothing but CPU. Ray does not retry it (`max_retries=0`): a candidate
that kills its worker must be counted, and the machine counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import ray

from mge_ray.adapters.atomic_validator import AtomicValidator
from mge_ray.domain.atom import AcceptedAtom
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.validation import ValidationResult
from mge_ray.execution.ports import Candidate
from mge_ray.wiring.build import forget_secrets, validator
from mge_ray.wiring.settings import EngineConfig


@lru_cache(maxsize=1)
def _validator(config: EngineConfig) -> AtomicValidator:
    forget_secrets()
    return validator(config)


def judge(
    config: EngineConfig, plan: Masterplan, accepted: Mapping[str, str], atom_id: str, code: str
) -> ValidationResult:
    """Judge `code` as the atom's, on top of the accepted code of its dependency closure."""
    if not config.checks:
        return ValidationResult()
    closure = (AcceptedAtom(atom=plan.by_id[a], code=accepted.get(a)) for a in plan.closure(atom_id))
    candidate = Candidate(plan.by_id[atom_id], code, tuple(closure), plan.files, plan.validation)
    return _validator(config).judge(candidate)


def judge_project(config: EngineConfig, plan: Masterplan, accepted: Mapping[str, str]) -> ValidationResult:
    """Run the plan's acceptance tests on the project assembled from `accepted`."""
    return _validator(config).judge_acceptance(plan, accepted) if config.checks else ValidationResult()


def judge_alone(config: EngineConfig, candidate: Candidate) -> ValidationResult:
    """Judge a candidate that carries everything it needs."""
    return _validator(config).judge(candidate)


execute_atom = ray.remote(num_cpus=1, max_retries=0)(judge)
judge_candidate = ray.remote(num_cpus=1, max_retries=0)(judge_alone)
accept_project = ray.remote(num_cpus=1, max_retries=0)(judge_project)


class ClusterValidator:
    """The Validator port over Ray tasks, for callers that await single verdicts."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def validate(self, candidate: Candidate) -> ValidationResult:
        """Return the verdict."""
        verdict: ValidationResult = await judge_candidate.remote(self._config, candidate)
        return verdict

    async def accept(self, plan: Masterplan, codes: Mapping[str, str]) -> ValidationResult:
        """Run the plan's acceptance tests."""
        verdict: ValidationResult = await accept_project.remote(self._config, plan, dict(codes))
        return verdict
