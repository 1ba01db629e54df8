"""LLMGateway: the process that calls the model, with hundreds of calls in flight; and the pool of them.

A call has an identity. Asked twice for the same `call_id`, a gateway joins the caller to the call that is running, or
gives the answer it has; it forgets an answer only when told that it is journalled. So a coordinator that died and came
back buys nothing twice. Equal requests of several executions are one call (`single_flight`). A gateway that died has
forgotten everything: its next life has another incarnation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from zlib import crc32

import ray
from ray.exceptions import RayActorError

from mge_ray.adapters.logs import configure_logs
from mge_ray.adapters.message_request import CountedPrefixes, MessageRequest, build_request, max_cost_usd_of
from mge_ray.cluster.concurrency_controller import Handle
from mge_ray.cluster.memory import settle
from mge_ray.cluster.single_flight import Answer, SingleFlight
from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation, Usage
from mge_ray.execution.ports import CallContext, CallFailedError
from mge_ray.wiring.build import llm_client, price_table
from mge_ray.wiring.settings import EngineConfig

REVIVAL_POLL_S = 0.2
COLLECT_S = 30.0
EXECUTIONS_REMEMBERED = 10_000
"""Of the executions with a newer owner than the first; an id and a number each."""
GATHERING_S = 0.015
"""How long the first answer waits for others: answers come in bursts, and each message costs both sides a turn.

