"""EngineConfig: what the processes of one engine need to know, as plain data. Holds no key."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mge_ray.adapters.logs import LogSettings

DEFAULT_MODEL = "claude-sonnet-5-5"
DEFAULT_ESCALATION_MODEL = "claude-opus-5-5"
CALLS_PER_GATEWAY = 50
MAX_GATEWAYS = 16


class EngineConfig(BaseModel):
    """One engine's configuration; equal ones can share a coordinator. Seconds, calls in flight.

    `generate_limit` is the most calls in flight, `generate_start` how many before any was answered (None: 100).
    `execute_limit` None means sixteen checks a CPU: one that runs and some at hand. `driver_pid` is set on a local run
    alone: when that process is gone, nothing is bought any more. With `takes_up`, an engine that is made anew
    under the same `engine_id`, on whatever cluster, goes on with what was executed under it once the owner is silent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine_id: str
    db_url: str
    base_url: str | None = None
    simulated: bool = False
    prices: tuple[str, ...] = ()
    require_price: bool = False
    sampling: bool | None = None
    generate_limit: Annotated[int, Field(ge=1, le=100_000)] = 100
    generate_start: Annotated[int, Field(ge=1)] | None = None
    execute_limit: Annotated[int, Field(ge=1)] | None = None
    sandbox_level: str | None = None
    lease_ttl_s: Annotated[float, Field(gt=0)] = 30.0
    driver_pid: int | None = None
    takes_up: bool = False
    checks: bool = True
    logs: LogSettings = Field(default_factory=LogSettings.of_environment)

    def comparable(self) -> EngineConfig:
        """Return the configuration without what differs between callers that can share an engine."""
        own: dict[str, object] = {"engine_id": "", "driver_pid": None, "takes_up": False, "logs": LogSettings()}
        return self.model_copy(update=own)

    def gateways(self, cpus: int) -> int:
        """Return how many gateway processes share the calls: making one takes 2.5 ms of CPU, mostly the SDK's."""
        return max(1, min(-(-self.generate_limit // CALLS_PER_GATEWAY), max(2, cpus), MAX_GATEWAYS))
