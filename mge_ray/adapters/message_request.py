"""One call to the Messages API as plain data: it can be pickled, quoted and hashed without the SDK.

Pure. Built where atoms are dispatched and sent where calls are made; holds no key and no address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from mge_ray.adapters.prices import PriceTable
from mge_ray.domain.atom import PLAN_LANGUAGE, AcceptedAtom, AtomicUnit
from mge_ray.domain.generation import Usage
from mge_ray.domain.retry import Effort
from mge_ray.execution.ports import CallContext
from mge_ray.pipeline.prompt import render
from mge_ray.pipeline.spec.prompt import render_step

FRAMING_TOKENS = 512
"""What the provider may add to the text: roles, separators, its own instructions for an effort."""

MOST_BYTES_A_TOKEN = 8
MOST_PREFIXES = 256


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """What is asked, of which model, for how long (seconds). `system`'s last block ends the cacheable prefix.

    A `shareable` one may be answered by an equal one's call that is in flight.
    """

    call_id: str
    model: str
    system: tuple[str, ...]
    user: str
    max_tokens: int
    temperature: float | None = None
    effort: Effort | None = None
    timeout_s: float = 120.0
    shareable: bool = False


def content_hash(request: MessageRequest) -> str:
    """Return the SHA-256 of everything the provider sees: who asks (`call_id`), and for how long, is not of it."""
    content = (request.model, request.system, request.user, request.max_tokens, request.temperature, request.effort)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def build_request(
    atom: AtomicUnit,
    dependencies: Sequence[AcceptedAtom],
    previous_errors: Sequence[str] | None,
    call: CallContext,
) -> MessageRequest:
    """Return the request for one attempt. Raises ValueError when `call` has no settings, hence no model."""
    settings = call.settings
    if settings is None:
        raise ValueError(f"call {call.call_id!r} for atom {atom.id!r} has no settings; they name the model")
    errors = previous_errors or ()
    if atom.language == PLAN_LANGUAGE:
        prompt = render_step(atom, plan=call.plan, previous_code=call.previous_code, previous_errors=errors)
    else:
        prompt = render(atom, dependencies, plan=call.plan, previous_code=call.previous_code, previous_errors=errors)
    return MessageRequest(
        call_id=call.call_id,
        model=settings.model,
        system=prompt.system,
        user=prompt.user,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        effort=settings.effort,
        timeout_s=call.timeout_s,
    )


def max_input_tokens(request: MessageRequest) -> int:
    """Return an upper bound of the prompt's tokens: a token covers at least one byte of UTF-8."""
    return FRAMING_TOKENS + sum(_utf8_bytes(text) for text in (*request.system, request.user))


def max_cost_usd_of(request: MessageRequest, prices: PriceTable, counted: CountedPrefixes | None = None) -> float:
    """Return the most the call can bill in US dollars; raise UnknownPriceError."""
    tokens = counted.max_input_tokens(request) if counted else max_input_tokens(request)
    return prices.max_cost_usd(request.model, tokens, request.max_tokens)


@dataclass(slots=True)
class CountedPrefixes:
    """What the provider itself has counted of prompts that begin alike: a bound far below a token a byte.

    A prompt costs at most what a whole earlier prompt of the same model with the same system text was counted as, and a
    token for each byte that is its own. What was counted by a server that leaves tokens out is not believed.
    """

    tokens: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)

    def observe(self, request: MessageRequest, usage: Usage) -> None:
        """Keep what an answer says of its whole prompt; the largest such count of each prefix."""
        counted = usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens
        prefix = (request.model, request.system)
        if counted * MOST_BYTES_A_TOKEN < sum(map(_utf8_bytes, request.system)):
            return
        if len(self.tokens) >= MOST_PREFIXES and prefix not in self.tokens:
            self.tokens.pop(next(iter(self.tokens)))
        self.tokens[prefix] = max(counted, self.tokens.get(prefix, 0))

    def max_input_tokens(self, request: MessageRequest) -> int:
        """Return an upper bound of the prompt's tokens."""
        bound = max_input_tokens(request)
        counted = self.tokens.get((request.model, request.system))
        return bound if counted is None else min(bound, FRAMING_TOKENS + counted + _utf8_bytes(request.user))


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
