"""RayWork: commands become Ray references, and `ray.wait` over those in flight becomes events."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayTaskError

from mge_ray.adapters.message_request import MessageRequest, build_request
from mge_ray.cluster.atom_task import Shipment, accept_project, execute_atom
from mge_ray.cluster.llm_gateway import LLMGatewayPool
from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.commands import Abandon, Accept, Execute, Generate
from mge_ray.domain.events import (
    AcceptanceFinished,
    AcceptanceLost,
    AtomExecuted,
    Event,
    GenerationArrived,
    GenerationFailed,
    WorkerLost,
)
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.validation import Level, failed_at
from mge_ray.execution.ports import Clock, PlanContext, WorkCommand
from mge_ray.execution.retry_orchestrator import call_context
from mge_ray.wiring.settings import EngineConfig

SILENCE_S = 0.2
"""How long a gateway is left alone that did not answer: asking a process that restarts costs a core."""
_WAITERS = ThreadPoolExecutor(32, thread_name_prefix="ray.wait")
"""Threads that sit in `ray.wait`, for a tenth of a second at most; shared by all executions of the process."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """What a reference stands for."""

    kind: type
    atom_id: str = ""
    call_id: str = ""


class RayWork:
    """One execution's work on the cluster. `ray.wait` blocks, so it runs in a thread."""

    def __init__(self, machine: ExecutionMachine, pool: LLMGatewayPool, config: EngineConfig, *, clock: Clock) -> None:
        self._machine = machine
        self._plan = machine.plan
        self._pool = pool
        self._config = config
        self._clock = clock
        self._context = PlanContext(self._plan.name, self._plan.description, self._plan.files)
        self._flights: dict[ray.ObjectRef[Any], _Flight] = {}
        self._caller = uuid.uuid4().hex
        self._epoch = 0
        self._calls: dict[str, tuple[Generate, MessageRequest]] = {}
        self._to_send: dict[str, list[MessageRequest]] = {}
        self._to_acknowledge: dict[str, list[str]] = {}
        self._collecting: dict[ray.ObjectRef[Any], str] = {}
        self._silent_until: dict[str, float] = {}
        self._quoted: dict[str, MessageRequest] = {}
        self._plan_ref = ray.put(self._plan)
        self._shipped: tuple[tuple[int, ...], Shipment] | None = None
        self._check: Any = execute_atom

    def quote_usd(self, command: Generate) -> float:
        """Return the most this call can bill; the request is kept for `submit`."""
        return self._pool.quote_usd(self._kept_request(command))

    def gateway_for(self, atom_id: str) -> str:
        """Return the incarnation of the gateway whose turn it is; the atom's own, where calls may be shared."""
        return self._pool.incarnation_for(atom_id) if self._shares else self._pool.next_incarnation()

    @property
    def _shares(self) -> bool:
        settings = self._machine.settings
        return settings is not None and settings.reuse is not None

    def fence(self, epoch: int) -> None:
        """Call in this epoch; a former owner of the execution, should it still live, is refused by the gateways."""
        self._epoch = epoch
        if epoch > 1:  # there was a former owner
            self._pool.fence(str(self._machine.execution_id), epoch)

    def submit(self, command: WorkCommand) -> None:
        """Begin; the outcome arrives through `wait_any`."""
        if isinstance(command, Generate):
            request = self._kept_request(command)
            del self._quoted[command.atom_id]
            self._calls[command.call_id] = command, request
            self._to_send.setdefault(command.gateway, []).append(request)
        elif isinstance(command, Execute):
            shipment = self._shipment()
            ref: ray.ObjectRef[Any] = self._check.remote(shipment, command.atom_id, command.code, command.instead)
            self._flights[ref] = _Flight(Execute, command.atom_id, command.call_id)
        elif isinstance(command, Accept):
            name = f"tests after wave {command.wave_id}" if command.wave_id else "acceptance"
            ref = accept_project.options(name=name).remote(self._shipment(), command.wave_id)
            self._flights[ref] = _Flight(Accept)
        elif isinstance(command, Abandon):
            self._abandon(command)
        else:
            self._acknowledge(command.gateway, command.call_id)

    async def wait_any(self, timeout_s: float) -> list[Event]:
        """Return what has happened, at the latest after `timeout_s` seconds."""
        events = self._hand_over()
        refs = [*self._collecting, *self._flights]
        if events or not refs:
            await asyncio.sleep(0.0 if events else timeout_s)
            return events
        loop = asyncio.get_running_loop()
        for ref, outcome in await loop.run_in_executor(_WAITERS, _wait, refs, timeout_s):
            if ref in self._collecting:
                events += self._answers(self._collecting.pop(ref), outcome)
            elif flight := self._flights.pop(ref, None):
                events.append(self._event(flight, outcome))
        return events

    def _acknowledge(self, gateway: str, call_id: str) -> None:
        """Collect what one turn acknowledges into one message, sent also if it was the last turn."""
        if not self._to_acknowledge:
            asyncio.get_running_loop().call_soon(self._send_acknowledgements)
        self._to_acknowledge.setdefault(gateway, []).append(call_id)

    def _send_acknowledgements(self) -> None:
        to_acknowledge, self._to_acknowledge = self._to_acknowledge, {}
        for gateway, call_ids in to_acknowledge.items():
            self._pool.acknowledge(self._caller, call_ids, gateway)

    def _hand_over(self) -> list[Event]:
        """Send what this turn submitted, a message a gateway, and listen to every gateway that has calls of ours."""
        now = self._clock.now()
        silent = {gateway for gateway, until in self._silent_until.items() if until > now}
        for gateway in self._to_send.keys() - silent:
            requests = [request for request in self._to_send.pop(gateway) if request.call_id in self._calls]
            self._pool.send(self._caller, requests, gateway, self._epoch)
        events: list[Event] = []
        asked = {command.gateway for command, _ in self._calls.values()}
        for gateway in asked - silent - set(self._collecting.values()):
            ref = self._pool.collect(self._caller, gateway)
            if ref is None:
                events += self._lost(gateway)
            else:
                self._collecting[ref] = gateway
        return events

    def _answers(self, gateway: str, outcome: Any) -> list[Event]:  # noqa: ANN401  # whatever the reference held
        if isinstance(outcome, ActorUnavailableError):
            self._ask_again(gateway)
            return []
        if outcome is None or isinstance(outcome, Exception):
            self._pool.lost(gateway)
            return self._lost(gateway)
        now = self._clock.now()
        return [
            GenerationFailed(now, command.atom_id, call_id, answer)
            if isinstance(answer, CallFailure)
            else GenerationArrived(now, command.atom_id, call_id, answer)
            for call_id, answer in outcome.items()
            if (command := self._taken(call_id, answer))
        ]

    def _taken(self, call_id: str, answer: Generation | CallFailure) -> Generate | None:
        command, request = self._calls.pop(call_id, (None, None))
        if request is not None and isinstance(answer, Generation):
            self._pool.observe(request, answer.usage)
        return command

    def _ask_again(self, gateway: str) -> None:
        """Hand over again, soon, what may have been lost with the line: the same gateway joins calls by their ids.

        Another life of it makes none of them, and tells so at the next collect.
        """
        self._silent_until[gateway] = self._clock.now() + SILENCE_S
        self._to_send[gateway] = [request for command, request in self._calls.values() if command.gateway == gateway]

    def _lost(self, gateway: str) -> list[Event]:
        """Count calls of a gateway that died as possibly billed; those meant for none were not sent."""
        now = self._clock.now()
        billing = Billing.UNKNOWN if gateway else Billing.NOT_BILLED
        failure = CallFailure(FailureKind.GATEWAY_LOST, "the gateway's process died", billing)
        lost = [command for command, _ in self._calls.values() if command.gateway == gateway]
        for command in lost:
            del self._calls[command.call_id]
        return [GenerationFailed(now, command.atom_id, command.call_id, failure) for command in lost]

    def _kept_request(self, command: Generate) -> MessageRequest:
        """Render a call once, however many turns it waits for its lease."""
        kept = self._quoted.get(command.atom_id)
        if kept is None or kept.call_id != command.call_id:
            kept = self._quoted[command.atom_id] = self._request(command)
        if kept.max_tokens != command.settings.max_tokens:  # all that may change while it waits
            kept = self._quoted[command.atom_id] = replace(kept, max_tokens=command.settings.max_tokens)
        return kept

    def _request(self, command: Generate) -> MessageRequest:
        atom = self._plan.by_id[command.atom_id]
        settings = self._machine.settings
        call = call_context(command, plan=self._context, timeout_s=settings.call_timeout_s if settings else 120.0)
        request = build_request(atom, self._dependencies(atom), command.previous_errors, call)
        return replace(request, shareable=self._shares)

    def _dependencies(self, atom: AtomicUnit) -> list[AcceptedAtom]:
        atoms = self._machine.atoms
        return [AcceptedAtom(atom=self._plan.by_id[d], code=atoms[d].code) for d in atom.depends_on]

    def _shipment(self) -> Shipment:
        """Return what the checks of this wave share: the accepted code of all earlier waves is constant during it."""
        wave, machine = self._machine.current_wave, self._machine
        key = machine.accepted_version
        if self._shipped is None or self._shipped[0] != key:
            self._check = execute_atom.options(name=f"check wave {wave}")
            self._shipped = key, Shipment(self._config, self._plan_ref, ray.put(machine.accepted_codes()))
        return self._shipped[1]

    def _abandon(self, command: Abandon) -> None:
        if self._calls.pop(command.call_id, None):
            self._acknowledge(command.gateway, command.call_id)
        for ref, flight in list(self._flights.items()):
            if flight.call_id == command.call_id:
                del self._flights[ref]
                ray.cancel(ref, force=True)

    def _event(self, flight: _Flight, outcome: Any) -> Event:  # noqa: ANN401  # whatever the reference held
        now = self._clock.now()
        if isinstance(outcome, RayTaskError):
            outcome = failed_at(Level.TESTS, f"the validator failed: {_brief(outcome)}", rule="validator")
        if isinstance(outcome, Exception):
            reason = _brief(outcome)
            lost = WorkerLost(now, flight.atom_id, flight.call_id, reason)
            return AcceptanceLost(now, reason) if flight.kind is Accept else lost
        if flight.kind is Accept:
            return AcceptanceFinished(now, outcome)
        return AtomExecuted(now, flight.atom_id, flight.call_id, outcome)


def _wait(refs: list[ray.ObjectRef[Any]], timeout_s: float) -> list[tuple[ray.ObjectRef[Any], Any]]:
    """Return everything that is ready, as (reference, value or exception): waiting for one only would starve others."""
    ready, _ = ray.wait(refs, num_returns=1, timeout=timeout_s, fetch_local=True)
    if ready and len(refs) > 1:
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=True)
    try:
        return list(zip(ready, ray.get(ready), strict=True))
    except Exception:  # noqa: BLE001  # one of them at least failed: each gets its own value or exception
        return [(ref, _value(ref)) for ref in ready]


def _value(ref: ray.ObjectRef[Any]) -> Any:  # noqa: ANN401  # whatever the reference holds
    try:
        return ray.get(ref)
    except Exception as error:  # noqa: BLE001  # the border: it becomes an event
        return error


def _brief(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no message'}"[:300]