Measured on the dispatch benchmark: 2 ms 1.055 x the bound, 8 ms 1.051 x, 15 ms 1.047 x."""


class LLMGateway:
    """Calls the model once per call id.

    Callers hand calls over in batches and collect answers in batches, by a name of their own: one message between
    processes for a hundred calls costs a tenth of a hundred messages (measured: 2.1 ms of CPU a call, on both sides).
    """

    def __init__(self, config: EngineConfig) -> None:
        configure_logs("gateway", config.logs)
        self._client = llm_client(config)
        self._flights = SingleFlight(self._call)
        self._calls: dict[str, asyncio.Task[Answer]] = {}
        self._callers: dict[str, str] = {}
        self._answered: dict[str, dict[str, Answer]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._epochs: OrderedDict[str, int] = OrderedDict()
        self._incarnation = uuid.uuid4().hex
        settle()

    async def incarnation(self) -> str:
        """Return who this is; another answer than before means that earlier calls are forgotten."""
        return self._incarnation

    async def fence(self, execution: str, epoch: int) -> None:
        """Refuse the execution's calls of older epochs from now on: another process has taken it over."""
        self._epochs[execution] = max(epoch, self._epochs.pop(execution, 0))
        while len(self._epochs) > EXECUTIONS_REMEMBERED:
            self._epochs.popitem(last=False)

    async def submit(self, caller: str, requests: Sequence[MessageRequest], incarnation: str, epoch: int) -> None:
        """Make the calls, or join those made before under the same ids; their answers are for `caller`.

        Calls meant for another life of this gateway are not made: their caller counts them as lost. Nor are those of
        an older epoch than the execution's: their caller is told, and its journal tells it to stop.
        """
        if incarnation != self._incarnation:
            return
        for request in requests:
            newest = self._epochs.get(request.call_id.partition(":")[0], 0)
            if epoch < newest:
                self._refuse(caller, request.call_id, epoch, newest)
                continue
            former = self._callers.get(request.call_id, caller)
            if former != caller:
                self._drop(former, request.call_id)
            self._callers[request.call_id] = caller
            task = self._calls.get(request.call_id)
            if task is None:
                task = self._calls[request.call_id] = self._flights.join(request)
                task.add_done_callback(partial(self._deliver, request.call_id))
            elif task.done():
                self._deliver(request.call_id, task)

    async def collect(self, caller: str, timeout_s: float, incarnation: str) -> dict[str, Answer] | None:
        """Return the caller's answers by call id as soon as there are any, at the latest after `timeout_s`.

        None says that this is another life of the gateway, which knows nothing of the caller's calls.
        """
        if incarnation != self._incarnation:
            return None
        news = self._news.setdefault(caller, asyncio.Event())
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(news.wait(), timeout_s)
            await asyncio.sleep(GATHERING_S)
        self._news.pop(caller, None)
        return self._answered.pop(caller, {})

    async def generate(self, request: MessageRequest) -> Answer:
        """Return the answer to one call, made now or before. Never raises for what the provider does."""
        task = self._calls.get(request.call_id)
        if task is None:
            task = self._calls[request.call_id] = self._flights.join(request)
        return await asyncio.shield(task)

    def _refuse(self, caller: str, call_id: str, epoch: int, newest: int) -> None:
        message = f"the execution was taken over (epoch {newest}; the call is of {epoch})"
        self._answered.setdefault(caller, {})[call_id] = CallFailure(FailureKind.INTERNAL, message)
        self._news.setdefault(caller, asyncio.Event()).set()

    async def acknowledge(self, caller: str, call_ids: Sequence[str]) -> None:
        """Forget the caller's answers that are journalled, and its calls that it does not wait for any longer."""
        for call_id in call_ids:
            if self._callers.get(call_id, caller) != caller:
                continue
            self._callers.pop(call_id, None)
            self._drop(caller, call_id)
            task = self._calls.pop(call_id, None)
            self._flights.leave(call_id)
            if task is not None and not task.done():
                task.cancel()

    async def held(self) -> int:
        """Return how many calls are running or wait to be acknowledged."""
        return len(self._calls)

    def _drop(self, caller: str, call_id: str) -> None:
        answers = self._answered.get(caller, {})
        answers.pop(call_id, None)
        if not answers:
            self._answered.pop(caller, None)

    def _deliver(self, call_id: str, task: asyncio.Task[Answer]) -> None:
        caller = self._callers.get(call_id)
        if caller is not None and not task.cancelled():
            self._answered.setdefault(caller, {})[call_id] = task.result()
            self._news.setdefault(caller, asyncio.Event()).set()

    async def close(self) -> None:
        """Give up running calls and close the connections."""
        for task in self._calls.values():
            task.cancel()
        self._flights.close()
        await self._client.aclose()

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
        self._counted = CountedPrefixes()
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
        """Return the gateway whose turn it is; empty while none lives."""
        names = list(self._by_incarnation)
        self._turn += 1
        return names[self._turn % len(names)] if names else ""

    def incarnation_for(self, name: str) -> str:
        """Return the same gateway for the same name, while the same ones live: equal requests are to meet there."""
        names = list(self._by_incarnation)
        return names[crc32(name.encode()) % len(names)] if names else ""

    def fence(self, execution: str, epoch: int) -> None:
        """Tell every gateway which epoch's calls it may still make."""
        for gateway in self._gateways:
            gateway.fence.remote(execution, epoch)

    def send(self, caller: str, requests: Sequence[MessageRequest], incarnation: str, epoch: int) -> None:
        """Hand calls over to that gateway; one that died in between is told by `collect`."""
        gateway = self._by_incarnation.get(incarnation)
        if gateway is not None:
            gateway.submit.remote(caller, list(requests), incarnation, epoch)

    def collect(self, caller: str, incarnation: str) -> ray.ObjectRef[dict[str, Answer] | None] | None:
        """Return a reference to the caller's next answers from that gateway; None if it is not known to live."""
        gateway = self._by_incarnation.get(incarnation)
        return None if gateway is None else gateway.collect.remote(caller, COLLECT_S, incarnation)

    def acknowledge(self, caller: str, call_ids: Sequence[str], incarnation: str) -> None:
        """Tell the gateway that holds the answers to forget them."""
        gateway = self._by_incarnation.get(incarnation)
        if gateway is not None:
            gateway.acknowledge.remote(caller, list(call_ids))

    def quote_usd(self, request: MessageRequest) -> float:
        """Return the most the call can bill; without prices being required, 0 for a model that has none."""
        if not self._priced and not self._prices.knows(request.model):
            return 0.0
        return max_cost_usd_of(request, self._prices, self._counted)

    def observe(self, request: MessageRequest, usage: Usage) -> None:
        """Learn from an answer what prompts that begin like its own are counted as."""
        self._counted.observe(request, usage)

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
        answer: Answer = await self._by_incarnation[incarnation].generate.remote(request)
        self.acknowledge("", [request.call_id], incarnation)
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
