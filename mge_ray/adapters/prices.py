"""What a call costs, and at most costs: prices per model, from the user, from genai-prices, or from a dated table.

Owns numbers and their sources. Works offline; reserving and settling money is left to `domain.cost`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mge_ray.domain.errors import MgeRayError, UnknownPriceError
from mge_ray.domain.generation import Usage

PRICES_OF = "2026-11"
"""The month the built-in table was read from https://platform.claude.com/docs/en/about-claude/pricing."""

_PER_MILLION = 1e-6
_SUFFIX = re.compile(r"-(\d{8}|latest)$")
_SHAPE = "MODEL=IN/OUT or MODEL=IN/OUT/CACHE_WRITE/CACHE_READ, in dollars per million tokens"


class PriceOverrideError(MgeRayError, ValueError):
    """A price given by the user that cannot be read."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens. Above `long_above` prompt tokens the `long` rates hold for the whole request."""

    input: float
    output: float
    cache_write: float
    cache_read: float
    long_above: int | None = None
    long: Rates | None = None

    def __post_init__(self) -> None:
        numbers = (self.input, self.output, self.cache_write, self.cache_read)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise PriceOverrideError(f"a price is a finite number of dollars >= 0, got {numbers}")

    def cost_usd(self, usage: Usage) -> float:
        """Return what one answer cost. The prompt's length counts cached tokens too."""
        prompt_tokens = usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens
        rates = self._at(prompt_tokens)
        return _PER_MILLION * (
            usage.input_tokens * rates.input
            + usage.output_tokens * rates.output
            + usage.cache_write_tokens * rates.cache_write
            + usage.cache_read_tokens * rates.cache_read
        )

    def max_cost_usd(self, max_input_tokens: int, max_output_tokens: int) -> float:
        """Return an upper bound: all input at the dearest of its rates, in the dearest tier it may reach."""
        bound = 0.0
        rates: Rates | None = self
        while rates is not None:
            dearest = max(rates.input, rates.cache_write, rates.cache_read)
            bound = max(bound, _PER_MILLION * (max_input_tokens * dearest + max_output_tokens * rates.output))
            rates = rates.long if rates.long_above is not None and max_input_tokens > rates.long_above else None
        return bound

    def _at(self, prompt_tokens: int) -> Rates:
        rates = self
        while rates.long is not None and rates.long_above is not None and prompt_tokens > rates.long_above:
            rates = rates.long
        return rates


_OPUS = Rates(5, 25, 6.25, 0.5)
_SONNET_4 = Rates(3, 15, 3.75, 0.3)
_TOP_5_2 = Rates(8, 40, 10, 0.2)
_TOP_5_1 = Rates(10, 50, 12.5, 0.25)
_TOP_5 = Rates(10, 50, 12.5, 1.0)

BUILT_IN: Mapping[str, Rates] = MappingProxyType(
    {
        "claude-fable-5-2": _TOP_5_2,
        "claude-fable-5-1": _TOP_5_1,
        "claude-fable-5": _TOP_5,
        "claude-opus-5-5": Rates(4, 20, 5, 0.2),
        "claude-opus-5": _OPUS,
        "claude-opus-4-8": _OPUS,
        "claude-opus-4-7": _OPUS,
        "claude-opus-4-6": _OPUS,
        "claude-opus-4-5": _OPUS,
        "claude-sonnet-5-5": Rates(2, 10, 2.5, 0.1),
        "claude-sonnet-5": Rates(2, 10, 2.5, 0.2),
        "claude-sonnet-4-6": _SONNET_4,
        "claude-haiku-5-5": Rates(0.1, 0.5, 0.125, 0.01, 100_000, Rates(0.5, 2.5, 0.625, 0.05)),
        "claude-haiku-4-5": Rates(1, 5, 1.25, 0.1),
    }
)
"""For models that the installed genai-prices does not know (0.1.13, the last for Python 3.10, lacks the newest)."""


