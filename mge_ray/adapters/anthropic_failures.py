"""What the Anthropic SDK can raise or return instead of an answer, as a CallFailure.

Owns the classification: kind, whether it may have been billed, how long to wait. Classifies by status, `error.type` and
`error_code`; by wording only where the provider gives no code. Retrying is left to the engine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

import aiohttp
import anthropic
import httpx2

from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Usage

MAX_RETRY_AFTER_S = 3_600.0

_BY_CODE = {
    "ramp_limit_exceeded": FailureKind.RAMP_LIMITED,
    "enforced_spend_limit_reached": FailureKind.SPEND_LIMIT,
    "contract_spend_limit_reached": FailureKind.SPEND_LIMIT,
    "linked_organization_spend_limit_reached": FailureKind.SPEND_LIMIT,
    "linked_organization_billing_unavailable": FailureKind.SPEND_LIMIT,
    "organization_on_hold": FailureKind.AUTHENTICATION,
}
_SPEND_WORDS = ("specified api usage limits", "credit balance is too low", "spend limit", "spending limit")
"""The own spend limit and an empty balance come as a plain 400 without a code."""

_BY_TYPE = {
    "overloaded_error": FailureKind.OVERLOADED,
    "rate_limit_error": FailureKind.RATE_LIMITED,
    "billing_error": FailureKind.SPEND_LIMIT,
    "authentication_error": FailureKind.AUTHENTICATION,
    "permission_error": FailureKind.AUTHENTICATION,
    "timeout_error": FailureKind.TIMEOUT,
    "api_error": FailureKind.SERVER_ERROR,
    "not_found_error": FailureKind.UNKNOWN_MODEL,
    "invalid_request_error": FailureKind.REQUEST_REFUSED,
}
_BY_STATUS = {
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.SPEND_LIMIT,
    403: FailureKind.AUTHENTICATION,
    404: FailureKind.UNKNOWN_MODEL,
    408: FailureKind.TIMEOUT,
    409: FailureKind.SERVER_ERROR,
    429: FailureKind.RATE_LIMITED,
    504: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}
_REDIRECTS, _REFUSALS, _FAULTS = 300, 400, 500

_NOT_SENT = (aiohttp.ClientConnectorError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
"""Refused, unresolved, no TLS, no free connection: certain to have failed before the request left."""


class AnswerError(Exception):
    """An answer that arrived and is none; carries its CallFailure to where the call ends."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: BaseException) -> CallFailure:
    """Return what an exception of one call means. What nobody foresaw is INTERNAL, and possibly billed.

    Messages quote the server without a bound and may hold what it echoed: the client redacts and cuts them.
    """
    if isinstance(error, AnswerError):
        return error.failure
    if isinstance(error, anthropic.APIStatusError):
        return _of_status(error)
    return _of_transport(error)


def _of_transport(error: BaseException) -> CallFailure:
    chain = list(_causes(error))
    if any(isinstance(cause, _NOT_SENT) for cause in chain):
        return CallFailure(FailureKind.CONNECTION, f"no connection{_root(chain)}")
    if isinstance(error, (anthropic.APITimeoutError, httpx2.TimeoutException)):
        return CallFailure(FailureKind.TIMEOUT, f"the server fell silent{_root(chain)}", Billing.UNKNOWN)
    if any(isinstance(cause, (httpx2.ReadError, httpx2.DecodingError, httpx2.StreamError)) for cause in chain):
        return CallFailure(FailureKind.BROKEN_ANSWER, f"the answer broke off{_root(chain)}", Billing.UNKNOWN)
    if isinstance(error, (anthropic.APIConnectionError, httpx2.HTTPError, OSError)):
        return CallFailure(FailureKind.CONNECTION, f"the connection was lost{_root(chain)}", Billing.UNKNOWN)
    return CallFailure(FailureKind.INTERNAL, f"{type(error).__name__}: {error}", Billing.UNKNOWN)


def timed_out(timeout_s: float) -> CallFailure:
    """Return the failure of a call that took longer than it was given, as a whole."""
    return CallFailure(FailureKind.TIMEOUT, f"no whole answer within {timeout_s:g} s", Billing.UNKNOWN)


def not_an_answer(body: object, content_type: str, request_id: str = "") -> CallFailure:
    """Return the failure of a 200 that holds no message, such as a gateway's HTML page."""
    message = f"200 with {content_type or 'no content type'} instead of a message: {body}"
    return CallFailure(FailureKind.NOT_AN_ANSWER, message, Billing.UNKNOWN, request_id=request_id)


def broken(reason: str, *, usage: Usage | None = None, request_id: str = "") -> CallFailure:
    """Return the failure of an answer that began and is not whole.

    Known usage is a lower bound (a stream counts its output last), so such a call is UNKNOWN and never BILLED.
    """
    return CallFailure(
        FailureKind.BROKEN_ANSWER, reason, Billing.UNKNOWN, usage=usage or Usage(), request_id=request_id
    )


def retry_after_s(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Return the server's wish in seconds (a number or an HTTP date), between 0 and one hour, or None."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _until(value, headers.get("date"), time.time() if now is None else now)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else None


def _until(date: str, server_date: str | None, now: float) -> float:
    try:
        start = parsedate_to_datetime(server_date).timestamp() if server_date else now
        return parsedate_to_datetime(date).timestamp() - start
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _of_status(error: anthropic.APIStatusError) -> CallFailure:
    wording = error.api_message if isinstance(error.api_message, str) else str(error)
    named = " ".join(str(part) for part in (error.status_code, error.type, error.error_code) if part)
    return CallFailure(
        _kind_of_status(error, wording),
        f"{named}: {wording}",
        _billing_of_status(error.status_code, error.type),
        retry_after_s=retry_after_s(error.response.headers),
        request_id=error.request_id or "",
    )


def _kind_of_status(error: anthropic.APIStatusError, wording: str) -> FailureKind:
    by_type = _BY_TYPE.get(str(error.type))
    if error.error_code in _BY_CODE:
        return _BY_CODE[error.error_code]
    if error.status_code < _REDIRECTS:
        return by_type or FailureKind.BROKEN_ANSWER
    if by_type is FailureKind.REQUEST_REFUSED and any(word in wording.lower() for word in _SPEND_WORDS):
        return FailureKind.SPEND_LIMIT
    if by_type in {FailureKind.OVERLOADED, FailureKind.SPEND_LIMIT}:
        return by_type
    return _BY_STATUS.get(error.status_code) or _by_class(error.status_code)


def _by_class(status: int) -> FailureKind:
    if status >= _FAULTS:
        return FailureKind.SERVER_ERROR
    return FailureKind.REQUEST_REFUSED if status >= _REFUSALS else FailureKind.NOT_AN_ANSWER


def _billing_of_status(status: int, error_type: str | None) -> Billing:
    """Refusals are free. An error inside a 200, or one written by a proxy, says nothing about the answer behind it."""
    if status < _REDIRECTS or status in {408, 504}:
        return Billing.UNKNOWN
    if status >= _FAULTS and error_type is None:
        return Billing.UNKNOWN
    return Billing.NOT_BILLED


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _root(chain: list[BaseException]) -> str:
    """Name the innermost cause: the SDK's own text is the same for all of them."""
    return f" ({type(chain[-1]).__name__}: {chain[-1]})"
