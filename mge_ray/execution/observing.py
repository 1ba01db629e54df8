"""What ended calls tell about the provider: the throttle learns from it, the machine does not (ADR 13)."""

from __future__ import annotations

from collections.abc import Iterable

from mge_ray.domain.events import Event, GenerationArrived, GenerationFailed
from mge_ray.domain.lease import model_class
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.throttle import CallOutcome


def call_outcomes(machine: ExecutionMachine, events: Iterable[Event]) -> list[CallOutcome]:
    """Return what these events tell, before the machine handles them."""
    return [_outcome(machine, event) for event in events if isinstance(event, GenerationArrived | GenerationFailed)]


def _outcome(machine: ExecutionMachine, event: GenerationArrived | GenerationFailed) -> CallOutcome:
    settings = machine.atoms[event.atom_id].settings
    name = model_class(settings.model if settings else "")
    if isinstance(event, GenerationFailed):
        why = event.failure
        return CallOutcome(name, event.call_id, why.kind, why.latency_s, retry_after_s=why.retry_after_s)
    answer, usage = event.generation, event.generation.usage
    return CallOutcome(
        name,
        event.call_id,
        latency_s=answer.latency_s,
        input_tokens=usage.input_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        rate_limits=answer.rate_limits,
    )
