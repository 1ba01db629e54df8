"""Events as they go over the wire: what happened, without code and without prompts; bounded in size."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ConfigDict

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool

MAX_TEXT_CHARS = 300


class WireEvent(BaseModel):
    """One journalled event. `seq` counts an execution's events from 1; `at` is in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    seq: int
    at: float
    kind: str
    atom_id: str | None = None
    details: dict[str, str | int | float | bool | None] = {}


def on_the_wire(seq: int, event: e.Event) -> WireEvent:
    """Return the event as it is shown to those who watch."""
    return WireEvent(
        seq=seq,
        at=event.at,
        kind=event.kind,
        atom_id=getattr(event, "atom_id", None),
        details=_special(event) or _plain(event),
    )


def _special(event: e.Event) -> dict[str, Any] | None:
    if isinstance(event, e.GenerationArrived):
        answer = event.generation
        return {
            "call_id": event.call_id,
            "model": answer.model,
            "stop_reason": answer.stop_reason.value,
            "cost_usd": answer.cost_usd,
            "latency_s": answer.latency_s,
            "input_tokens": answer.usage.input_tokens,
            "output_tokens": answer.usage.output_tokens,
            "cache_read_tokens": answer.usage.cache_read_tokens,
        }
    if isinstance(event, e.GenerationFailed):
        failure = event.failure
        return {"call_id": event.call_id, "failure": failure.kind.value, "billing": failure.billing.value}
    if isinstance(event, e.AtomExecuted | e.AcceptanceFinished):
        verdict = event.result
        return {
            "passed": verdict.passed,
            "level": verdict.level.value,
            "tests_run": verdict.tests_run,
            "seconds": verdict.duration_s,
        }
    if isinstance(event, e.ExecutionStarted):
        settings = event.settings
        return {
            "model": settings.policy.model,
            "budget_usd": settings.budget_usd,
            "max_concurrency": settings.max_concurrency,
            "simulated": settings.simulated,
        }
    return None


def _plain(event: e.Event) -> dict[str, Any]:
    """Return the fields that are plain values, without what is told beside them, and without code."""
    told: dict[str, Any] = {}
    for one in fields(event):
        value = getattr(event, one.name)
        if one.name in {"at", "kind", "atom_id", "code"}:
            continue
        if isinstance(value, Pool):
            told[one.name] = value.value
        elif isinstance(value, str):
            told[one.name] = value[:MAX_TEXT_CHARS]
        elif isinstance(value, bool | int | float) or value is None:
            told[one.name] = value
    return told
