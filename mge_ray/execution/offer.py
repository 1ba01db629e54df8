"""Offer: what an atom's next call needs before it may be made."""

from __future__ import annotations

from typing import NamedTuple

from mge_ray.domain.retry import AttemptSettings


class Offer(NamedTuple):
    """A lease, the model it is for, and the most the call can bill (US dollars). `call` tells an atom's calls apart."""

    atom_id: str
    call: tuple[int, int, AttemptSettings]
    lease_id: str
    model: str
    usd: float
