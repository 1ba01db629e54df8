"""A simulated Anthropic Messages server: known answers, drawn faults, real rate limits, honest bills.

A product of its own; it imports nothing from the rest of the package. `serve` runs it, `running` runs it beside a test,
`faults` predicts what it will do, `mutations` makes wrong code.
"""

from typing import TYPE_CHECKING, Any

from mge_ray.simulator.config import SimulatorConfig, SimulatorConfigError

if TYPE_CHECKING:
    from mge_ray.simulator.app import create_app
    from mge_ray.simulator.server import running, serve

__all__ = ["SimulatorConfig", "SimulatorConfigError", "create_app", "running", "serve"]

_LAZY = {"create_app": "app", "running": "server", "serve": "server"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the module holds
    """Import the server only for those who serve: predicting and mutating need no uvicorn."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - the same

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
