"""Spans of executions: what hangs below what, when it was, and what they say of calls."""

from __future__ import annotations

from collections import Counter

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mge_ray.adapters.tracing import Tracing, open_traces
from mge_ray.domain.generation import FailureKind, Usage
from mge_ray.execution.recovery import replay
from tests.builders import EXECUTION_ID, MAYBE_BILLED, failure, generation, plan
from tests.collector import collecting
from tests.engines import driven_run, engine, service
from tests.fakes.llm import ScriptedClient

CODE = "good = 'CANARY-CODE'\n"
BAD = "bad = 'CANARY-CODE'\n"


@pytest.fixture
def traced():
    """Return (Tracing, a function that gives the spans so far)."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)

    def spans():
        tracing.flush()
        return exporter.get_finished_spans()

    yield tracing, spans
    tracing.close()


def tree(spans):
    """Each span's name with those of all above it, and how often that path was seen."""
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans), "ids are unique"

    def path(span):
        above = path(by_id[span.parent.span_id]) if span.parent else ()
        return (*above, span.name)

    return Counter(path(span) for span in spans)


async def test_spans_of_a_run_are_execution_wave_atom_attempt_and_call_or_check(traced):
    tracing, spans = traced
    client = ScriptedClient({"a": [BAD, CODE], "c": [failure(FailureKind.OVERLOADED), CODE]}, default=CODE)
    await driven_run(engine(client, traces_for=tracing.of), plan("a, b, a -> c", acceptance_tests=()))
    found = tree(spans())
    wave, second = ("execution", "wave 1"), ("execution", "wave 2", "atom c", "attempt 1")
    assert found == {
        ("execution",): 1,
        wave: 1,
        (*wave, "atom a"): 1,
        (*wave, "atom a", "attempt 1"): 1,
        (*wave, "atom a", "attempt 1", "chat m"): 1,
        (*wave, "atom a", "attempt 1", "check"): 1,
        (*wave, "atom a", "attempt 2"): 1,
        (*wave, "atom a", "attempt 2", "chat m"): 1,
        (*wave, "atom a", "attempt 2", "check"): 1,
        (*wave, "atom b"): 1,
        (*wave, "atom b", "attempt 1"): 1,
        (*wave, "atom b", "attempt 1", "chat m"): 1,
        (*wave, "atom b", "attempt 1", "check"): 1,
        second[:2]: 1,
        second[:3]: 1,
        second: 1,
        (*second, "chat m"): 2,
        (*second, "check"): 1,
    }
    assert {span.context.trace_id for span in spans()} == {EXECUTION_ID.int}
    assert "CANARY" not in "".join(span.to_json() for span in spans())


async def test_a_span_lies_within_the_one_above_it(traced):
    tracing, spans = traced
    await driven_run(engine(ScriptedClient({"a": ["bad\n", "good\n"]}), traces_for=tracing.of), plan("a, a -> b"))
    by_id = {span.context.span_id: span for span in spans()}
    inner = [span for span in by_id.values() if span.parent]
    assert len(inner) == len(by_id) - 1
    for span in inner:
        above = by_id[span.parent.span_id]
        assert above.start_time <= span.start_time <= span.end_time <= above.end_time, span.name


async def test_a_call_says_what_the_conventions_for_generative_ai_ask(traced):
    tracing, spans = traced
    answer = generation("good\n", usd=0.25, model="m-2026")
    object.__setattr__(answer, "usage", Usage(10, 5, cache_write_tokens=3, cache_read_tokens=2))
    await driven_run(engine(ScriptedClient({"a": [answer]}), traces_for=tracing.of), plan("a"))
    (call,) = [span for span in spans() if span.kind is SpanKind.CLIENT]
    told = {name: value for name, value in call.attributes.items() if name.startswith("gen_ai.")}
    assert told.pop("gen_ai.request.max_tokens") > 0
    assert 0 <= told.pop("gen_ai.request.temperature") <= 1
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2026",
        "gen_ai.usage.input_tokens": 15,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.cache_creation.input_tokens": 3,
    }
    assert call.attributes["mge_ray.cost_usd"] == 0.25
    assert call.name == "chat m"


async def test_what_failed_is_an_error_and_says_of_what_kind(traced):
    tracing, spans = traced
    client = ScriptedClient({"a": [MAYBE_BILLED, "bad\n"]})
    await driven_run(engine(client, traces_for=tracing.of), plan("a"))
    by_name = {span.name: span for span in spans() if span.name != "chat m"}
    assert by_name["execution"].status.status_code is StatusCode.ERROR
    assert by_name["atom a"].attributes["mge_ray.attempts"] == 4
    assert by_name["attempt 4"].status.status_code is StatusCode.ERROR
    calls = sorted((span for span in spans() if span.name == "chat m"), key=lambda span: span.start_time)
    assert calls[0].attributes["error.type"] == "timeout"
    assert calls[0].attributes["mge_ray.billing"] == "unknown"
    assert "error.type" not in calls[1].attributes


async def test_an_execution_that_another_process_ends_is_one_trace(traced):
    tracing, spans = traced
    client = ScriptedClient()
    client.gate.clear()
    first = service(client, traces_for=tracing.of)
    made = plan("a, a -> b")
    execution_id = await first.start_plan(made)
    await first.close()
    journal = first.wave_executor.journal
    events = journal.events_of(execution_id)
    assert not replay(execution_id, made, events).status.ended
    client.gate.set()
    second = service(client, journal=journal, traces_for=tracing.of)
    await second.recover_execution(execution_id, made, events)
    await second.wait(execution_id)
    found = tree(spans())
    assert found["execution",] == 1
    assert ("execution", "wave 1", "atom a", "attempt 1", "check") in found
    assert {span.context.trace_id for span in spans()} == {execution_id.int}


async def test_a_cancelled_execution_has_its_span_too(traced):
    tracing, spans = traced
    client = ScriptedClient()
    client.gate.clear()
    made = service(client, traces_for=tracing.of)
    execution_id = await made.start_plan(plan("a"))
    await made.cancel_execution(execution_id)
    await made.wait(execution_id)
    (span,) = [span for span in spans() if span.name == "execution"]
    assert (span.attributes["mge_ray.status"], span.status.status_code) == ("cancelled", StatusCode.ERROR)


# ---- over the wire ---------------------------------------------------------------------------------------------------


async def test_spans_reach_a_collector_that_the_environment_names(monkeypatch):
    with collecting() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        tracing = open_traces()
        await driven_run(engine(traces_for=tracing.of), plan("a"))
        tracing.close()
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    names = sorted(span.name for span in collector.spans)
    assert names == ["atom a", "attempt 1", "chat m", "check", "execution", "wave 1"]
    assert {span.trace_id for span in collector.spans} == {EXECUTION_ID.bytes}
    assert collector.services == {"mge-ray"}


def test_nothing_is_traced_unless_asked_for(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert open_traces() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_traces() is None


def test_traces_without_the_extra_are_a_warning_and_no_error(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("mge_ray.adapters.tracing.find_spec", lambda name: None)
    assert open_traces() is None
    assert "pip install mge-ray[otel]" in caplog.text
