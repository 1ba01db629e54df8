"""Recovery is replay: the same events in the same order give the same machine."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.events import Event
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan


class ReplayError(MgeRayError):
    """A journal that does not lead anywhere: this execution alone is set aside."""


def replay(execution_id: UUID, plan: Masterplan, events: Iterable[Event]) -> ExecutionMachine:
    """Return the machine that `events` lead to; raise ReplayError naming the first event that cannot have happened.

    Whatever a damaged journal makes the machine do is such an error: one execution must not take others with it.
    """
    machine = ExecutionMachine(execution_id, plan)
    for seq, event in enumerate(events, start=1):
        try:
            machine.handle(event)
        except Exception as error:
            where = f"execution {execution_id}: event {seq} ({event.kind})"
            said = str(error) if isinstance(error, MgeRayError) else f"{type(error).__name__}: {error}"
            raise ReplayError(f"{where} cannot be replayed: {said}") from error
    return machine
