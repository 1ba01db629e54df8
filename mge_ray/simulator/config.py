"""Every flag of the simulator, validated.

Owns names, defaults and the rules between them; reading files is left to `answers` and `pricing`.
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from mge_ray.simulator.kinds import AnswerFault, TransportFault

DEFAULT_SYNTHETIC = "def {symbol}(*args: object) -> None:\n    return None\n"


class SimulatorConfigError(ValueError):
    """A flag, or two of them together, make no sense; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds until an answer begins: `sigma` 0 is fixed, otherwise log-normal around `median_s`."""

    median_s: float
    sigma: float = 0.0


@lru_cache(maxsize=64)
def parse_latency(text: str) -> Latency:
    """`fixed:5` is five seconds; `lognormal:5:0.6` has a median of five seconds and sigma 0.6."""
    name, *numbers = text.split(":")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = []
    good = all(math.isfinite(value) and value >= 0 for value in values)
    if not good or (name, len(values)) not in {("fixed", 1), ("lognormal", 2)}:
        raise SimulatorConfigError(f"latency {text!r} is neither fixed:SECONDS nor lognormal:MEDIAN:SIGMA")
    return Latency(*values)


def _flag(text: str) -> dict[str, str]:
    return {"help": text}


def _rate(text: str) -> Any:  # noqa: ANN401 - dataclasses type field() as its default
    return field(default=0.0, metadata=_flag(f"share of requests: {text}"))


def _quality(text: str) -> Any:  # noqa: ANN401 - the same
    return field(default=0.0, metadata=_flag(f"share of answers: {text}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """One simulated provider; equal configurations draw equal faults.

    Rates are shares between 0 and 1. The transport rates exclude one another and sum to 1 at most; so do the answer
    rates among themselves. Raises SimulatorConfigError.
    """

    host: str = field(default="127.0.0.1", metadata=_flag("address to listen on"))
    port: int = field(default=0, metadata=_flag("port to listen on; 0 takes a free one"))
    seed: int = field(default=0, metadata=_flag("seed of faults, latencies and mutations"))
    answers: Path | None = field(
        default=None, metadata=_flag("JSON file {atom id: code}, or a folder of <atom id>.py files")
    )
    wrong_answers: Path | None = field(
        default=None, metadata=_flag("JSON file {atom id: [code known to fail its tests, ...]}")
    )
    synthetic: str | None = field(
        default=None, metadata=_flag("answer unknown atoms with this code; {symbol} becomes a name made of the id")
    )
    models: tuple[str, ...] = field(
        default=(), metadata=_flag("models that exist, separated by commas; by default every claude-*")
    )
    prices: Path | None = field(
        default=None,
        metadata=_flag("JSON file {model: [input, output, cache write, cache read]} in dollars per million tokens"),
    )
    latency: str = field(default="fixed:0", metadata=_flag("fixed:SECONDS or lognormal:MEDIAN:SIGMA"))
    exit_with_stdin: bool = field(default=False, metadata=_flag("end when standard input ends"))

    requests_per_minute: int = field(default=1_000_000, metadata=_flag("request limit of each model class"))
    input_tokens_per_minute: int = field(default=2_000_000_000, metadata=_flag("input limit; cache reads are free"))
    output_tokens_per_minute: int = field(default=500_000_000, metadata=_flag("output limit, counted as produced"))
    cache_ttl_s: float = field(default=300.0, metadata=_flag("life of a prompt cache entry after its last use"))
    cache_min_tokens: int = field(default=1024, metadata=_flag("shorter prefixes are not cached"))
    max_body_bytes: int = field(default=32 * 1024 * 1024, metadata=_flag("larger requests are refused with 413"))

    rate_429: float = _rate("429 with retry-after")
    rate_429_bare: float = _rate("429 without retry-after")
    rate_ramp_429: float = _rate("429 ramp_limit_exceeded")
    rate_spend_429: float = _rate("429 enforced_spend_limit_reached")
    rate_500: float = _rate("500 api_error")
    rate_529: float = _rate("529 overloaded_error")
    rate_reset: float = _rate("billed, then the connection is reset")
    rate_stall: float = _rate("billed, then silence for stall-s")
    rate_truncated: float = _rate("billed, then closed in the middle of the body")
    rate_html: float = _rate("200 with a text/html page")
    rate_early_end: float = _rate("billed; a stream ends early, anything else is truncated")
    rate_stream_overload: float = _rate("billed; overloaded_error inside a stream, anything else is truncated")
    rate_refusal: float = _quality("stop_reason refusal")
    rate_cut: float = _quality("stop_reason max_tokens in the middle of the code")
    rate_no_code: float = _quality("prose without a code block")
    rate_syntax: float = _quality("code with a syntax error")
    rate_wrong: float = _quality("code that runs and does the wrong thing")

    retry_after_s: float = field(default=1.0, metadata=_flag("retry-after of drawn 429s"))
    stall_s: float = field(default=600.0, metadata=_flag("how long a stalled connection is held"))
    storm_s: float = field(default=0.0, metadata=_flag("a drawn 529 begins this many seconds of 529 for everyone"))
    storm_share: float = field(default=1.0, metadata=_flag("share of drawn 529s that begin a storm"))

    def __post_init__(self) -> None:
        self._check_rates("transport", TransportFault)
        self._check_rates("answer", AnswerFault)
        _check_share("storm_share", self.storm_share)
        parse_latency(self.latency)
        if not 0 <= self.port <= 65535:  # noqa: PLR2004 - the range of ports
            raise SimulatorConfigError(f"port is {self.port}; it lies between 0 (any free port) and 65535")
        for name in ("requests", "input_tokens", "output_tokens"):
            if getattr(self, f"{name}_per_minute") <= 0:
                raise SimulatorConfigError(f"{name}_per_minute must be positive, or nothing is ever admitted")
        for name in ("retry_after_s", "stall_s", "storm_s", "cache_ttl_s", "cache_min_tokens", "max_body_bytes"):
            if not getattr(self, name) >= 0:
                raise SimulatorConfigError(f"{name} is {getattr(self, name)}; it cannot be negative")

    def _check_rates(self, family: str, kinds: type[Enum]) -> None:
        rates = {f"rate_{kind.value}": float(getattr(self, f"rate_{kind.value}")) for kind in kinds}
        for name, rate in rates.items():
            _check_share(name, rate)
        total = math.fsum(rates.values())
        if total > 1 + 1e-9:
            used = " + ".join(f"{name} {rate:g}" for name, rate in rates.items() if rate)
            raise SimulatorConfigError(
                f"the {family} faults exclude one another, so their rates sum to 1 at most: {used} = {total:g}"
            )


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise SimulatorConfigError(f"{name} is {value}; a share lies between 0 and 1")
