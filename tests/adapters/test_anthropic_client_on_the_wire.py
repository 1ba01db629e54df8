"""The client against canned bytes: what is sent, and what comes of answers no sane server gives."""

import asyncio
import json
import pickle
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

import httpx2
import pytest

from mge_ray.adapters.anthropic_client import EnhancedAnthropicClient
from mge_ray.adapters.anthropic_failures import MAX_RETRY_AFTER_S, retry_after_s
from mge_ray.adapters.anthropic_failures import failure_of as failure_of_exception
from mge_ray.adapters.message_request import MessageRequest
from mge_ray.adapters.prices import PriceTable
from mge_ray.domain.generation import Billing, FailureKind, StopReason
from mge_ray.execution.ports import CallFailedError

KEY = "sk-ant-very-secret-0123456789"
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "```python\nx = 1\n```\n"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 5},
}


@dataclass
class Canned:
    """A server that gives every request the same bytes, and keeps what it was sent."""

    reply: bytes
    url: str = ""
    heads: list[str] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)

    async def serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
            self.heads.append(head)
            self.bodies.append(json.loads(await reader.readexactly(length)))
            writer.write(self.reply)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def canned(reply):
    server = Canned(reply)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield server


def http(status, body, content_type="application/json", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + data


def error(kind, message="why", code=None):
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


def events(*listed):
    body = "".join(f"event: {data['type']}\ndata: {json.dumps(data)}\n\n" for data in listed)
    return http(200, body.encode(), "text/event-stream")


def request(**fields):
    given = {"call_id": "c", "model": "claude-opus-5-5", "system": ("rules", "plan"), "user": "Atom: a"}
    return MessageRequest(**(given | {"max_tokens": 100, "timeout_s": 5.0} | fields))


def client(url, **options):
    return EnhancedAnthropicClient(**({"prices": PriceTable(), "base_url": url, "api_key": KEY} | options))


async def complete(url, asked=None, **options):
    made = client(url, **options)
    try:
        return await made.complete(asked or request())
    finally:
        await made.aclose()


async def failed(url, asked=None, **options):
    with pytest.raises(CallFailedError) as caught:
        await complete(url, asked, **options)
    return caught.value


async def failure_of(reply, **options):
    async with canned(reply) as server:
        return (await failed(server.url, **options)).failure


async def answer_to(reply, **options):
    async with canned(reply) as server:
        return await complete(server.url, **options)


@pytest.mark.parametrize(
    ("status", "body", "kind", "billing"),
    [
        (400, error("invalid_request_error"), FailureKind.REQUEST_REFUSED, Billing.NOT_BILLED),
        (
            400,
            error("invalid_request_error", "You have reached your specified API usage limits. You will regain access."),
            FailureKind.SPEND_LIMIT,
            Billing.NOT_BILLED,
        ),
        (
            400,
            error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            FailureKind.SPEND_LIMIT,
            Billing.NOT_BILLED,
        ),
        (
            400,
            error("invalid_request_error", code="organization_on_hold"),
            FailureKind.AUTHENTICATION,
            Billing.NOT_BILLED,
        ),
        (401, error("authentication_error"), FailureKind.AUTHENTICATION, Billing.NOT_BILLED),
        (402, error("billing_error"), FailureKind.SPEND_LIMIT, Billing.NOT_BILLED),
        (403, error("permission_error"), FailureKind.AUTHENTICATION, Billing.NOT_BILLED),
        (404, error("not_found_error"), FailureKind.UNKNOWN_MODEL, Billing.NOT_BILLED),
        (404, b"no such page", FailureKind.UNKNOWN_MODEL, Billing.NOT_BILLED),
        (408, error("timeout_error"), FailureKind.TIMEOUT, Billing.UNKNOWN),
        (409, error("conflict_error"), FailureKind.SERVER_ERROR, Billing.NOT_BILLED),
        (413, error("request_too_large"), FailureKind.REQUEST_REFUSED, Billing.NOT_BILLED),
        (422, error("invalid_request_error"), FailureKind.REQUEST_REFUSED, Billing.NOT_BILLED),
        (429, error("rate_limit_error"), FailureKind.RATE_LIMITED, Billing.NOT_BILLED),
        (429, error("rate_limit_error", code="ramp_limit_exceeded"), FailureKind.RAMP_LIMITED, Billing.NOT_BILLED),
        (
            429,
            error("rate_limit_error", code="contract_spend_limit_reached"),
            FailureKind.SPEND_LIMIT,
            Billing.NOT_BILLED,
        ),
        (500, error("api_error"), FailureKind.SERVER_ERROR, Billing.NOT_BILLED),
        (500, error("overloaded_error"), FailureKind.OVERLOADED, Billing.NOT_BILLED),
        (502, b"<html>bad gateway</html>", FailureKind.SERVER_ERROR, Billing.UNKNOWN),
        (504, error("timeout_error"), FailureKind.TIMEOUT, Billing.UNKNOWN),
        (529, error("overloaded_error"), FailureKind.OVERLOADED, Billing.NOT_BILLED),
        (529, b"", FailureKind.OVERLOADED, Billing.UNKNOWN),
        (200, b"{ torn", FailureKind.BROKEN_ANSWER, Billing.UNKNOWN),
        (200, b"[]", FailureKind.NOT_AN_ANSWER, Billing.UNKNOWN),
        (200, b"null", FailureKind.NOT_AN_ANSWER, Billing.UNKNOWN),
        (200, {}, FailureKind.NOT_AN_ANSWER, Billing.UNKNOWN),
        (200, error("api_error"), FailureKind.NOT_AN_ANSWER, Billing.UNKNOWN),
        (200, MESSAGE | {"usage": None}, FailureKind.BROKEN_ANSWER, Billing.UNKNOWN),
        (200, MESSAGE | {"usage": {"input_tokens": "many"}}, FailureKind.BROKEN_ANSWER, Billing.UNKNOWN),
        (200, MESSAGE | {"content": None}, FailureKind.BROKEN_ANSWER, Billing.UNKNOWN),
        (200, MESSAGE | {"content": [{"type": "text"}]}, FailureKind.BROKEN_ANSWER, Billing.UNKNOWN),
        (200, MESSAGE | {"stop_reason": None}, FailureKind.BROKEN_ANSWER, Billing.UNKNOWN),
    ],
)
async def test_every_answer_that_is_none_has_its_failure(status, body, kind, billing):
    found = await failure_of(http(status, body))
    assert (found.kind, found.billing) == (kind, billing), found


async def test_a_page_of_another_type_is_not_an_answer():
    found = await failure_of(http(200, b"<html>hello</html>", "text/html"))
    assert found.kind is FailureKind.NOT_AN_ANSWER
    assert "text/html" in found.message


async def test_a_redirect_is_not_followed():
    async with canned(http(200, MESSAGE)) as elsewhere:
        found = await failure_of(http(307, b"", location=elsewhere.url))
        assert elsewhere.heads == []
    assert found.kind is FailureKind.NOT_AN_ANSWER


async def test_a_body_in_a_broken_encoding_is_a_broken_answer():
    found = await failure_of(http(200, b"not gzip", content_encoding="gzip"))
    assert (found.kind, found.billing) == (FailureKind.BROKEN_ANSWER, Billing.UNKNOWN)


async def test_bytes_that_are_no_http_may_have_been_billed():
    found = await failure_of(b"SSH-2.0-OpenSSH\r\n\r\n")
    assert found.billing is Billing.UNKNOWN
    assert found.kind in {FailureKind.CONNECTION, FailureKind.BROKEN_ANSWER}


START = {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "```python\nx = 1\n```"}}
STOP = {"type": "content_block_stop", "index": 0}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 42},
}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (events(), FailureKind.BROKEN_ANSWER),
        (events(BLOCK, DELTA), FailureKind.BROKEN_ANSWER),
        (events(START, DELTA), FailureKind.BROKEN_ANSWER),
        (events(START, BLOCK, DELTA), FailureKind.BROKEN_ANSWER),
        (events(START, error("overloaded_error")), FailureKind.OVERLOADED),
        (events(error("rate_limit_error")), FailureKind.RATE_LIMITED),
        (events(START, error("api_error")), FailureKind.SERVER_ERROR),
        (events(START, error("timeout_error")), FailureKind.TIMEOUT),
        (events(START, error("novel_error")), FailureKind.BROKEN_ANSWER),
        (http(200, b"event: message_start\ndata: {torn\n\n", "text/event-stream"), FailureKind.BROKEN_ANSWER),
        (http(200, MESSAGE), FailureKind.NOT_AN_ANSWER),
        (http(529, error("overloaded_error")), FailureKind.OVERLOADED),
    ],
)
async def test_every_stream_that_is_no_answer_has_its_failure(reply, kind):
    found = await failure_of(reply, stream=True)
    assert found.kind is kind, found
    assert found.billing is (Billing.NOT_BILLED if b"529" in reply[:20] else Billing.UNKNOWN)


