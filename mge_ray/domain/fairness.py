"""Weighted max-min fairness: nobody gets more than they want, and what they leave goes to those who want more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Demand(NamedTuple):
    """What one holder has and wants, together, and how much it counts."""

    wanted: int
    weight: float


def fair_shares(total: float, demands: Mapping[str, Demand]) -> dict[str, float]:
    """Split `total` among holders; the shares add up to `total`, or to what is wanted if that is less."""
    shares: dict[str, float] = {}
    left = total
    open_ones = dict(demands)
    while open_ones:
        per_weight = left / sum(demand.weight for demand in open_ones.values())
        content = [name for name, demand in open_ones.items() if demand.wanted <= per_weight * demand.weight]
        if not content:
            shares |= {name: per_weight * demand.weight for name, demand in open_ones.items()}
            break
        for name in content:
            shares[name] = float(open_ones.pop(name).wanted)
            left -= shares[name]
    return shares
