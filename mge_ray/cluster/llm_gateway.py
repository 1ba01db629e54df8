"""LLMGateway: the process that calls the model, with hundreds of calls in flight; and the pool of them.

A call has an identity. Asked twice for the same `call_id`, a gateway joins the caller to the call that is running, or
gives the answer it has; it forgets an answer only when told that it is journalled. So a coordinator that died and came
back buys nothing twice. A gateway that died has forgotten everything: its next life has another incarnation.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence

import ray
from ray.exceptions import RayActorError

from mge_ray.adapters.message_request import MessageRequest, build_request, max_cost_usd_of
from mge_ray.cluster.concurrency_controller import Handle
from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation
from mge_ray.execution.ports import CallContext, CallFailedError
from mge_ray.wiring.build import llm_client, price_table
from mge_ray.wiring.settings import EngineConfig

REVIVAL_POLL_S = 0.2

Answer = Generation | CallFailure


class LLMGateway:
    """Calls the model once per call id."""

    def __init__(self, config: EngineConfig) -> None:
        self._client = llm_client(config)
        self._calls: dict[str, asyncio.Task[Answer]] = {}
        self._incarnation = uuid.uuid4().hex

    async def incarnation(self) -> str:
        """Return who this is; another answer than before means that earlier calls are forgotten."""
        return self._incarnation

    async def generate(self, request: MessageRequest) -> Answer:
        """Return the answer to the call, made now or before. Never raises for what the provider does."""
        task = self._calls.get(request.call_id)
        if task is None:
            task = self._calls[request.call_id] = asyncio.create_task(self._call(request))
        return await asyncio.shield(task)

    async def acknowledge(self, call_ids: Sequence[str]) -> None:
        """Forget answers that are journalled."""
        for call_id in call_ids:
            task = self._calls.pop(call_id, None)
            if task is not None and not task.done():
                task.cancel()

    async def pid(self) -> int:
        """Return this process's id."""
        return os.getpid()

    async def _call(self, request: MessageRequest) -> Answer:
        try:
            return await self._client.complete(request)
        except CallFailedError as error:
            return error.failure
        except Exception as error:  # noqa: BLE001  # the border: a call's fault must not end the gateway
            message = f"the client failed: {type(error).__name__}: {error}"
            return CallFailure(FailureKind.INTERNAL, message, Billing.UNKNOWN)


LLMGatewayActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(LLMGateway)


class LLMGatewayPool:
    """The gateways as one LLMClient that can quote: builds requests, and spreads calls over the processes."""

    def __init__(self, gateways: Sequence[Handle], config: EngineConfig) -> None:
        self._gateways = list(gateways)
        self._by_incarnation: dict[str, Handle] = {}
        self._prices = price_table(config)
        self._priced = config.require_price
        self._turn = 0
        self._revivals: set[asyncio.Task[str]] = set()

    async def refresh(self) -> tuple[str, ...]:
        """Ask every gateway who it is now; return the incarnations that live."""
        return tuple(await asyncio.gather(*(self._meet(gateway) for gateway in self._gateways)))

    @property
    def available(self) -> bool:
        """True while a gateway is known to live; while all restart, nothing is sent."""
        return bool(self._by_incarnation)

    def lost(self, incarnation: str) -> None:
        """Send nothing more to a gateway that died, until it lives again under another name."""
        gateway = self._by_incarnation.pop(incarnation, None)
        if gateway is not None:
            revival = asyncio.create_task(self._meet(gateway))
            self._revivals.add(revival)
            revival.add_done_callback(self._revivals.discard)

    async def _meet(self, gateway: Handle) -> str:
        while True:
            try:
                incarnation: str = await gateway.incarnation.remote()
            except RayActorError:
                await asyncio.sleep(REVIVAL_POLL_S)
            else:
                self._by_incarnation[incarnation] = gateway
                return incarnation

    def next_incarnation(self) -> str:
        """Return the gateway whose turn it is."""
        names = list(self._by_incarnation)
        self._turn += 1
        return names[self._turn % len(names)]

    def send(self, request: MessageRequest, incarnation: str) -> ray.ObjectRef[Answer]:
        """Make the call on that gateway; a stale incarnation goes to any, which gives the call a new home."""
        gateway = self._by_incarnation.get(incarnation) or self._gateways[0]
        ref: ray.ObjectRef[Answer] = gateway.generate.remote(request)
        return ref

    def acknowledge(self, call_id: str, incarnation: str) -> None:
        """Tell the gateway that holds the call's answer to forget it."""
        gateway = self._by_incarnation.get(incarnation)
        if gateway is not None:
            gateway.acknowledge.remote([call_id])

    def quote_usd(self, request: MessageRequest) -> float:
        """Return the most the call can bill; without prices being required, 0 for a model that has none."""
        if not self._priced and not self._prices.knows(request.model):
            return 0.0
        return max_cost_usd_of(request, self._prices)

    async def generate(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        temperature: float | None = None,  # noqa: ARG002  # in the call's settings already
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> Generation:
        """Return the model's answer; raise CallFailedError."""
        request = build_request(atom_spec, dependencies, previous_errors, call or CallContext())
        incarnation = self.next_incarnation()
        answer: Answer = await self.send(request, incarnation)
        self.acknowledge(request.call_id, incarnation)
        if isinstance(answer, CallFailure):
            raise CallFailedError(answer)
        return answer

    def max_cost_usd(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> float:
        """Return the most the call can bill in US dollars."""
        return self.quote_usd(build_request(atom_spec, dependencies, previous_errors, call or CallContext()))
