"""execute_atom: the Ray task that checks one candidate, in a worker that keeps a warm sandbox; and its front.

Free of side effects, so running it again costs nothing but CPU. Ray does not retry it (`max_retries=0`): a candidate
that kills its worker must be counted, and the machine counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray

from mge_ray.adapters.atomic_validator import AtomicValidator
from mge_ray.adapters.logs import configure_logs
from mge_ray.domain.atom import AcceptedAtom
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.validation import ValidationResult
from mge_ray.execution.ports import Candidate
from mge_ray.wiring.build import forget_secrets, validator
from mge_ray.wiring.settings import EngineConfig

SHIPMENTS_KEPT = 8


@lru_cache(maxsize=1)
def _validator(config: EngineConfig) -> AtomicValidator:
    configure_logs("worker", config.logs)
    forget_secrets()
    return validator(config)


@dataclass(frozen=True, slots=True)
class Shipment:
    """What all checks of a wave share, by reference: a worker fetches and unpacks each part once, not once a check.

    References inside a container are not resolved by Ray, which is what leaves that to the worker.
    """

    config: EngineConfig
    plan: ray.ObjectRef[Masterplan]
    accepted: ray.ObjectRef[dict[str, str]]


_unpacked: OrderedDict[str, Any] = OrderedDict()


def _unpack(ref: ray.ObjectRef[Any]) -> Any:  # noqa: ANN401  # whatever was shipped
    key = ref.hex()
    if key not in _unpacked:
        _unpacked[key] = ray.get(ref)
        while len(_unpacked) > SHIPMENTS_KEPT:
            _unpacked.popitem(last=False)
    return _unpacked[key]


def judge(shipment: Shipment, atom_id: str, code: str, instead: Sequence[tuple[str, str]] = ()) -> ValidationResult:
    """Judge `code` as the atom's, on top of its closure's accepted code, or of what is to be used `instead`."""
    if not shipment.config.checks:
        return ValidationResult()
    plan: Masterplan = _unpack(shipment.plan)
    accepted: dict[str, str] = {**_unpack(shipment.accepted), **dict(instead)}
    closure = (AcceptedAtom(atom=plan.by_id[a], code=accepted.get(a)) for a in plan.closure(atom_id))
    candidate = Candidate(plan.by_id[atom_id], code, tuple(closure), plan.files, plan.validation)
    return _validator(shipment.config).judge(candidate)


def judge_project(shipment: Shipment, wave_id: int) -> ValidationResult:
    """Check the project assembled from the accepted code, at the end of a wave or (0) by its acceptance tests."""
    if not shipment.config.checks:
        return ValidationResult()
    return _validator(shipment.config).judge_acceptance(_unpack(shipment.plan), _unpack(shipment.accepted), wave_id)


def judge_alone(config: EngineConfig, candidate: Candidate) -> ValidationResult:
    """Judge a candidate that carries everything it needs."""
    return _validator(config).judge(candidate)


def warm_up(config: EngineConfig) -> None:
    """Import what checks need and start the sandbox, before the first answer arrives."""
    if config.checks:
        _validator(config)


execute_atom = ray.remote(num_cpus=1, max_retries=0)(judge)
accept_project = ray.remote(num_cpus=1, max_retries=0)(judge_project)
judge_candidate = ray.remote(num_cpus=1, max_retries=0)(judge_alone)
prepare_worker = ray.remote(num_cpus=1, max_retries=0)(warm_up)


class ClusterValidator:
    """The Validator port over Ray tasks, for callers that await single verdicts."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def validate(self, candidate: Candidate) -> ValidationResult:
        """Return the verdict."""
        verdict: ValidationResult = await judge_candidate.remote(self._config, candidate)
        return verdict

    async def accept(self, plan: Masterplan, codes: Mapping[str, str], wave_id: int = 0) -> ValidationResult:
        """Check the project above the single atom."""
        shipment = Shipment(self._config, ray.put(plan), ray.put(dict(codes)))
        verdict: ValidationResult = await accept_project.remote(shipment, wave_id)
        return verdict
