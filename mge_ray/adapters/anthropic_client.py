"""EnhancedAnthropicClient: one call to the Messages API, as a Generation or a CallFailedError.

Owns the SDK's client, its connections and the key. Never retries: waiting, budgets and attempts belong to the engine.
Importing this file imports the SDK (1.3 s, 84 MB); what needs only requests and quotes imports `message_request`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from urllib.parse import urlsplit

import anthropic
import httpx2

from mge_ray.adapters import anthropic_failures as failures
from mge_ray.adapters.capabilities import accepts_effort, accepts_sampling, is_custom
from mge_ray.adapters.message_request import MessageRequest, build_request, max_cost_usd_of
from mge_ray.adapters.prices import PriceTable
from mge_ray.domain.atom import AcceptedAtom, AtomicUnit
from mge_ray.domain.errors import UnknownPriceError
from mge_ray.domain.generation import (
    CallFailure,
    FailureKind,
    Generation,
    StopReason,
    Usage,
    first_code_block,
)
from mge_ray.domain.retry import AttemptSettings
from mge_ray.execution.ports import CallContext, CallFailedError

STREAM_ABOVE_TOKENS = 21_333
"""From here on the SDK wants a stream: a longer answer may take over ten minutes, and idle connections are cut."""
SAMPLING_VERSION = "2023-06-01"
"""The last API version under which a temperature is no error."""
DEFAULT_MAX_TOKENS = 4_096
CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 4.0
"""Shorter than servers' (5 s and more), so that no request goes out on a connection that is just being closed."""
MAX_MESSAGE_CHARS = 500
NO_KEY_NEEDED = "no-key"
RATE_LIMIT_PREFIX = "anthropic-ratelimit-"

