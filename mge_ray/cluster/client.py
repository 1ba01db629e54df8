"""EngineClient: the coordinator as a plain object, for callers that know nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from mge_ray.cluster.concurrency_controller import Handle
from mge_ray.cluster.coordinator import Progress
from mge_ray.domain.errors import EngineUnavailableError, MgeRayError
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import AtomState, ExecutionState, WaveState
from mge_ray.pipeline.report import ExecutionReport

RESTART_PATIENCE_S = 60.0
RESTART_POLL_S = 0.2
ASKED_ONCE = frozenset({"retry", "edit", "approve", "set_budget"})


class EngineClient:
    """Blocking calls to the coordinator; what it raises on purpose is raised here."""

    def __init__(self, coordinator: Handle) -> None:
        self._coordinator = coordinator

    def start(
        self,
        plan: Masterplan,
        settings: ExecutionSettings,
        execution_id: UUID | None = None,
        run_options: str | None = None,
    ) -> UUID:
        """Start an execution; return its id once its start is journalled. `run_options` are kept for a resume.

        An id that exists is returned as it is, so this may be asked again with the same id.
        """
        started: UUID = self._call("start", plan, settings, execution_id or uuid4(), run_options)
        return started

    def take_up(self, execution_id: UUID) -> ExecutionState:
        """Go on with an execution from the journal, whoever had it."""
        state: ExecutionState = self._call("take_up", execution_id)
        return state

    def pause(self, execution_id: UUID, reason: str = "requested", *, now: bool = False) -> ExecutionState:
        """Stop dispatching; what is in flight finishes and is kept, or (`now`) is given up."""
        state: ExecutionState = self._call("pause", execution_id, reason, now=now)
        return state

    def resume(self, execution_id: UUID) -> ExecutionState:
        """Go on."""
        state: ExecutionState = self._call("resume", execution_id)
        return state

    def retry(self, execution_id: UUID, atom_ids: Sequence[str] = ()) -> ExecutionState:
        """Grant failed atoms, all or those named, new attempts; the execution is paused after that."""
        state: ExecutionState = self._call("retry", execution_id, tuple(atom_ids))
        return state

    def edit(self, execution_id: UUID, atom_id: str, code: str, by: str) -> ExecutionState:
        """Give an atom code written by hand; raise EditRefusedError if it does not pass its check."""
        state: ExecutionState = self._call("edit", execution_id, atom_id, code, by)
        return state

    def approve(
        self, execution_id: UUID, atom_id: str, by: str, note: str = "", *, despite_failures: bool = False
    ) -> ExecutionState:
        """Say that a person has looked at an atom's code, or that a failed one's is to be used."""
        state: ExecutionState = self._call(
            "approve", execution_id, atom_id, by, note, despite_failures=despite_failures
        )
        return state

    def set_budget(self, execution_id: UUID, limit_usd: float, by: str, reason: str) -> ExecutionState:
        """Set another limit in US dollars; a paused execution stays paused."""
        state: ExecutionState = self._call("set_budget", execution_id, limit_usd, by, reason)
        return state

    def cancel(self, execution_id: UUID, reason: str = "requested") -> ExecutionState:
        """End the execution now."""
        state: ExecutionState = self._call("cancel", execution_id, reason)
        return state

    def state(self, execution_id: UUID) -> ExecutionState:
        """Return how the execution stands."""
        state: ExecutionState = self._call("state", execution_id)
        return state

    def wave(self, execution_id: UUID, wave_id: int) -> WaveState:
        """Return how one wave stands."""
        state: WaveState = self._call("wave", execution_id, wave_id)
        return state

    def atom(self, execution_id: UUID, atom_id: str) -> AtomState:
        """Return how one atom stands."""
        state: AtomState = self._call("atom", execution_id, atom_id)
        return state

    def progress(self, execution_id: UUID, since: int = 0) -> Progress:
        """Return the execution at a glance."""
        progress: Progress = self._call("progress", execution_id, since)
        return progress

    def wait(self, execution_id: UUID) -> ExecutionState:
        """Return when nothing is in flight and nothing may start."""
        state: ExecutionState = self._call("wait", execution_id)
        return state

    def report(self, execution_id: UUID) -> ExecutionReport:
        """Return what the execution came to."""
        report: ExecutionReport = self._call("report", execution_id)
        return report

    def accepted_codes(self, execution_id: UUID) -> dict[str, str]:
        """Return the accepted code of every atom that succeeded."""
        codes: dict[str, str] = self._call("accepted_codes", execution_id)
        return codes

    def snapshot(self, execution_id: UUID) -> tuple[int, dict[str, Any]]:
        """Return how many events have been handled, and the whole state they led to."""
        snapshot: tuple[int, dict[str, Any]] = self._call("snapshot", execution_id)
        return snapshot

    def metrics_text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        text: bytes = self._call("metrics_text")
        return text

    def pid(self) -> int:
        """Return the coordinator's process id."""
        pid: int = self._call("pid")
        return pid

    def close(self) -> None:
        """Stop driving and close the journal."""
        self._call("close")

    def _call(self, method: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401  # each caller knows
        """Call the coordinator; while it restarts, ask again, unless asking twice may do more than asking once."""
        deadline = time.monotonic() + (0.0 if method in ASKED_ONCE else RESTART_PATIENCE_S)
        while True:
            try:
                return ray.get(getattr(self._coordinator, method).remote(*arguments, **named))
            except ActorUnavailableError as error:
                if time.monotonic() >= deadline:
                    raise EngineUnavailableError("the engine is restarting; ask again in a few seconds") from error
                time.sleep(RESTART_POLL_S)
            except RayTaskError as error:
                if isinstance(error.cause, MgeRayError):
                    raise error.cause from None
                raise
            except RayError as error:
                raise EngineUnavailableError(f"the engine is gone: {str(error).splitlines()[0]}") from error
