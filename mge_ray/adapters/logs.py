"""Logs: one line for each thing that happened, as JSON or for people, by structlog; without keys and without code.

Owns how lines look and what may be in them. What is written when is left to who writes it, with the standard logging
module; a process that never calls `configure_logs` logs as Python does without being told.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from pydantic import BaseModel, ConfigDict

from mge_ray.domain.errors import MgeRayError

LOGGER = "mge_ray"
FORMAT_ENV, LEVEL_ENV = "MGE_RAY_LOG_FORMAT", "MGE_RAY_LOG_LEVEL"
LONGEST_VALUE = 300
SHORTEST_SECRET = 8
REDACTED = "[redacted]"
SECRET_ENV = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")

_IDS = ("execution_id", "masterplan_id", "wave_id", "atom_id", "attempt", "tenant", "gateway")
_WHAT = ("status", "before", "reason", "kind", "billing", "model", "model_class", "scope", "passed", "shared", "late")
_COUNTS = ("succeeded", "failed", "blocked", "attempts", "atoms", "input_tokens", "output_tokens", "live_gateways")
_AMOUNTS = ("seconds", "latency_s", "cost_usd", "unknown_usd", "spent_usd", "limit_usd", "saved_usd")
_THROTTLE = ("limit", "in_flight", "pause_s", "breaker_open")
_SERVICE = ("method", "path", "http_status")
_LINE = ("timestamp", "level", "logger", "process", "event", "error", "frames")
FIELDS = frozenset((*_LINE, *_IDS, *_WHAT, *_COUNTS, *_AMOUNTS, *_THROTTLE, *_SERVICE))
"""Whatever is not named here is left out: code, prompts and answers have no field to travel in."""

_SECRETS = (
    re.compile(r"sk-ant-[A-Za-z0-9_\-]+"),
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{6,}"),
    re.compile(r"(?i)\b(x-api-key|api[_-]?key|authorization|auth[_-]?token|password|secret)\b\s*[=:]\s*\S+"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
)

Fields = MutableMapping[str, Any]


class LogSettings(BaseModel):
    """How a process logs. Without a level, `info`, or what the process says itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["json", "console"] = "console"
    level: Literal["debug", "info", "warning", "error"] | None = None

    @classmethod
    def of_environment(cls) -> LogSettings:
        """Return what MGE_RAY_LOG_FORMAT and MGE_RAY_LOG_LEVEL say; raise pydantic's error for anything else."""
        found = {"format": os.environ.get(FORMAT_ENV), "level": os.environ.get(LEVEL_ENV)}
        return cls.model_validate({name: value.lower() for name, value in found.items() if value})


class _Lines(logging.Handler):
    """Writes to a stream, or to whatever standard error is when a line is written."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            stream = self._stream or sys.stderr
            stream.write(self.format(record) + "\n")
            stream.flush()
        except Exception:  # noqa: BLE001  # a log that cannot be written must not stop the work
            self.handleError(record)


def configure_logs(
    process: str,
    settings: LogSettings | None = None,
    *,
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Let this process's `mge_ray` loggers write to standard error, or `stream`; told again, it replaces what was.

    `process` names it in every line. Keys that are in the environment now are never written. Loggers of other
    libraries are left alone, and ours do not pass their lines on to them.
    """
    settings = settings or LogSettings.of_environment()
    secrets = tuple(value for name in SECRET_ENV if len(value := os.environ.get(name, "").strip()) >= SHORTEST_SECRET)

    def named(_logger: Any, _method: str, fields: Fields) -> Fields:  # noqa: ANN401  # structlog's form
        fields["process"] = process
        return fields

    def cleaned(_logger: Any, _method: str, fields: Fields) -> Fields:  # noqa: ANN401  # structlog's form
        return {name: _clean(value, secrets) for name, value in fields.items() if name in FIELDS}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=24)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            named,
            _without_message_of_strangers,
            cleaned,
            renderer,
        ],
    )
    handler = _Lines(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger(LOGGER)
    for former in list(logger.handlers):
        logger.removeHandler(former)
    logger.addHandler(handler)
    logger.setLevel((settings.level or level).upper())
    logger.propagate = False


def _without_message_of_strangers(_logger: Any, _method: str, fields: Fields) -> Fields:  # noqa: ANN401
    """Put an exception's type and places in the place of its traceback: messages of others may quote what they read."""
    caught = fields.pop("exc_info", None)
    if isinstance(caught, tuple) and isinstance(caught[1], BaseException):
        error: BaseException = caught[1]
        told = f": {error}" if isinstance(error, MgeRayError) else ""
        fields["error"] = f"{type(error).__name__}{told}"
        fields["frames"] = _frames(error.__traceback__)
    return fields


def _frames(places: TracebackType | None) -> list[str]:
    return [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(places)
    ]


def _clean(value: Any, secrets: tuple[str, ...]) -> Any:  # noqa: ANN401  # whatever was logged
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_clean(one, secrets) for one in value[-20:]]
    text = str(value)
    lines = text.splitlines()
    text = lines[0] if lines else ""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."