_STOP_REASONS = {reason.value: reason for reason in StopReason} | {"stop_sequence": StopReason.END_TURN}
_UNREADABLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A message as the SDK read it, not yet believed."""

    message: object
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str:
        return self.headers.get("request-id", "")


class EnhancedAnthropicClient:
    """Calls Claude, or a server that speaks like it. One per process and event loop; it cannot be pickled.

    `model` is for calls without settings of their own. Without `api_key` the environment's ANTHROPIC_API_KEY or
    ANTHROPIC_AUTH_TOKEN is read at the first call. `sampling` says whether the endpoint takes a temperature; None
    leaves it to the table, which knows only the provider's own models. With `require_price` (needed under a budget)
    a model without a price is not called; otherwise its answers count as free, with one warning. `stream` streams all
    answers, not only those of more than 21,333 tokens.
    """

    def __init__(
        self,
        *,
        prices: PriceTable | None = None,
        model: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        max_connections: int = 1_000,
        sampling: bool | None = None,
        stream: bool = False,
        require_price: bool = True,
    ) -> None:
        self._prices = prices or PriceTable()
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        self._max_connections = max_connections
        self._sampling = sampling
        self._stream = stream
        self._require_price = require_price
        self._sdk: anthropic.AsyncAnthropic | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._secrets: tuple[str, ...] = ()
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        host = urlsplit(self._base_url).hostname if self._base_url else None
        return f"EnhancedAnthropicClient(model={self._model!r}, host={host!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EnhancedAnthropicClient holds connections and a key; make one in the process that calls")

    async def generate(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        temperature: float | None = None,
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> Generation:
        """Return the model's answer for one attempt; raise CallFailedError. `temperature` wins over the settings."""
        return await self.complete(self._request(atom_spec, dependencies, temperature, previous_errors, call))

    def max_cost_usd(
        self,
        atom_spec: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        previous_errors: Sequence[str] | None = None,
        *,
        call: CallContext | None = None,
    ) -> float:
        """Return the most this call can bill in US dollars; raise UnknownPriceError, whatever `require_price` is."""
        return max_cost_usd_of(self._request(atom_spec, dependencies, None, previous_errors, call), self._prices)

    async def complete(self, request: MessageRequest) -> Generation:
        """Send one request and return its answer; raise CallFailedError for everything else.

        Cancelling it closes the connection, and leaves open whether the call was billed.
        """
        started = time.monotonic()
        answer = self._unpriced(request) or await self._attempt(request)
        latency_s = time.monotonic() - started
        outcome = answer if isinstance(answer, CallFailure) else self._read(answer, request, latency_s)
        if isinstance(outcome, CallFailure):
            # Raised outside of every `except`: a chained SDK error would carry the request with its key.
            raise CallFailedError(replace(outcome, message=self._redacted(outcome.message), latency_s=latency_s))
        return outcome

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        sdk, self._sdk, self._loop = self._sdk, None, None
        if sdk is not None:
            await sdk.close()

    def _request(
        self,
        atom: AtomicUnit,
        dependencies: Sequence[AcceptedAtom],
        temperature: float | None,
        previous_errors: Sequence[str] | None,
        call: CallContext | None,
    ) -> MessageRequest:
        call = call or CallContext()
        settings = call.settings
        if settings is None or not settings.model:  # a policy that leaves the model to the client
            if self._model is None:
                raise ValueError("no model to call: give the client a model, or the call its settings")
            settings = replace(settings or AttemptSettings("", DEFAULT_MAX_TOKENS), model=self._model)
        if temperature is not None:
            settings = replace(settings, temperature=temperature)
        return build_request(atom, dependencies, previous_errors, replace(call, settings=settings))

    def _unpriced(self, request: MessageRequest) -> CallFailure | None:
        if not self._require_price:
            return None
        try:
            self._prices.rates(request.model)
        except UnknownPriceError as error:
            return CallFailure(FailureKind.UNKNOWN_MODEL, str(error))
        return None

    async def _attempt(self, request: MessageRequest) -> _Answer | CallFailure:
        """Call once, within the request's time as a whole: the SDK's timeouts are per phase."""
        try:
            sdk = self._connected()
            if self._stream or request.max_tokens > STREAM_ABOVE_TOKENS:
                exchange = _streamed(sdk, self._parameters(request))
            else:
                exchange = _whole(sdk, self._parameters(request))
            return await asyncio.wait_for(exchange, request.timeout_s)
        except asyncio.TimeoutError:
            return failures.timed_out(request.timeout_s)
        except Exception as error:  # noqa: BLE001 - the border to the SDK: every outcome becomes a value
            return failures.failure_of(error)

    def _connected(self) -> anthropic.AsyncAnthropic:
        """Return the SDK's client, made at the first call inside the loop that uses it."""
        loop = asyncio.get_running_loop()
        if self._sdk is not None and self._loop is loop:
            return self._sdk
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("this client serves another event loop; make one client per loop")
        key, token = self._credentials()
        http_client = anthropic.DefaultAioHttpClient(
            limits=httpx2.Limits(
                max_connections=self._max_connections,
                max_keepalive_connections=self._max_connections,
                keepalive_expiry=KEEPALIVE_S,
            ),
            follow_redirects=False,
        )
        self._loop = loop
        self._sdk = anthropic.AsyncAnthropic(
            api_key=key,
            auth_token=token,
            base_url=self._base_url,
            max_retries=0,
            http_client=http_client,
            open_telemetry=False,
        )
        return self._sdk

    def _credentials(self) -> tuple[str | None, str | None]:
        """Return the key or the token, one of them None. The SDK's own search would go on to files on disk."""
        key = (self._api_key or os.environ.get("ANTHROPIC_API_KEY", "")).strip()
        token = "" if key else os.environ.get("ANTHROPIC_AUTH_TOKEN", "").strip()
        self._secrets = tuple(secret for secret in (key, token) if secret)
        if not self._secrets and is_custom(self._base_url):
            return NO_KEY_NEEDED, None
        if not self._secrets:
            raise _no_key("no key: set ANTHROPIC_API_KEY in the environment of the process that calls")
        if not all(secret.isascii() and secret.isprintable() for secret in self._secrets):
            raise _no_key("the key holds characters that no key has; was it pasted with a line break?")
        return key or None, token or None

    def _parameters(self, request: MessageRequest) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens,
            "system": [{"type": "text", "text": text} for text in request.system],
            "messages": [{"role": "user", "content": request.user}],
            "timeout": httpx2.Timeout(request.timeout_s, connect=min(CONNECT_TIMEOUT_S, request.timeout_s)),
        }
        if request.system:
            parameters["system"][-1]["cache_control"] = {"type": "ephemeral"}
        if request.temperature is not None and self._accepts_sampling(request.model):
            parameters["extra_body"] = {"temperature": request.temperature}
            parameters["extra_headers"] = {"anthropic-version": SAMPLING_VERSION}
        elif request.effort is not None and accepts_effort(request.model):
            parameters["output_config"] = {"effort": request.effort}
        return parameters

    def _accepts_sampling(self, model: str) -> bool:
        if self._sampling is not None:
            return self._sampling
        return accepts_sampling(model, is_custom(self._base_url))

    def _read(self, answer: _Answer, request: MessageRequest, latency_s: float) -> Generation | CallFailure:
        """Believe a message only if it is one: the SDK builds it without checking a single field."""
        message, request_id = answer.message, answer.request_id
        if not isinstance(message, anthropic.types.Message) or message.type != "message":
            return failures.not_an_answer(message, answer.headers.get("content-type", ""), request_id)
        try:
            usage = _usage(message)
            text = "".join(block.text for block in message.content if block.type == "text")
        except _UNREADABLE as error:
            return failures.broken(f"a message that cannot be read: {error}", request_id=request_id)
        if message.stop_reason is None:
            return failures.broken("the answer ended without a stop reason", usage=usage, request_id=request_id)
        return Generation(
            text=text,
            code=first_code_block(text),
            usage=usage,
            cost_usd=self._cost_usd(request.model, usage),
            stop_reason=_STOP_REASONS.get(message.stop_reason, StopReason.OTHER),
            model=str(message.model or request.model),
            latency_s=latency_s,
            request_id=request_id,
            rate_limits={
                name: value
                for name, value in answer.headers.items()
                if name.startswith(RATE_LIMIT_PREFIX) or name == "retry-after"
            },
        )

    def _cost_usd(self, model: str, usage: Usage) -> float:
        """Price what was asked for: a server may answer under another name."""
        if self._require_price or self._prices.knows(model):
            return self._prices.cost_usd(model, usage)
        if model not in self._warned:
            self._warned.add(model)
            _log.warning("no price is known for model %s: its calls count as free", model)
        return 0.0

    def _redacted(self, text: str) -> str:
        """Return a message on one line and of bounded length, cut only after the key is out of it."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return " ".join(text.split())[:MAX_MESSAGE_CHARS]


async def _whole(sdk: anthropic.AsyncAnthropic, parameters: dict[str, Any]) -> _Answer:
    raw = await sdk.messages.with_raw_response.create(**parameters)
    headers = _lowered(raw.headers)
    try:
        return _Answer(await raw.parse(), headers)
    except _UNREADABLE as error:
        failure = failures.broken(f"a body that is no JSON: {error}", request_id=headers.get("request-id", ""))
    raise failures.AnswerError(failure)


async def _streamed(sdk: anthropic.AsyncAnthropic, parameters: dict[str, Any]) -> _Answer:
    async with sdk.messages.stream(**parameters) as stream:
        headers = _lowered(stream.response.headers)
        content_type, request_id = headers.get("content-type", ""), headers.get("request-id", "")
        if not content_type.startswith("text/event-stream"):
            raise failures.AnswerError(failures.not_an_answer("no event stream", content_type, request_id))
        try:
            return _Answer(await stream.get_final_message(), headers)
        except _UNREADABLE as error:
            reason = f"a stream that cannot be read: {type(error).__name__} {error}"
        raise failures.AnswerError(failures.broken(reason, request_id=request_id))


def _no_key(advice: str) -> failures.AnswerError:
    return failures.AnswerError(CallFailure(FailureKind.AUTHENTICATION, advice))


def _lowered(headers: httpx2.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _usage(message: anthropic.types.Message) -> Usage:
    """Read the counts, raising TypeError where one is no number; cache fields may be missing or None."""
    counted = message.usage
    return Usage(
        input_tokens=_count(counted.input_tokens),
        output_tokens=_count(counted.output_tokens),
        cache_write_tokens=_count(counted.cache_creation_input_tokens or 0),
        cache_read_tokens=_count(counted.cache_read_input_tokens or 0),
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no number of tokens")
    return value
