"""Lease ids that say whose they are: a throttle that has forgotten everything learns it again from them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from mge_ray.domain.concurrency import Pool

DEFAULT_PRIORITY = 5
LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 10
_POOLS = frozenset(pool.value for pool in Pool)
_FAMILY = re.compile(r"^claude-(?:(?P<early>\d+)[-.].*?)?(?P<family>[a-z]+)(?:-(?P<major>\d+))?")


class Lease(NamedTuple):
    """The right to have one piece of an execution's work in flight."""

    execution: str
    pool: Pool
    atom_id: str
    model_class: str = ""
    priority: int = DEFAULT_PRIORITY

    @property
    def id(self) -> str:
        """The lease's name: unique among live ones, since an atom has one piece of work in flight."""
        return f"{self.execution}:{self.pool.value}:{self.priority}:{self.model_class}:{self.atom_id}"


@lru_cache(maxsize=4_096)
def read_lease(lease_id: str) -> Lease:
    """Return what an id says; one of another form belongs to whatever stands before its first colon."""
    parts = lease_id.split(":", 4)
    if len(parts) == len(Lease._fields) and parts[2].isdecimal() and parts[1] in _POOLS:
        execution, pool, priority, model_class, atom_id = parts
        return Lease(execution, Pool(pool), atom_id, model_class, min(int(priority), HIGHEST_PRIORITY))
    return Lease(parts[0], Pool.GENERATE, lease_id)


def model_class(model: str) -> str:
    """Return the class whose rate limits a model shares: family and major version; another maker's model is its own."""
    found = _FAMILY.match(model)
    if found is None:
        return model.replace(":", "_")
    return f"{found['family']}-{found['early'] or found['major'] or ''}".rstrip("-")
