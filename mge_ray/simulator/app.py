"""The simulated provider as an ASGI application.

Owns the order of things: storm, drawn refusals, real rate limits, latency, billing, delivery. A request whose client
leaves before the latency is over is `abandoned` and not billed; from then on the answer exists and is billed, whether
it arrives or not. A stalled answer is therefore billed at the moment the silence begins.
"""

import math
import time
from collections.abc import Callable
from types import MappingProxyType

from mge_ray.simulator.answers import AnswerBook
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.delivery import OVERLOADED, Answer, deliver, lose
from mge_ray.simulator.exchange import ClientGoneError, Exchange, Receive, Scope, Send
from mge_ray.simulator.faults import (
    BILLED,
    TransportFault,
    draw_answer,
    draw_latency,
    draw_storm,
    draw_transport,
)
from mge_ray.simulator.limits import Header, RateLimits
from mge_ray.simulator.messages import ApiError, MessageRequest, check_headers, parse_request
from mge_ray.simulator.pricing import CATALOGUE, Model, load_prices, model_class, price_of
from mge_ray.simulator.promptcache import InputUsage, PromptCache
from mge_ray.simulator.stats import Stats

STORM = "storm"
DISCONNECTED = "disconnected"

_HTML = b"<!doctype html><title>Gateway</title><p>The service is being updated.</p>\n"
_REFUSALS = MappingProxyType(
    {
        TransportFault.RATE_LIMIT_BARE: ApiError(429, "rate_limit_error", "Rate limited, with no word on how long"),
        TransportFault.SPEND_LIMIT: ApiError(
            429,
            "rate_limit_error",
            "The organization has reached the monthly spend limit of its tier",
            code="enforced_spend_limit_reached",
        ),
        TransportFault.SERVER_ERROR: ApiError(500, "api_error", "Internal server error"),
        TransportFault.OVERLOADED: OVERLOADED,
    }
)


def create_app(config: SimulatorConfig) -> "Simulator":
    """Make the application. Raises SimulatorConfigError when a file it needs cannot be read."""
    return Simulator(config)


