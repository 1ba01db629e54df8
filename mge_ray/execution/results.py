"""ExecutionResult: what became of one atom, as the seed's classes return it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.state import AtomStatus
from mge_ray.domain.validation import ValidationResult


class ExecutionResult(BaseModel):
    """What became of one atom; `code` is the accepted code, or the best attempt's where none passed."""

    model_config = ConfigDict(frozen=True)

    atom_id: str
    success: bool
    status: AtomStatus = AtomStatus.FAILED
    code: str | None = None
    validation: ValidationResult | None = None
    attempts: int = 0
    cost_usd: float = 0.0
    time_seconds: float = 0.0
    error: str | None = None


def result_of(record: AtomRecord) -> ExecutionResult:
    """Return what became of the atom of `record`."""
    success = record.status is AtomStatus.SUCCEEDED
    best = record.best_attempt
    return ExecutionResult(
        atom_id=record.atom_id,
        success=success,
        status=record.status,
        code=record.code,
        validation=best.verdict if best else None,
        attempts=len(record.attempts),
        cost_usd=record.cost_usd,
        time_seconds=record.active_s,
        error=None if success else (record.cause or f"stopped while {record.status.value}"),
    )
