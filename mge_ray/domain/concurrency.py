"""LeasePool: the right to have one piece of work in flight, with a time to live.

Time arrives as an argument; the actor around this class owns the clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum


class Pool(str, Enum):
    """The two kinds of work that are throttled: calls to the model, and checks on this cluster's CPUs."""

    GENERATE = "generate"
    EXECUTE = "execute"


@dataclass(slots=True)
class LeasePool:
    """At most `limit` leases live at a time. A lease not renewed for `ttl_s` seconds is gone, and its place is free."""

    limit: int
    ttl_s: float = 30.0
    expires_at: dict[str, float] = field(default_factory=dict)
    _by_age: deque[tuple[float, str]] = field(default_factory=deque)
    expired_total: int = 0

    def try_acquire(self, lease_ids: Iterable[str], *, now: float) -> list[str]:
        """Grant as many of `lease_ids` as fit, in order, and return them; a live id is granted again for free."""
        self.expire(now=now)
        granted = []
        for lease_id in lease_ids:
            if lease_id not in self.expires_at and len(self.expires_at) >= self.limit:
                continue
            self._live(lease_id, now)
            granted.append(lease_id)
        return granted

    def renew(self, lease_ids: Iterable[str], *, now: float) -> list[str]:
        """Prolong live leases and return the ids that are not live any more."""
        self.expire(now=now)
        gone = []
        for lease_id in lease_ids:
            if lease_id in self.expires_at:
                self._live(lease_id, now)
            else:
                gone.append(lease_id)
        return gone

    def register(self, lease_id: str, *, now: float) -> None:
        """Count a lease as live, also beyond the limit: its work is under way and nobody can undo that."""
        self._live(lease_id, now)

    def release(self, lease_ids: Iterable[str]) -> None:
        """Give leases back; an unknown id changes nothing."""
        for lease_id in lease_ids:
            self.expires_at.pop(lease_id, None)

    def expire(self, *, now: float) -> list[str]:
        """Drop the leases whose time is over and return their ids."""
        dropped = []
        while self._by_age and self._by_age[0][0] <= now:
            due, lease_id = self._by_age.popleft()
            if self.expires_at.get(lease_id) == due:
                del self.expires_at[lease_id]
                dropped.append(lease_id)
        self.expired_total += len(dropped)
        return dropped

    def _live(self, lease_id: str, now: float) -> None:
        due = now + self.ttl_s
        self.expires_at[lease_id] = due
        if math.isfinite(due):
            self._by_age.append((due, lease_id))

    @property
    def in_use(self) -> int:
        """How many leases are live."""
        return len(self.expires_at)

    @property
    def free(self) -> int:
        """How many more could be granted now."""
        return max(0, self.limit - len(self.expires_at))
