"""What a log line holds, and what can never be in one."""

from __future__ import annotations

import io
import json
import logging

import pytest
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from mge_ray.adapters.logs import LogSettings, configure_logs
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.generation import FailureKind
from mge_ray.execution.facts import WorkerGone
from mge_ray.execution.logbook import log_news
from tests.builders import EXECUTION_ID, driven, failure, plan
from tests.engines import driven_run, engine
from tests.fakes.llm import ScriptedClient

JSON = LogSettings(format="json", level="debug")
KEY = "sk-ant-api03-canary-KEY_0123456789"
CODE = "good = 'CANARY-CODE'\n"
BAD = "bad = 'CANARY-CODE'\n"
PROMPT = "CANARY-PROMPT: write a function"

log = logging.getLogger("mge_ray.tests")


def fail(error):
    raise error


@pytest.fixture
def lines():
    """Return a function that gives the lines written so far, parsed."""
    stream = io.StringIO()
    configure_logs("test", JSON, stream=stream)

    def read():
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    read.stream = stream
    return read


def test_a_line_has_time_level_logger_process_and_the_ids_that_are_bound(lines):
    with bound_contextvars(execution_id="e-1"):
        log.warning("atom finished", extra={"atom_id": "a", "attempt": 2, "cost_usd": 0.5})
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "atom finished",
        "level": "warning",
        "logger": "mge_ray.tests",
        "process": "test",
        "execution_id": "e-1",
        "atom_id": "a",
        "attempt": 2,
        "cost_usd": 0.5,
    }


def test_fields_that_nobody_has_allowed_are_left_out(lines):
    log.info(
        "call", extra={"code": CODE, "prompt": PROMPT, "messages": [PROMPT], "previous_code": CODE, "atom_id": "a"}
    )
    (line,) = lines()
    assert sorted(line) == ["atom_id", "event", "level", "logger", "process", "timestamp"]


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY} refused",
        "Authorization: Bearer abcdef0123456789",
        "x-api-key=abcdef0123456789",
        "api_key: abcdef0123456789",
        "postgresql://user:abcdef0123456789@host/db is away",
    ],
)
def test_what_looks_like_a_key_is_blacked_out(lines, text):
    log.error("%s", text)
    log.error("failed", extra={"reason": text})
    assert "[redacted]" in lines.stream.getvalue()
    assert "abcdef0123456789" not in lines.stream.getvalue()
    assert "canary" not in lines.stream.getvalue()


def test_the_processes_own_key_is_blacked_out_whatever_it_looks_like(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "looks/like/nothing")
    stream = io.StringIO()
    configure_logs("test", JSON, stream=stream)
    log.error("sent looks/like/nothing to the server", extra={"reason": "bad looks/like/nothing"})
    assert "looks/like/nothing" not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") == 2


def test_a_value_is_one_line_of_bounded_length(lines):
    log.info("first line\n%s", CODE, extra={"reason": "x" * 10_000, "frames": [CODE] * 100})
    (line,) = lines()
    assert line["event"] == "first line"
    assert len(line["reason"]) < 310
    assert len(line["frames"]) == 20


def test_an_exception_is_told_by_its_type_and_places_and_only_ours_with_its_message(lines):
    for error in (ValueError(CODE), MgeRayError("atom 'a' is unknown")):
        try:
            fail(error)
        except (ValueError, MgeRayError):
            log.exception("failed")
    strange, ours = lines()
    assert strange["error"] == "ValueError"
    assert ours["error"] == "MgeRayError: atom 'a' is unknown"
    assert strange["frames"][-1].startswith("test_logs.py:")
    assert "CANARY" not in lines.stream.getvalue()


def test_console_lines_are_for_people_and_hold_the_same():
    stream = io.StringIO()
    configure_logs("test", LogSettings(), stream=stream)
    log.info("wave finished", extra={"wave_id": 3, "code": CODE})
    assert "wave finished" in stream.getvalue()
    assert "wave_id=3" in stream.getvalue()
    assert "CANARY" not in stream.getvalue()


def test_a_process_told_again_writes_each_line_once(capsys):
    configure_logs("first", JSON)
    configure_logs("second", JSON)
    log.info("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["process"] == "second"


def test_the_environment_chooses_format_and_level(monkeypatch):
    monkeypatch.setenv("MGE_RAY_LOG_FORMAT", "JSON")
    monkeypatch.setenv("MGE_RAY_LOG_LEVEL", "error")
    assert LogSettings.of_environment() == LogSettings(format="json", level="error")
    monkeypatch.setenv("MGE_RAY_LOG_FORMAT", "xml")
    with pytest.raises(ValidationError, match="'json' or 'console'"):
        LogSettings.of_environment()


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(logging, "raiseExceptions", False)
    configure_logs("test", JSON, stream=closed)
    log.error("nobody reads this")
    assert closed.closed


async def test_a_run_tells_what_happened_with_its_ids_and_neither_key_nor_code_nor_prompt(lines, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    refused = failure(FailureKind.OVERLOADED)
    client = ScriptedClient({"a": [BAD, CODE], "b": [refused, CODE], "c": [BAD]}, default=CODE)
    canary = plan("a, b, c, a -> d", description=PROMPT, files={"app/x.py": CODE})
    await driven_run(engine(client), canary)
    text = lines.stream.getvalue()
    for secret in ("CANARY", "canary", KEY):
        assert secret not in text
    told = lines()
    assert {line["execution_id"] for line in told} == {str(EXECUTION_ID)}
    events = [line["event"] for line in told]
    for event, times in (
        ("execution running", 1),
        ("wave finished", 2),
        ("atom finished", 4),
        ("attempt made", 8),
        ("call answered", 8),
        ("candidate checked", 8),
        ("call failed", 1),
        ("execution finished", 1),
        ("execution ended", 1),
    ):
        assert events.count(event) == times, event
    (failed,) = [line for line in told if line["event"] == "call failed"]
    assert (failed["atom_id"], failed["attempt"], failed["kind"]) == ("b", 1, "overloaded")
    (atom_c,) = [line for line in told if line["event"] == "atom finished" and line["atom_id"] == "c"]
    assert (atom_c["succeeded"], atom_c["attempts"], atom_c["cost_usd"]) == (False, 4, pytest.approx(0.04))
    assert [line["attempt"] for line in told if line["event"] == "attempt made" and line["atom_id"] == "a"] == [1, 2]


def test_a_lost_worker_is_a_warning_that_names_the_atom(lines):
    log_news(driven("a").machine, WorkerGone("a"))
    (line,) = lines()
    assert (line["level"], line["event"], line["atom_id"]) == ("warning", "worker lost", "a")