async def test_a_stream_is_whole_with_its_stop_reason_and_counts_output_last():
    made = await answer_to(events(START, BLOCK, DELTA, STOP, END), stream=True)
    assert made.code == "x = 1\n"
    assert made.usage.output_tokens == 42


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", StopReason.END_TURN),
        ("stop_sequence", StopReason.END_TURN),
        ("max_tokens", StopReason.MAX_TOKENS),
        ("refusal", StopReason.REFUSAL),
        ("model_context_window_exceeded", StopReason.CONTEXT_WINDOW),
        ("tool_use", StopReason.OTHER),
        ("pause_turn", StopReason.OTHER),
        ("something_new", StopReason.OTHER),
    ],
)
async def test_every_stop_reason_is_a_generation_that_cost_money(reason, expected):
    made = await answer_to(http(200, MESSAGE | {"stop_reason": reason}))
    assert made.stop_reason is expected
    assert made.cost_usd > 0


async def test_only_text_blocks_are_text_and_missing_cache_counts_are_zero():
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None}
    made = await answer_to(http(200, MESSAGE | {"content": content, "usage": usage}))
    assert made.text == "ab"
    assert made.code is None
    assert (made.usage.cache_read_tokens, made.usage.cache_write_tokens) == (0, 0)


async def test_the_rate_limit_headers_come_along():
    headers = {"anthropic_ratelimit_requests_remaining": "3", "retry_after": "9", "request_id": "req_7", "x_other": "1"}
    made = await answer_to(http(200, MESSAGE, **headers))
    assert made.rate_limits == {"anthropic-ratelimit-requests-remaining": "3", "retry-after": "9"}
    assert made.request_id == "req_7"


