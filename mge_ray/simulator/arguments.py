"""The simulator's command line, derived from the configuration's fields in both directions.

`python -m mge_ray.simulator` starts without the rest of the package, so a run can afford a server of its own.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mge_ray.simulator.config import DEFAULT_SYNTHETIC, SimulatorConfig

_PARSERS: dict[Any, Any] = {int: int, float: float, str: str, Path | None: Path, str | None: str}


def parse_arguments(argv: Sequence[str] | None = None) -> SimulatorConfig:
    """Read the command line. Raises SimulatorConfigError for values that make no sense, SystemExit for bad usage."""
    return SimulatorConfig(**vars(_parser().parse_args(argv)))


def to_arguments(config: SimulatorConfig) -> list[str]:
    """Write the command line that gives this configuration, without the defaults."""
    arguments: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        flag = _flag_of(field)
        if value is True:
            arguments.append(flag)
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            arguments.append(f"{flag}={text}")
    return arguments


def _flag_of(field: "dataclasses.Field[Any]") -> str:
    return "--" + field.name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mge_ray.simulator",
        description="A Messages API without a model: known answers, drawn faults, real limits, honest bills.",
    )
    for field in dataclasses.fields(SimulatorConfig):
        options: dict[str, Any] = {"dest": field.name, "default": field.default, "help": field.metadata["help"]}
        if field.type is bool:
            options["action"] = "store_true"
        elif field.name == "models":
            options["type"] = _names
        else:
            options["type"] = _PARSERS[field.type]
        if field.name == "synthetic":
            options.update(nargs="?", const=DEFAULT_SYNTHETIC, metavar="CODE")
        parser.add_argument(_flag_of(field), **options)
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
