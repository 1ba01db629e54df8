"""What the simulated provider knows about models: which exist, which take a temperature, what a token costs.

Prices are dollars per million tokens. A model without a known price is served; its cost counts as zero and the answer
as unpriced, so that the statistics never look complete when they are not.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mge_ray.simulator.config import SimulatorConfigError

_DATED = re.compile(r"-(\d{8}|latest)$")
_FIELDS = 4


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens; beyond `tier_tokens` prompt tokens the whole request costs `beyond`."""

    input: float
    output: float
    cache_write: float
    cache_read: float
    tier_tokens: int = 0
    beyond: "Price | None" = None

    def cost_usd(self, *, input_tokens: int, output_tokens: int, cache_write: int, cache_read: int) -> float:
        """Dollars for one answer."""
        prompt_tokens = input_tokens + cache_write + cache_read
        price = self.beyond if self.beyond and prompt_tokens > self.tier_tokens else self
        micro_usd = (
            input_tokens * price.input
            + output_tokens * price.output
            + cache_write * price.cache_write
            + cache_read * price.cache_read
        )
        return micro_usd / 1e6


@dataclass(frozen=True, slots=True)
class Model:
    """One line of the catalogue."""

    id: str
    display_name: str
    line: str
    released: str
    price: Price | None
    takes_sampling: bool = False


_OPUS = Price(5, 25, 6.25, 0.5)
_SONNET_4 = Price(3, 15, 3.75, 0.3)
_FABLE_5 = Price(8, 40, 10, 0.2)
_HAIKU_5_5 = Price(0.1, 0.5, 0.125, 0.01, 100_000, Price(0.5, 2.5, 0.625, 0.05))

CATALOGUE = (
    Model("claude-fable-5-2", "Claude Fable 5.2", "fable", "2026-10-01", _FABLE_5),
    Model("claude-opus-5-5", "Claude Opus 5.5", "opus", "2026-09-01", Price(4, 20, 5, 0.2)),
    Model("claude-sonnet-5-5", "Claude Sonnet 5.5", "sonnet", "2026-09-01", Price(2, 10, 2.5, 0.1)),
    Model("claude-haiku-5-5", "Claude Haiku 5.5", "haiku", "2026-09-01", _HAIKU_5_5),
    Model("claude-opus-5", "Claude Opus 5", "opus", "2026-06-01", _OPUS),
    Model("claude-sonnet-5", "Claude Sonnet 5", "sonnet", "2026-06-01", Price(2, 10, 2.5, 0.2)),
    Model("claude-opus-4-8", "Claude Opus 4.8", "opus", "2026-04-01", _OPUS),
    Model("claude-opus-4-7", "Claude Opus 4.7", "opus", "2026-03-01", _OPUS),
    Model("claude-opus-4-6", "Claude Opus 4.6", "opus", "2026-02-01", _OPUS, takes_sampling=True),
    Model("claude-sonnet-4-6", "Claude Sonnet 4.6", "sonnet", "2026-02-01", _SONNET_4, takes_sampling=True),
    Model("claude-opus-4-5", "Claude Opus 4.5", "opus", "2025-11-01", _OPUS, takes_sampling=True),
    Model("claude-haiku-4-5", "Claude Haiku 4.5", "haiku", "2025-10-01", Price(1, 5, 1.25, 0.1), takes_sampling=True),
    Model("claude-sonnet-4-5", "Claude Sonnet 4.5", "sonnet", "2025-09-29", _SONNET_4, takes_sampling=True),
)
"""Release dates are invented; ids and prices are the published ones."""

_BY_ID = {model.id: model for model in CATALOGUE}
_LINES = ("haiku", "sonnet", "opus", "fable", "mythos")


def known_model(model_id: str) -> Model | None:
    """Find the catalogue's line for an id, dated or not (`claude-haiku-4-5-20251001`)."""
    return _BY_ID.get(model_id) or _BY_ID.get(_DATED.sub("", model_id))


def model_class(model_id: str) -> str:
    """Rate limits are shared by the models of one class."""
    return next((line for line in _LINES if line in model_id), "other")


def load_prices(path: Path | None) -> Mapping[str, Price]:
    """Prices by model from `{model: [input, output, cache write, cache read]}`. Raises SimulatorConfigError."""
    if path is None:
        return {}
    try:
        table: Any = json.loads(path.read_bytes())
        return {str(model): _price(prices) for model, prices in table.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SimulatorConfigError(
            f"{path} holds no prices of the form {{model: [input, output, cache write, cache read]}}: {error}"
        ) from error


def _price(numbers: list[float]) -> Price:
    if len(numbers) != _FIELDS:
        raise ValueError(f"{numbers!r} has not four numbers")
    dollars_in, dollars_out, write, read = map(float, numbers)
    return Price(dollars_in, dollars_out, write, read)


def price_of(model_id: str, overrides: Mapping[str, Price]) -> Price | None:
    """Find the configured price, else the built-in one, else None."""
    if model_id in overrides:
        return overrides[model_id]
    model = known_model(model_id)
    return model.price if model else None
