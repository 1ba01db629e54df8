"""OpenTelemetry traces, if asked for: execution > wave > atom > attempt > call and check. No code, no prompt.

A span is made when its thing has ended, with the times it really had. Ids follow from the execution's id, so whoever
goes on with an execution after a crash goes on with its trace, and nothing is ever open. Needs the extra `otel`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mge_ray.domain.commands import AtomFinished, AttemptMade, ExecutionFinished, Notice, WaveFinished
from mge_ray.domain.lease import model_class
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.facts import CallEnded, CheckEnded, Fact

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
DISABLED = "OTEL_SDK_DISABLED"
SERVICE = "mge-ray"
FLUSH_MS = 5_000
SPAN_BITS = 64
NS = 1_000_000_000
_log = logging.getLogger(__name__)

Attributes = Mapping[str, str | bool | int | float]


def open_traces() -> Tracing | None:
    """Return where traces go by the environment's OTEL_* variables; None where they are not asked for."""
    if not any(os.environ.get(name) for name in ENDPOINTS) or os.environ.get(DISABLED, "").lower() == "true":
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        _log.warning("traces are asked for, but OpenTelemetry is not installed: pip install mge-ray[otel]")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra

    return Tracing(OTLPSpanExporter())


class Tracing:
    """Sends spans to an exporter, in batches from a thread of its own; what it cannot keep up with is dropped."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  # an extra
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # an extra

        self._ids = _GivenIds()
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
        self._provider: TracerProvider = TracerProvider(
            resource=Resource.create(named), id_generator=_generator(self._ids), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE)

    def of(self, machine: ExecutionMachine) -> ExecutionTrace:
        """Return the `Traces` port of one execution."""
        return ExecutionTrace(self, machine)

    def flush(self) -> None:
        """Send what has gathered, for five seconds at most."""
        self._provider.force_flush(FLUSH_MS)

    def close(self) -> None:
        """Send what is left, and stop."""
        self.flush()
        self._provider.shutdown()

    def span(
        self,
        name: str,
        ids: tuple[int, int, int],
        times: tuple[float, float],
        attributes: Attributes,
        *,
        error: str = "",
        is_call: bool = False,
    ) -> None:
        """Make one span with `ids` (trace, parent or 0, its own) between two times in seconds since the epoch."""
        from opentelemetry import trace  # noqa: PLC0415  # an extra

        trace_id, parent_id, self._ids.span_id = ids
        self._ids.trace_id = trace_id
        context = trace.set_span_in_context(trace.INVALID_SPAN)
        if parent_id:
            sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            parent = trace.SpanContext(trace_id, parent_id, is_remote=True, trace_flags=sampled)
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        span = self._tracer.start_span(
            name,
            context,
            kind=trace.SpanKind.CLIENT if is_call else trace.SpanKind.INTERNAL,
            attributes=dict(attributes),
            start_time=round(times[0] * NS),
        )
        if error:
            span.set_status(trace.StatusCode.ERROR, error)
        span.end(round(max(times) * NS))


class ExecutionTrace:
    """Makes one execution's spans as it tells what has happened.

    Beginnings of attempts and atoms are kept until they end; after a crash those of open ones are what is known then.
    """

    def __init__(self, tracing: Tracing, machine: ExecutionMachine) -> None:
        self._tracing = tracing
        self._machine = machine
        self._trace_id = machine.execution_id.int
        self._attempts: dict[tuple[str, int], float] = {}
        self._atoms: dict[str, float] = {}
        self._models: dict[tuple[str, int], str] = {}

    def told(self, news: Notice | Fact, *, at: float) -> None:
        """Make the span of what has ended, if it is one."""
        if isinstance(news, CallEnded):
            self._call(news)
        elif isinstance(news, CheckEnded):
            self._check(news)
        elif isinstance(news, AttemptMade):
            self._attempt(news, at)
        elif isinstance(news, AtomFinished):
            self._atom(news, at)
        elif isinstance(news, WaveFinished):
            began_at, ended_at = self._machine.wave_times[news.wave_id]
            attributes = {"mge_ray.wave.id": news.wave_id}
            self._span(f"wave {news.wave_id}", _wave(news.wave_id), EXECUTION, (began_at, ended_at), attributes)
        elif isinstance(news, ExecutionFinished):
            self._execution()

    def _span(  # noqa: PLR0917  # what a span is
        self,
        name: str,
        own: str,
        parent: str,
        times: tuple[float, float],
        attributes: Attributes,
        error: str = "",
        *,
        is_call: bool = False,
    ) -> None:
        known = {"mge_ray.execution.id": str(self._machine.execution_id), **attributes}
        ids = (self._trace_id, self._id(parent) if parent else 0, self._id(own))
        self._tracing.span(name, ids, times, known, error=error, is_call=is_call)

    def _id(self, name: str) -> int:
        digest = hashlib.sha256(f"{self._machine.execution_id}:{name}".encode()).digest()
        return int.from_bytes(digest[: SPAN_BITS // 8], "big") or 1

    def _began(self, atom_id: str, attempt: int, at: float) -> None:
        self._attempts.setdefault((atom_id, attempt), at)
        self._atoms.setdefault(atom_id, at)

    def _call(self, call: CallEnded) -> None:
        usage = call.usage
        attributes: dict[str, str | bool | int | float] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": call.model,
            "gen_ai.request.max_tokens": call.max_tokens,
            "gen_ai.usage.input_tokens": usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "mge_ray.atom.id": call.atom_id,
            "mge_ray.attempt": call.attempt,
            "mge_ray.cost_usd": call.cost_usd,
            "mge_ray.shared": call.shared,
            "mge_ray.model_class": model_class(call.model),
        }
        if call.temperature is not None:
            attributes["gen_ai.request.temperature"] = call.temperature
        if call.answered_by:
            attributes["gen_ai.response.model"] = call.answered_by
        if call.failure is not None:
            attributes |= {"error.type": call.failure.value, "mge_ray.billing": call.billing.value}
        if call.late:
            attributes["mge_ray.late"] = True
        else:
            self._began(call.atom_id, call.attempt, call.began_at)
            self._models[call.atom_id, call.attempt] = call.model
        began_at = call.at - call.latency_s if call.late else call.began_at
        own = f"call:{call.atom_id}:{call.attempt}:{call.try_number}:{'late' if call.late else ''}"
        error = call.failure.value if call.failure else ""
        parent = _attempt(call.atom_id, call.attempt)
        self._span(f"chat {call.model}", own, parent, (began_at, call.at), attributes, error, is_call=True)

    def _check(self, check: CheckEnded) -> None:
        attributes: dict[str, str | bool | int | float] = {
            "mge_ray.level": check.level.value,
            "mge_ray.passed": check.passed,
        }
        times = (check.began_at, check.at)
        own = f"check:{check.atom_id}:{check.attempt}:{check.at}"
        if not check.atom_id:
            self._span("check project", own, EXECUTION, times, attributes, "" if check.passed else check.level.value)
            return
        self._began(check.atom_id, check.attempt, check.began_at)
        attributes |= {"mge_ray.atom.id": check.atom_id, "mge_ray.attempt": check.attempt}
        self._span("check", own, _attempt(check.atom_id, check.attempt), times, attributes)

    def _attempt(self, made: AttemptMade, ended_at: float) -> None:
        key = made.atom_id, made.attempt
        began_at = self._attempts.pop(key, ended_at)
        attributes: dict[str, str | bool | int | float] = {
            "mge_ray.atom.id": made.atom_id,
            "mge_ray.attempt": made.attempt,
            "mge_ray.passed": made.passed,
        }
        if model := self._models.pop(key, ""):
            attributes["gen_ai.request.model"] = model
        name, own = f"attempt {made.attempt}", _attempt(made.atom_id, made.attempt)
        error = "" if made.passed else "did not pass"
        self._span(name, own, f"atom:{made.atom_id}", (began_at, ended_at), attributes, error)

    def _atom(self, atom: AtomFinished, ended_at: float) -> None:
        record = self._machine.atoms[atom.atom_id]
        attributes: Attributes = {
            "mge_ray.atom.id": atom.atom_id,
            "mge_ray.attempts": atom.attempts,
            "mge_ray.cost_usd": record.cost_usd,
            "mge_ray.succeeded": atom.succeeded,
            "mge_ray.reused": record.stands_reused,
        }
        times = (self._atoms.pop(atom.atom_id, ended_at), ended_at)
        error = "" if atom.succeeded else "failed"
        self._span(f"atom {atom.atom_id}", f"atom:{atom.atom_id}", _wave(atom.wave_id), times, attributes, error)

    def _execution(self) -> None:
        machine, state = self._machine, execution_state(self._machine)
        attributes: Attributes = {
            "mge_ray.masterplan.id": str(machine.plan.masterplan_id),
            "mge_ray.status": state.status.value,
            "mge_ray.atoms": state.atoms_total,
            "mge_ray.atoms.succeeded": state.atoms_succeeded,
            "mge_ray.attempts": state.attempts,
            "mge_ray.cost_usd": state.total_cost_usd,
        }
        ended_at = machine.ended_at or machine.last_at
        error = "" if state.status is ExecutionStatus.COMPLETED else state.status.value
        self._span("execution", EXECUTION, "", (machine.started_at or ended_at, ended_at), attributes, error)


EXECUTION = "execution"


def _wave(wave_id: int) -> str:
    return f"wave:{wave_id}"


def _attempt(atom_id: str, attempt: int) -> str:
    return f"attempt:{atom_id}:{attempt}"


class _GivenIds:
    """The ids of the span that is about to be made."""

    trace_id = 0
    span_id = 0


def _generator(ids: _GivenIds) -> Any:  # noqa: ANN401  # its base class is an extra's
    from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: PLC0415  # an extra

    class Given(IdGenerator):
        def generate_span_id(self) -> int:
            return ids.span_id

        def generate_trace_id(self) -> int:
            return ids.trace_id

    return Given()
