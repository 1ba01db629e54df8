"""The kinds of fault: what can go wrong with one request, and who pays for it.

Owns the names alone. Rates live in the configuration, drawing in `faults`, the way each looks on the wire in `app`.
"""

from enum import Enum
from types import MappingProxyType


class TransportFault(str, Enum):
    """At most one of these hits a request; the value is the name of its rate without `rate_`."""

    RATE_LIMIT = "429"
    RATE_LIMIT_BARE = "429_bare"
    RAMP_LIMIT = "ramp_429"
    SPEND_LIMIT = "spend_429"
    SERVER_ERROR = "500"
    OVERLOADED = "529"
    RESET = "reset"
    STALL = "stall"
    TRUNCATED = "truncated"
    HTML = "html"
    EARLY_END = "early_end"
    STREAM_OVERLOAD = "stream_overload"

    @property
    def rate_field(self) -> str:
        """Name of the configuration field that holds the rate."""
        return f"rate_{self.value}"


class AnswerFault(str, Enum):
    """At most one of these spoils an answer that is delivered, and billed, in full."""

    REFUSAL = "refusal"
    CUT = "cut"
    NO_CODE = "no_code"
    SYNTAX = "syntax"
    WRONG = "wrong"

    @property
    def rate_field(self) -> str:
        """Name of the configuration field that holds the rate."""
        return f"rate_{self.value}"


BILLED = MappingProxyType(
    {
        TransportFault.RATE_LIMIT: False,
        TransportFault.RATE_LIMIT_BARE: False,
        TransportFault.RAMP_LIMIT: False,
        TransportFault.SPEND_LIMIT: False,
        TransportFault.SERVER_ERROR: False,
        TransportFault.OVERLOADED: False,
        TransportFault.HTML: False,
        TransportFault.RESET: True,
        TransportFault.STALL: True,
        TransportFault.TRUNCATED: True,
        TransportFault.EARLY_END: True,
        TransportFault.STREAM_OVERLOAD: True,
    }
)
"""Whether the answer was produced, and is paid for, although it never arrives whole.

Unbilled faults are answered at once; billed ones after the drawn latency, because the answer is generated first.
"""
