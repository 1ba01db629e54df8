"""What a call to the model can end in: a Generation (an answer, billed) or a CallFailure (no usable answer).

Owns the classification of failures as data: which are retried, which stop the run, which may have been billed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """Return `text` without halves of surrogate pairs: JSON may carry them, UTF-8 and thus the journal cannot."""
    return text if text.isascii() else HALF_A_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)


class StopReason(str, Enum):
    """Why the model stopped. Only END_TURN is a complete answer."""

    END_TURN = "end_turn"
    MAX_TOKENS = "max_tokens"
    REFUSAL = "refusal"
    CONTEXT_WINDOW = "model_context_window_exceeded"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; `input_tokens` exclude cached ones, `output_tokens` include thinking."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """The model's answer: its text, the code in it, and what it cost (US dollars, seconds).

    `shared` says that another execution asked the same at the same time, and that this one's call was paid there.
    """

    text: str
    code: str | None
    usage: Usage
    cost_usd: float
    stop_reason: StopReason
    model: str
    latency_s: float = 0.0
    request_id: str = ""
    rate_limits: dict[str, str] = field(default_factory=dict)
    shared: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", whole(self.text))
        object.__setattr__(self, "code", None if self.code is None else whole(self.code))


class FailureKind(str, Enum):
    """Why a call gave no usable answer."""

    RATE_LIMITED = "rate_limited"
    RAMP_LIMITED = "ramp_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BROKEN_ANSWER = "broken_answer"
    NOT_AN_ANSWER = "not_an_answer"
    GATEWAY_LOST = "gateway_lost"
    SPEND_LIMIT = "spend_limit"
    AUTHENTICATION = "authentication"
    UNKNOWN_MODEL = "unknown_model"
    REQUEST_REFUSED = "request_refused"
    INTERNAL = "internal"


class Remedy(str, Enum):
    """What follows a failed call."""

    RETRY = "retry"
    RETRY_ALL_TOGETHER = "retry_all_together"
    FAIL_ATOM = "fail_atom"
    STOP_RUN = "stop_run"


class Billing(str, Enum):
    """Whether the provider may have billed a call that gave no answer."""

    NOT_BILLED = "not_billed"
    BILLED = "billed"
    UNKNOWN = "unknown"


REMEDIES: dict[FailureKind, Remedy] = {
    FailureKind.RATE_LIMITED: Remedy.RETRY_ALL_TOGETHER,
    FailureKind.RAMP_LIMITED: Remedy.RETRY_ALL_TOGETHER,
    FailureKind.OVERLOADED: Remedy.RETRY_ALL_TOGETHER,
    FailureKind.SERVER_ERROR: Remedy.RETRY,
    FailureKind.TIMEOUT: Remedy.RETRY,
    FailureKind.CONNECTION: Remedy.RETRY,
    FailureKind.BROKEN_ANSWER: Remedy.RETRY,
    FailureKind.NOT_AN_ANSWER: Remedy.RETRY,
    FailureKind.GATEWAY_LOST: Remedy.RETRY,
    FailureKind.SPEND_LIMIT: Remedy.STOP_RUN,
    FailureKind.AUTHENTICATION: Remedy.STOP_RUN,
    FailureKind.UNKNOWN_MODEL: Remedy.STOP_RUN,
    FailureKind.REQUEST_REFUSED: Remedy.FAIL_ATOM,
    FailureKind.INTERNAL: Remedy.FAIL_ATOM,
}


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call without a usable answer. `cost_usd` is meant only where `billing` is BILLED."""

    kind: FailureKind
    message: str
    billing: Billing = Billing.NOT_BILLED
    cost_usd: float = 0.0
    usage: Usage = Usage()
    retry_after_s: float | None = None
    latency_s: float = 0.0
    request_id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", whole(self.message))

    @property
    def remedy(self) -> Remedy:
        """What follows this failure."""
        return REMEDIES[self.kind]


FENCE = re.compile(
    r"^[ ]{0,3}(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<code>.*?)^[ ]{0,3}(?P=fence)[ \t\r]*$", re.DOTALL | re.MULTILINE
)


def first_code_block(text: str) -> str | None:
    """Return the first complete fenced code block of an answer, or None. An unclosed fence is not a block."""
    found = FENCE.search(text)
    return found["code"] if found else None
