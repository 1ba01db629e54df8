"""Who calls, what they may do, and how often. Bearer tokens; no cookies, so no other site can act for a user."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from fastapi import Request

from mge_ray.api.in_flight import InFlight
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.ports import Tokens
from mge_ray.api.problems import ProblemError
from mge_ray.domain.access import Caller, Role

NOBODY = Caller(tenant="", role=Role.ADMIN, name="nobody (started with --no-auth)")
MAX_TOKEN_CHARS = 200
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mge-ray"'}


class Buckets:
    """Token buckets by name; at most `remembered`, the least recently used is forgotten (and then full again)."""

    def __init__(self, per_second: float, burst: int, remembered: int, *, clock: Callable[[], float]) -> None:
        self._per_second, self._burst, self._remembered, self._clock = per_second, burst, remembered, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take one; return 0, or how many seconds until there is one again."""
        now = self._clock()
        level, since = self._levels.pop(name, (float(self._burst), now))
        level = min(float(self._burst), level + (now - since) * self._per_second)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_second
        self._levels[name] = (level if wait else level - 1, now)
        if len(self._levels) > self._remembered:
            self._levels.popitem(last=False)
        return wait


class Authentication:
    """Finds out who calls. Without `tokens` everybody is an administrator: for a machine of one's own."""

    def __init__(
        self, tokens: Tokens | None, limits: ServiceLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens = tokens
        self._believed_s = limits.token_believed_s
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._asked: InFlight[Caller | None] = InFlight()
        self._remembered = limits.callers_remembered
        self._requests = Buckets(limits.requests_per_second, limits.burst, limits.callers_remembered, clock=clock)
        self._wrong = Buckets(
            limits.wrong_tokens_per_minute / 60,
            limits.wrong_tokens_per_minute,
            limits.callers_remembered,
            clock=clock,
        )

    async def caller(self, request: Request) -> Caller:
        """Return who calls; raise 401 for nobody known and 429 for one that calls too often."""
        if self._tokens is None:
            return NOBODY
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ProblemError(401, "unauthorized", "send `Authorization: Bearer TOKEN`", _CHALLENGE)
        found = await self._look_up(token)
        if found is None:
            _refuse(self._wrong.take(request.client.host if request.client else ""), "too many unknown tokens")
            raise ProblemError(401, "unauthorized", "the token is unknown, revoked or expired", _CHALLENGE)
        _refuse(self._requests.take(found.token_id), "too many requests with this token")
        return found

    async def _look_up(self, token: str) -> Caller | None:
        assert self._tokens is not None  # noqa: S101  # asked for where there are some
        now = self._clock()
        at, known = self._known.get(token, (-math.inf, None))
        if known is not None and now - at < self._believed_s:
            return known
        self._known.pop(token, None)
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        tokens = self._tokens  # when a token is not believed any more, all who use it come at once
        return await self._asked.join(token, lambda: self._ask(tokens, token))

    async def _ask(self, tokens: Tokens, token: str) -> Caller | None:
        asked_at = self._clock()
        found = await tokens.caller(token)
        if found is not None:
            self._known[token] = (asked_at, found)
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        return found


def needs(authentication: Authentication, role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency that gives the caller, or refuses one who may not do what `role` may."""

    async def check(request: Request) -> Caller:
        caller = await authentication.caller(request)
        if not caller.role.includes(role):
            raise ProblemError(
                403, "forbidden", f"this needs a token of role {role.value}; yours is {caller.role.value}"
            )
        return caller

    return check


def _refuse(wait_s: float, why: str) -> None:
    if wait_s:
        raise ProblemError(429, "too-many-requests", f"{why}; slow down", {"Retry-After": str(math.ceil(wait_s))})