async def test_the_request_marks_the_last_system_block_for_the_cache():
    async with canned(http(200, MESSAGE)) as server:
        await complete(server.url, request(effort="high"))
    body = server.bodies[0]
    assert body["system"] == [
        {"type": "text", "text": "rules"},
        {"type": "text", "text": "plan", "cache_control": {"type": "ephemeral"}},
    ]
    assert body["messages"] == [{"role": "user", "content": "Atom: a"}]
    assert body["output_config"] == {"effort": "high"}
    assert not {"temperature", "stream"} & body.keys()
    assert "anthropic-version: 2026-10-21" in server.heads[0].lower()
    assert f"authorization: bearer {KEY}\r\n" in server.heads[0].lower()


async def test_a_temperature_goes_out_with_the_version_that_allows_it_and_without_effort():
    async with canned(http(200, MESSAGE)) as server:
        await complete(server.url, request(temperature=0.5, effort="high"), sampling=True)
    assert server.bodies[0]["temperature"] == 0.5
    assert "output_config" not in server.bodies[0]
    assert "anthropic-version: 2023-06-01" in server.heads[0].lower()


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-opus-4-6"])
async def test_an_endpoint_not_known_to_take_a_temperature_gets_none(model):
    async with canned(http(200, MESSAGE)) as server:
        await complete(server.url, request(model=model, temperature=0.5))
    assert "temperature" not in server.bodies[0]
    assert "anthropic-version: 2026-10-21" in server.heads[0].lower()


async def test_an_effort_is_kept_from_models_that_take_none():
    async with canned(http(200, MESSAGE)) as server:
        await complete(server.url, request(model="claude-haiku-4-5", effort="high"))
    assert "output_config" not in server.bodies[0]


@pytest.mark.parametrize(("max_tokens", "streamed"), [(21_333, None), (21_334, True)])
async def test_only_long_answers_are_streamed(max_tokens, streamed):
    reply = events(START, BLOCK, DELTA, STOP, END) if streamed else http(200, MESSAGE)
    async with canned(reply) as server:
        await complete(server.url, request(max_tokens=max_tokens))
    assert server.bodies[0].get("stream") is streamed


async def test_what_was_never_sent_was_never_billed(unused_tcp_port):
    for url in (f"http://127.0.0.1:{unused_tcp_port}", "http://host.invalid:80"):
        found = (await failed(url)).failure
        assert (found.kind, found.billing) == (FailureKind.CONNECTION, Billing.NOT_BILLED), found