class Simulator:
    """An ASGI application with its books in `stats`; `clock` gives wall clock seconds."""

    def __init__(self, config: SimulatorConfig, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self.stats = Stats()
        self._clock = clock
        self.book = AnswerBook(config)
        self._prices = load_prices(config.prices)
        self._cache = PromptCache(ttl_s=config.cache_ttl_s, min_tokens=config.cache_min_tokens)
        self._limits: dict[str, RateLimits] = {}
        self._storm_until = -math.inf
        self._exchanges = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not simulated")
        self._exchanges += 1
        exchange = Exchange(scope, receive, send, request_id=f"req_{self._exchanges:024d}")
        route = (scope["method"], scope["path"])
        if route == ("POST", "/v1/messages"):
            await self._create_message(exchange)
        else:
            await self._other(exchange, *route)

    async def _other(self, exchange: Exchange, method: str, path: str) -> None:
        if (method, path) == ("GET", "/healthz"):
            await exchange.reply_json(200, {"status": "ok"}, [])
        elif (method, path) == ("GET", "/stats"):
            await exchange.reply_json(200, self.stats.as_json(), [])
        elif (method, path) == ("POST", "/stats/reset"):
            self.stats.reset()
            await exchange.reply_json(200, {"status": "ok"}, [])
        elif method == "GET" and (path == "/v1/models" or path.startswith("/v1/models/")):
            await self._models(exchange, path.removeprefix("/v1/models").removeprefix("/"))
        else:
            await exchange.refuse(ApiError(404, "not_found_error", f"{method} {path} is not simulated"), [])

    async def _models(self, exchange: Exchange, model_id: str) -> None:
        wanted = self.config.models
        listed = [model_json(model) for model in CATALOGUE if not wanted or model.id in wanted]
        try:
            check_headers(exchange.headers)
        except ApiError as error:
            await exchange.refuse(error, [])
            return
        if model_id:
            found = next((model for model in listed if model["id"] == model_id), None)
            if found is None:
                await exchange.refuse(ApiError(404, "not_found_error", f"model: {model_id}"), [])
            else:
                await exchange.reply_json(200, dict(found), [])
            return
        ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {}
        await exchange.reply_json(200, {"data": listed, "has_more": False, **ends}, [])

    async def _create_message(self, exchange: Exchange) -> None:
        self.stats.request_opened()
        try:
            body = await exchange.body(self.config.max_body_bytes)
            request = parse_request(body, check_headers(exchange.headers), self.config)
            await self._admit(exchange, request)
        except ClientGoneError:
            self.stats.abandoned += 1
        except ApiError as error:
            self.stats.rejected[error.kind] += 1
            await exchange.refuse(error, [])
        finally:
            self.stats.request_closed()

    async def _admit(self, exchange: Exchange, request: MessageRequest) -> None:
        """Refuse, or draw the latency and answer. Refusals that depend on the clock consume no try."""
        atom = self.stats.atom(request.atom_id)
        atom.requests += 1
        limits = self._limits_of(request.model)
        now = self._clock()
        if now < self._storm_until:
            self.stats.fault_hit(request.atom_id, STORM)
            await exchange.refuse(OVERLOADED, limits.headers(now=now))
            return
        try_index = atom.tries
        fault = draw_transport(self.config, request.atom_id, try_index)
        if fault is not None and not BILLED[fault]:
            atom.tries += 1
            if fault is TransportFault.OVERLOADED and draw_storm(self.config, request.atom_id, try_index):
                self._storm_until = now + self.config.storm_s
            self.stats.fault_hit(request.atom_id, fault.value)
            await self._refuse(exchange, fault, limits.headers(now=now))
            return
        usage = self._cache.usage(request.input_tokens, request.prefixes, now=now)
        exhausted = limits.admit(usage.limited, now=now)
        if exhausted is not None:
            self.stats.rate_limited += 1
            name, wait_s = exhausted
            message = f"This request would exceed your organization's rate limit of {name} per minute"
            error = ApiError(429, "rate_limit_error", message, retry_after_s=math.ceil(wait_s))
            await exchange.refuse(error, limits.headers(now=now))
            return
        atom.tries += 1
        if await exchange.gone_within(draw_latency(self.config, request.atom_id, try_index)):
            self.stats.abandoned += 1
            return
        await self._answer(exchange, request, fault, limits, usage)

    async def _refuse(self, exchange: Exchange, fault: TransportFault, headers: list[Header]) -> None:
        if fault is TransportFault.HTML:
            await exchange.reply(200, _HTML, [(b"content-type", b"text/html; charset=utf-8")])
            return
        error = _REFUSALS.get(fault)
        if error is None:
            code = "ramp_limit_exceeded" if fault is TransportFault.RAMP_LIMIT else None
            message = "Usage grows too fast" if code else "Rate limited"
            error = ApiError(429, "rate_limit_error", message, code=code, retry_after_s=self.config.retry_after_s)
        await exchange.refuse(error, headers)

    async def _answer(
        self,
        exchange: Exchange,
        request: MessageRequest,
        fault: TransportFault | None,
        limits: RateLimits,
        usage: InputUsage,
    ) -> None:
        """Produce the answer, bill it, deliver it. Only an answer on its way whole takes an answer index.

        The prompt is billed as it was admitted: what became readable in the cache meanwhile came too late for it.
        """
        now = self._clock()
        atom_id = request.atom_id
        atom = self.stats.atom(atom_id)
        answer_index = atom.answers
        spoilt = draw_answer(self.config, atom_id, answer_index) if fault is None else None
        reply = self.book.reply(atom_id, spoilt, answer_index, max_tokens=request.max_tokens)
        self._cache.remember(request.prefixes, now=now)
        limits.produced(reply.output_tokens, now=now)
        self.stats.answer_billed(atom_id, usage, reply.output_tokens, price_of(request.model, self._prices))
        answer = Answer(exchange.request_id.replace("req", "msg", 1), request.model, reply, usage, request.stream)
        if fault is not None:
            self.stats.fault_hit(atom_id, fault.value)
            self.stats.answer_lost(fault.value)
            await lose(exchange, answer, fault, limits.headers(now=now), stall_s=self.config.stall_s)
            return
        atom.answers = answer_index + 1
        await deliver(exchange, answer, limits.headers(now=now))
        if exchange.delivered:
            self.stats.answer_delivered(atom_id)
            if spoilt is not None:
                self.stats.fault_hit(atom_id, spoilt.value)
        else:
            self.stats.answer_lost(DISCONNECTED)
            if atom.answers == answer_index + 1:
                atom.answers = answer_index

    def _limits_of(self, model_id: str) -> RateLimits:
        name = model_class(model_id)
        limits = self._limits.get(name)
        if limits is None:
            limits = self._limits[name] = RateLimits(self.config, now=self._clock())
        return limits


def model_json(model: Model) -> dict[str, object]:
    """Write one line of `GET /v1/models`."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": f"{model.released}T00:00:00Z",
        "lifecycle": "active",
        "line": model.line,
    }
