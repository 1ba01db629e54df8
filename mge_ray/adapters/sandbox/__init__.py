"""Runs hostile code and its tests; what is contained and what is not is in docs/threat-model.md."""

from mge_ray.adapters.sandbox.model import (
    CheckRequest,
    SandboxLevel,
    SandboxLimits,
    SandboxRecord,
    SandboxUnavailableError,
    TestOutcome,
)
from mge_ray.adapters.sandbox.probe import probe_level
from mge_ray.adapters.sandbox.sandbox import Sandbox

__all__ = [
    "CheckRequest",
    "Sandbox",
    "SandboxLevel",
    "SandboxLimits",
    "SandboxRecord",
    "SandboxUnavailableError",
    "TestOutcome",
    "probe_level",
]
