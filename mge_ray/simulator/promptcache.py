"""The prompt cache: prefixes that end in a `cache_control` mark, remembered for some minutes after their last use.

An entry becomes readable when the first answer *begins*, so requests sent at the same moment all pay for writing it.
"""

import math
from dataclasses import dataclass

_PRUNE_AT = 20_000


@dataclass(frozen=True, slots=True)
class Prefix:
    """A marked prefix: the digest of everything up to the mark, and its length in tokens."""

    digest: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class InputUsage:
    """How the input tokens of one request are billed; `fresh` excludes the cached ones."""

    fresh: int
    written: int
    read: int

    @property
    def limited(self) -> int:
        """What counts against the input limit: cache reads are free."""
        return self.fresh + self.written


class PromptCache:
    """Knows which prefixes were used lately; one per simulator."""

    def __init__(self, *, ttl_s: float, min_tokens: int) -> None:
        self._ttl_s = ttl_s
        self._min_tokens = min_tokens
        self._used_at: dict[bytes, float] = {}

    def usage(self, total_tokens: int, prefixes: tuple[Prefix, ...], *, now: float) -> InputUsage:
        """Work out the bill of a request that is admitted now. Changes nothing."""
        read = written = 0
        for prefix in prefixes:
            if prefix.tokens < self._min_tokens:
                continue
            written = prefix.tokens
            if now - self._used_at.get(prefix.digest, -math.inf) < self._ttl_s:
                read = prefix.tokens
        return InputUsage(fresh=total_tokens - written, written=written - read, read=read)

    def remember(self, prefixes: tuple[Prefix, ...], *, now: float) -> None:
        """Note that the prefixes were written, or read again, now."""
        for prefix in prefixes:
            if prefix.tokens >= self._min_tokens:
                self._used_at[prefix.digest] = now
        if len(self._used_at) > _PRUNE_AT:
            self._used_at = {key: at for key, at in self._used_at.items() if now - at < self._ttl_s}
