"""From settings to wired objects. No Ray: the same objects serve in an actor, a task or a notebook."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

from mge_ray.adapters.capabilities import accepts_effort, accepts_sampling, is_custom
from mge_ray.adapters.prices import PriceTable, parse_price
from mge_ray.domain.generation import Usage
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.reuse import ReuseSettings
from mge_ray.wiring.settings import EngineConfig

if TYPE_CHECKING:
    from mge_ray.adapters.anthropic_client import EnhancedAnthropicClient
    from mge_ray.adapters.atomic_validator import AtomicValidator

SECRETS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
SIMULATED_KEY = "simulated"
CHECKING_TOOLS = ("pytest", "ruff", "mypy")


def price_table(config: EngineConfig) -> PriceTable:
    """Return the prices, the user's own first."""
    return PriceTable(overrides=dict(parse_price(text) for text in config.prices))


def known_cost(config: EngineConfig) -> Callable[[str, Usage], float | None]:
    """Return what prices tokens of a model, or answers None where no price is known."""
    prices = price_table(config)
    return lambda model, usage: prices.cost_usd(model, usage) if prices.knows(model) else None


def attempt_policy(config: EngineConfig, model: str, escalation_model: str | None, **limits: int) -> AttemptPolicy:
    """Return how attempts differ on `model`: by temperature where the model and endpoint take one, else by effort."""
    custom = not config.simulated and is_custom(config.base_url)
    sampling = accepts_sampling(model, custom) if config.sampling is None else config.sampling
    effort = accepts_effort(model) and (escalation_model is None or accepts_effort(escalation_model))
    return AttemptPolicy(
        model=model,
        escalation_model=None if escalation_model == model else escalation_model,
        accepts_sampling=sampling,
        accepts_effort=effort,
        learns_max_tokens=True,
        **limits,
    )


def llm_client(config: EngineConfig) -> EnhancedAnthropicClient:
    """Return the client for this process; its key comes from this process's environment."""
    from mge_ray.adapters.anthropic_client import EnhancedAnthropicClient  # noqa: PLC0415  # 1.3 s, 84 MB

    return EnhancedAnthropicClient(
        prices=price_table(config),
        base_url=config.base_url,
        api_key=SIMULATED_KEY if config.simulated else None,
        max_connections=config.generate_limit,
        sampling=True if config.simulated else config.sampling,
        require_price=config.require_price,
    )


def validator(config: EngineConfig) -> AtomicValidator:
    """Return the validator for this process, with a warm sandbox of its own."""
    from mge_ray.adapters.atomic_validator import AtomicValidator  # noqa: PLC0415  # workers only
    from mge_ray.adapters.sandbox import Sandbox, SandboxLevel  # noqa: PLC0415

    level = SandboxLevel(config.sandbox_level) if config.sandbox_level else None
    return AtomicValidator(Sandbox(level))


def reuse_settings(config: EngineConfig, simulated_faults: str = "", *, tenant: str = "") -> ReuseSettings | None:
    """Return whose answers may be reused, a tenant's own alone; None where nothing is checked: nothing is known."""
    from mge_ray.adapters.atomic_validator import VALIDATOR_VERSION  # noqa: PLC0415  # its tools take 0.1 s

    if not config.checks:
        return None
    tools = [f"{name} {version(name)}" for name in CHECKING_TOOLS]
    python = ".".join(map(str, sys.version_info[:2]))
    live = f"live {config.base_url or 'anthropic'}"
    provider = f"simulated {simulated_faults}".strip() if config.simulated else live
    return ReuseSettings(
        provider=f"{provider} for {tenant}" if tenant else provider,
        validator=", ".join([f"validator {VALIDATOR_VERSION}", f"python {python}", *tools]),
    )


def forget_secrets() -> None:
    """Remove keys from this process's environment: for processes that do not call the provider."""
    for name in SECRETS:
        os.environ.pop(name, None)
