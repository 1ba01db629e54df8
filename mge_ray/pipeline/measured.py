"""Measured: what earlier executions say about one model: how often answers were rejected, how long calls took, ...

Pure: read from executions as `observed` shows them. Which executions count (the same model, live or simulated but never
both) is decided by whoever reads the journal.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.execution_record import ACCEPTANCE
from mge_ray.pipeline.observed import Observed, Span
from mge_ray.pipeline.plan_sizes import PlanShape, plan_shape

ANSWERED = {"answered", "bad_answer"}
JUDGED = {"passed", "rejected"}


@dataclass(slots=True)
class Measured:
    """Counts and samples over some executions. Seconds; `call_s` and `check_s` as the engine saw them.

    `prompt_bytes` is what `plan_sizes` expected of the answered calls, `input_tokens` what the provider counted;
    `line_tokens` are output tokens per planned line, one an answer.
    """

    executions: int = 0
    calls: int = 0
    answers: int = 0
    rejected: int = 0
    unanswered: int = 0
    input_tokens: int = 0
    prompt_bytes: int = 0
    output_tokens: int = 0
    planned_lines: int = 0
    call_s: list[float] = field(default_factory=list)
    line_tokens: list[float] = field(default_factory=list)
    check_s: list[float] = field(default_factory=list)
    acceptance_s: list[float] = field(default_factory=list)
    worker_start_s: list[float] = field(default_factory=list)


def measure(executions: Sequence[Observed], model: str) -> Measured:
    """Return what the calls of `model` in these executions came to."""
    found = Measured()
    for seen in executions:
        before = found.calls
        _add(found, seen, model)
        found.executions += found.calls > before
    return found


def _add(found: Measured, seen: Observed, model: str) -> None:
    shape = plan_shape(seen.machine.plan)
    first_check_s: float | None = None
    acceptance: Span | None = None
    for span in seen.spans:
        if span.pool is Pool.GENERATE:
            if span.model == model:
                _add_call(found, span, shape)
        elif span.atom_id == ACCEPTANCE:
            acceptance = span
        elif isinstance(span.closed_by, e.AtomExecuted):
            seconds = span.closed_by.result.duration_s
            found.check_s.append(seconds)
            if first_check_s is None:
                first_check_s = span.end - span.start
    if acceptance is not None and acceptance.outcome in JUDGED:
        found.acceptance_s.append(acceptance.end - acceptance.start)
    if first_check_s is not None:
        found.worker_start_s.append(max(0.0, first_check_s - statistics.median(found.check_s)))
    for record in seen.machine.atoms.values():
        ours = [attempt for attempt in record.attempts if attempt.settings.model == model]
        found.rejected += sum(not attempt.verdict.passed for attempt in ours)


def _add_call(found: Measured, span: Span, shape: PlanShape) -> None:
    if span.outcome in ANSWERED and isinstance(span.closed_by, e.GenerationArrived):
        usage = span.closed_by.generation.usage
        size = shape.atoms[shape.number_of[span.atom_id]]
        found.calls += 1
        found.answers += 1
        found.call_s.append(max(1e-3, span.end - span.start))
        found.input_tokens += usage.input_tokens + usage.cache_write_tokens + usage.cache_read_tokens
        found.prompt_bytes += shape.prefix_bytes + size.prompt_bytes + (size.retry_bytes if span.attempt > 1 else 0)
        found.output_tokens += usage.output_tokens
        found.planned_lines += size.lines
        found.line_tokens.append(max(0.1, usage.output_tokens / size.lines))
    elif isinstance(span.closed_by, e.GenerationFailed):
        found.calls += 1
        found.unanswered += 1
