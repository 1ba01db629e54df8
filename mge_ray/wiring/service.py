"""ServiceConfig: what a replica of the service needs to know, and how a client's choices become settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from mge_ray.api.limits import ServiceLimits
from mge_ray.api.schemas import StartSettings
from mge_ray.domain.events import ExecutionSettings
from mge_ray.wiring.build import attempt_policy, price_table, reuse_settings
from mge_ray.wiring.settings import DEFAULT_ESCALATION_MODEL, DEFAULT_MODEL, EngineConfig


class ServiceConfig(BaseModel):
    """The engine a service starts executions on, the models used unless a client names others, and its bounds.

    Without `auth` whoever reaches the service may do everything. Holds no key and no token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineConfig
    model: str = DEFAULT_MODEL
    escalation_model: str = DEFAULT_ESCALATION_MODEL
    faults: str = ""
    auth: bool = True
    limits: ServiceLimits = ServiceLimits()


def execution_settings(config: ServiceConfig, choices: StartSettings, tenant: str) -> ExecutionSettings:
    """Return how an execution is to run. Raises UnknownPriceError for a model without a price."""
    engine = config.engine
    model = choices.model or config.model
    escalation = config.escalation_model if choices.escalation_model is None else choices.escalation_model
    prices = price_table(engine)
    for name in filter(None, (model, escalation)):
        prices.rates(name)
    return ExecutionSettings(
        policy=attempt_policy(engine, model, escalation or None, max_tokens=choices.max_tokens),
        budget_usd=choices.budget_usd,
        atom_budget_usd=choices.atom_budget_usd,
        max_concurrency=choices.max_concurrency,
        priority=choices.priority,
        atom_timeout_s=choices.atom_timeout_s,
        call_timeout_s=choices.call_timeout_s,
        simulated=engine.simulated,
        reuse=reuse_settings(engine, config.faults, tenant=tenant) if choices.reuse else None,
        prime_prompt_cache=True,
        tenant=tenant,
    )
