"""mge_ray executes plans of LLM code generation: wide, within a hard budget, verified by really running the code.

The names below are the library's public face; they are imported on first use, so that small programs start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mge_ray.adapters.anthropic_client import EnhancedAnthropicClient
    from mge_ray.adapters.atomic_validator import AtomicValidator
    from mge_ray.domain.atom import AcceptedAtom, AtomicUnit, Complexity
    from mge_ray.domain.events import ExecutionSettings
    from mge_ray.domain.generation import Generation
    from mge_ray.domain.machine import ExecutionMachine
    from mge_ray.domain.plan import ExecutionWave, Masterplan
    from mge_ray.domain.retry import AttemptPolicy
    from mge_ray.domain.state import AtomState, AtomStatus, ExecutionState, ExecutionStatus, WaveState
    from mge_ray.domain.validation import Severity, ValidationIssue, ValidationResult
    from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
    from mge_ray.execution.requests import EditRefusedError
    from mge_ray.execution.results import ExecutionResult
    from mge_ray.execution.retry_orchestrator import RetryOrchestrator
    from mge_ray.execution.wave_executor import WaveExecutor

__version__ = "0.1.0"

_HOMES = {
    "AcceptedAtom": "domain.atom",
    "AtomState": "domain.state",
    "AtomStatus": "domain.state",
    "AtomicUnit": "domain.atom",
    "AtomicValidator": "adapters.atomic_validator",
    "AttemptPolicy": "domain.retry",
    "Complexity": "domain.atom",
    "EditRefusedError": "execution.requests",
    "EnhancedAnthropicClient": "adapters.anthropic_client",
    "ExecutionMachine": "domain.machine",
    "ExecutionResult": "execution.results",
    "ExecutionServiceV2": "execution.execution_service_v2",
    "ExecutionSettings": "domain.events",
    "ExecutionState": "domain.state",
    "ExecutionStatus": "domain.state",
    "ExecutionWave": "domain.plan",
    "Generation": "domain.generation",
    "Masterplan": "domain.plan",
    "RetryOrchestrator": "execution.retry_orchestrator",
    "Severity": "domain.validation",
    "ValidationIssue": "domain.validation",
    "ValidationResult": "domain.validation",
    "WaveExecutor": "execution.wave_executor",
    "WaveState": "domain.state",
}

__all__ = [
    "AcceptedAtom",
    "AtomState",
    "AtomStatus",
    "AtomicUnit",
    "AtomicValidator",
    "AttemptPolicy",
    "Complexity",
    "EditRefusedError",
    "EnhancedAnthropicClient",
    "ExecutionMachine",
    "ExecutionResult",
    "ExecutionServiceV2",
    "ExecutionSettings",
    "ExecutionState",
    "ExecutionStatus",
    "ExecutionWave",
    "Generation",
    "Masterplan",
    "RetryOrchestrator",
    "Severity",
    "ValidationIssue",
    "ValidationResult",
    "WaveExecutor",
    "WaveState",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)