async def test_a_failed_tls_handshake_was_never_billed():
    def speak_plainly(_, writer):
        writer.write(http(200, MESSAGE))
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = (await failed(f"https://127.0.0.1:{port}")).failure
    assert (found.kind, found.billing) == (FailureKind.CONNECTION, Billing.NOT_BILLED), found


async def test_a_connection_closed_without_a_word_may_have_been_billed():
    found = await failure_of(b"")
    assert (found.kind, found.billing) == (FailureKind.CONNECTION, Billing.UNKNOWN)


async def test_without_a_key_nothing_is_sent_to_the_provider(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    found = (await failed(None, api_key=None)).failure
    assert (found.kind, found.billing) == (FailureKind.AUTHENTICATION, Billing.NOT_BILLED)
    assert "ANTHROPIC_API_KEY" in found.message


async def test_the_key_comes_from_the_environment_at_the_first_call(monkeypatch):
    async with canned(http(200, MESSAGE)) as server:
        made = client(server.url, api_key=None)
        monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", " late-token\n")
        await made.complete(request())
        await made.aclose()
    assert "authorization: bearer late-token\r\n" in server.heads[0].lower()


async def test_a_server_of_ones_own_needs_no_key(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    async with canned(http(200, MESSAGE)) as server:
        assert (await complete(server.url, api_key=None)).code == "x = 1\n"


LEAKS = {
    "an error that quotes the header": http(401, error("authentication_error", f"bad Authorization: Bearer {KEY}")),
    "a page that quotes the key": http(200, (b"." * 480) + KEY.encode() * 3, "text/html"),
    "an error that is a page": http(500, f"<html>{KEY}</html>".encode()),
    "a broken body": http(200, f'{{"{KEY}'.encode()),
    "a closed connection": b"",
    "a message that is none": http(200, {"type": KEY, "id": KEY}),
}


@pytest.mark.parametrize("reply", LEAKS.values(), ids=LEAKS.keys())
@pytest.mark.parametrize("stream", [False, True])
async def test_no_error_holds_the_key(reply, stream):
    async with canned(reply) as server:
        raised = await failed(server.url, stream=stream)
    told = [str(raised), repr(raised), repr(raised.failure), pickle.dumps(raised).decode("latin-1")]
    told += traceback.format_exception(raised)
    assert not any(KEY[:10] in text or "Bearer sk" in text for text in told)
    assert raised.__cause__ is None
    assert raised.__context__ is None


async def test_a_key_that_is_no_header_value_is_not_told_either(caplog):
    broken = "sk-ant-very\nsecret-0123456789"
    async with canned(http(200, MESSAGE)) as server:
        raised = await failed(server.url, api_key=broken)
        assert server.heads == []
    assert raised.failure.kind is FailureKind.AUTHENTICATION
    assert "secret-0123456789" not in str(raised)
    assert "sk-ant-very" not in str(raised)


async def test_neither_repr_nor_logs_hold_the_key(caplog):
    caplog.set_level("DEBUG")
    async with canned(http(401, error("authentication_error", KEY))) as server:
        made = client(server.url.replace("http://", "http://user:pass@"))
        with pytest.raises(CallFailedError):
            await made.complete(request())
        await made.aclose()
    assert KEY not in repr(made)
    assert "pass" not in repr(made)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("raised", "kind", "billing"),
    [
        (httpx2.ReadTimeout("x"), FailureKind.TIMEOUT, Billing.UNKNOWN),
        (httpx2.PoolTimeout("x"), FailureKind.CONNECTION, Billing.NOT_BILLED),
        (httpx2.ConnectTimeout("x"), FailureKind.CONNECTION, Billing.NOT_BILLED),
        (ConnectionResetError("x"), FailureKind.CONNECTION, Billing.UNKNOWN),
        (KeyError("x"), FailureKind.INTERNAL, Billing.UNKNOWN),
    ],
)
def test_an_exception_nobody_foresaw_may_have_been_billed(raised, kind, billing):
    found = failure_of_exception(raised)
    assert (found.kind, found.billing) == (kind, billing)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("999999", MAX_RETRY_AFTER_S),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (formatdate(1_030, usegmt=True), 30.0),
        (formatdate(900, usegmt=True), 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_is_bounded(value, seconds):
    assert retry_after_s({"retry-after": value}, now=1_000) == seconds


def test_a_date_is_counted_from_the_servers_clock():
    headers = {"retry-after": formatdate(1_030, usegmt=True), "date": formatdate(1_020, usegmt=True)}
    assert retry_after_s(headers, now=5_000) == 10.0