@dataclass(slots=True)
class PriceTable:
    """Prices by model: the user's `overrides` first, then genai-prices, then the built-in table.

    The first question about a model may import genai-prices (0.9 s measured); ask `knows` at start-up.
    """

    overrides: Mapping[str, Rates] = field(default_factory=dict)
    _found: dict[str, Rates | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def knows(self, model: str) -> bool:
        """Return whether calls of `model` can be priced."""
        return self._find(model) is not None

    def rates(self, model: str) -> Rates:
        """Return the model's prices, or raise UnknownPriceError that says how to give one."""
        found = self._find(model)
        if found is None:
            raise UnknownPriceError(
                f"no price is known for model {model!r}, so nothing can be bought from it under a budget; "
                f"give its price as --price {model}=IN/OUT in dollars per million tokens (0/0 for a local server)"
            )
        return found

    def cost_usd(self, model: str, usage: Usage) -> float:
        """Return what an answer of `model` cost in US dollars; raise UnknownPriceError."""
        return self.rates(model).cost_usd(usage)

    def max_cost_usd(self, model: str, max_input_tokens: int, max_output_tokens: int) -> float:
        """Return the most a call of `model` can cost in US dollars; raise UnknownPriceError."""
        return self.rates(model).max_cost_usd(max_input_tokens, max_output_tokens)

    def _find(self, model: str) -> Rates | None:
        if model not in self._found:
            undated = _SUFFIX.sub("", model)
            override = self.overrides.get(model) or self.overrides.get(undated)
            self._found[model] = override or _from_genai_prices(model) or BUILT_IN.get(undated)
        return self._found[model]


def parse_price(text: str) -> tuple[str, Rates]:
    """Read `MODEL=IN/OUT` or `MODEL=IN/OUT/CACHE_WRITE/CACHE_READ`; raise PriceOverrideError.

    Without cache prices a write costs 1.25 times and a read 0.1 times the input, as on the provider's page.
    """
    model, _, prices = text.rpartition("=")
    try:
        numbers = [float(number) for number in prices.split("/")]
    except ValueError:
        numbers = []
    if not model.strip() or len(numbers) not in {2, 4}:
        raise PriceOverrideError(f"price {text!r} is not {_SHAPE}")
    write, read = numbers[2:] or (1.25 * numbers[0], 0.1 * numbers[0])
    return model.strip(), Rates(numbers[0], numbers[1], write, read)


def _from_genai_prices(model: str) -> Rates | None:
    """Read the offline table of genai-prices; None where it has no certain answer.

    Its matching is by prefix for older models, so what it found must be the model that was asked for.
    """
    import genai_prices  # noqa: PLC0415 - 0.6 s and another 0.3 s on first use, for runs with a price to look up

    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1, output_tokens=1), model, provider_id="anthropic"
        )
    except LookupError:
        return None
    if _SUFFIX.sub("", found.model.id) != _SUFFIX.sub("", model):
        return None
    return _rates_of(found.model_price)


def _rates_of(price: Any) -> Rates | None:  # noqa: ANN401 - two versions with the same attributes, differently typed
    values = [getattr(price, f"{name}_mtok", None) for name in ("input", "output", "cache_write", "cache_read")]
    if any(value is None for value in values):
        return None
    starts = sorted({int(tier.start) for value in values for tier in getattr(value, "tiers", ())})
    rates: Rates | None = None
    above: int | None = None
    for start in reversed([0, *starts]):
        into, out, write, read = (_price_at(value, start) for value in values)
        rates = Rates(into, out, write, read, long_above=above, long=rates)
        above = start
    return rates


def _price_at(value: Any, start: int) -> float:  # noqa: ANN401 - Decimal or TieredPrices of either version
    tiers = [tier for tier in getattr(value, "tiers", ()) if start and tier.start <= start]
    if tiers:
        return float(max(tiers, key=lambda tier: tier.start).price)
    return float(getattr(value, "base", value))
