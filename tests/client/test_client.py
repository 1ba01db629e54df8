"""The client against a server that answers what a test has written down: how it reads, waits, and gives up."""

import asyncio
import json
import pickle
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

from mge_ray.api.schemas import EXAMPLE_START, StartExecutionRequest, StartSettings
from mge_ray.client import AsyncMgeRayClient, MgeRayClient, ServiceError, ServiceUnavailableError
from mge_ray.client.calls import start_request
from mge_ray.pipeline.plan_file import parse_fields
from mge_ray.pipeline.wire import WireEvent

ID = UUID("0a0a0a0a-0000-4000-8000-000000000001")
STATE = {
    "execution_id": str(ID),
    "masterplan_id": str(ID),
    "status": "completed",
    "total_waves": 1,
    "atoms_total": 1,
    "told_by_a_newer_service": True,
}


def problem(status, detail="no"):
    return {"type": "about:blank", "title": "t", "status": status, "detail": detail}


def event(seq):
    return f"id: {seq}\nevent: pause_requested\ndata: " + json.dumps({"seq": seq, "at": 1.0, "kind": "pause_requested"})


@contextmanager
def server(*answers):
    """Serve the answers in turn, the last one for ever; yields the address and the requests that came."""
    waiting, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            length = int(self.headers.get("content-length", 0))
            seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, headers, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815  # http.server's name

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def stream(*frames):
    return (200, {"Content-Type": "text/event-stream"}, ("\n\n".join(frames) + "\n\n").encode())


def test_what_a_newer_service_tells_beyond_is_left_out():
    with server((200, {}, STATE)) as (url, seen), MgeRayClient(url, token="mge_x") as client:
        assert client.status(ID).status.value == "completed"
    assert seen[0][2]["Authorization"] == "Bearer mge_x"


def test_a_service_that_restarts_is_asked_again_when_it_says():
    away = (503, {"Retry-After": "0"}, problem(503))
    with server(away, away, (200, {}, STATE)) as (url, seen), MgeRayClient(url) as client:
        assert client.status(ID).execution_id == ID
    assert len(seen) == 3


def test_patience_ends_and_says_why():
    away = (503, {"Retry-After": "9"}, problem(503, "the engine is restarting"))
    with (
        server(away) as (url, seen),
        MgeRayClient(url, patience_s=1) as client,
        pytest.raises(ServiceUnavailableError, match="the engine is restarting"),
    ):
        client.status(ID)
    assert len(seen) == 1


def test_a_refusal_is_not_tried_again_and_carries_the_problem():
    with (
        server((404, {}, problem(404, "no execution here"))) as (url, seen),
        MgeRayClient(url) as client,
        pytest.raises(ServiceError, match="no execution here") as caught,
    ):
        client.status(ID)
    assert (caught.value.status, len(seen)) == (404, 1)
    assert pickle.loads(pickle.dumps(caught.value)).problem == caught.value.problem  # noqa: S301  # our own


def test_an_answer_of_something_else_is_said_to_be_one():
    with (
        server((404, {}, b"<html>nginx</html>")) as (url, _),
        MgeRayClient(url) as client,
        pytest.raises(ServiceError, match="not the service: <html>nginx"),
    ):
        client.status(ID)
    with (
        server((200, {}, b"<html>hello</html>")) as (url, _),
        MgeRayClient(url) as client,
        pytest.raises(ServiceUnavailableError, match="answered by something else"),
    ):
        client.status(ID)


@pytest.mark.parametrize("url", ["nonsense", "", "ftp://host", "file:///etc/passwd"])
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(ServiceUnavailableError, match="no address"):
        MgeRayClient(url)


def test_a_start_is_sent_again_under_the_same_key():
    started = {"execution_id": str(ID), "status_url": "/a", "events_url": "/b"}
    away = (503, {"Retry-After": "0"}, problem(503))
    plan = StartExecutionRequest.model_validate(EXAMPLE_START)
    with server(away, (202, {}, started)) as (url, seen), MgeRayClient(url) as client:
        assert client.start(plan, StartSettings(budget_usd=1)).execution_id == ID
    assert seen[0][2]["Idempotency-Key"] == seen[1][2]["Idempotency-Key"]
    assert seen[0][2]["X-Request-Disconnect-Disabled"] == "?1"
    assert seen[0][3] == seen[1][3]
    assert json.loads(seen[0][3])["settings"]["budget_usd"] == 1


def test_the_request_for_a_plan_means_the_same_plan():
    fields = {key: value for key, value in EXAMPLE_START.items() if key != "settings"}
    plan = parse_fields({**fields, "atoms": list(fields["atoms"].values())})
    request = start_request(plan)
    again = request.model_dump(mode="json", exclude={"settings"}, exclude_defaults=True)
    assert parse_fields({**again, "atoms": list(again["atoms"].values())}) == plan


def test_a_broken_stream_goes_on_after_the_last_event_and_repeats_none():
    first, second = stream(event(1), event(2)), stream(event(2), event(3), "event: end\ndata: {}")
    with server(first, (503, {"Retry-After": "0"}, problem(503)), second) as (url, seen), MgeRayClient(url) as client:
        assert [one.seq for one in client.events(ID)] == [1, 2, 3]
    assert [request[2]["Last-Event-ID"] for request in seen] == ["0", "2", "2"]


def test_the_asynchronous_client_does_the_same():
    state = "event: state\ndata: " + json.dumps(STATE)
    frames = stream(event(1), "event: state\ndata: not json", state, event(2), "event: end\ndata: {}")

    async def follow(url):
        async with AsyncMgeRayClient(url) as client:
            return [one async for one in client.follow(ID)], await client.wait(ID)

    with server(frames) as (url, _):
        told, state = asyncio.run(follow(url))
    assert [one.seq if isinstance(one, WireEvent) else one.status.value for one in told] == [1, "completed", 2]
    assert state.status.value == "completed"


def test_pages_are_walked_to_their_end():
    row = {
        "atom_id": "a", "name": "a", "file": "a.py", "symbol": "a", "wave_id": 1, "depends_on": [], "status": "ready",
        "attempts": 0, "cost_usd": 0, "time_seconds": 0, "cause": "",
    }  # fmt: skip
    first = (200, {}, {"atoms": [row, row], "next_after": 2})
    with server(first, (200, {}, {"atoms": [row], "next_after": None})) as (url, seen), MgeRayClient(url) as client:
        assert len(list(client.atoms(ID, page=2))) == 3
    assert "after=2" in seen[1][1]


def test_a_retry_whose_answer_got_lost_is_not_sent_twice():
    class Silent(BaseHTTPRequestHandler):
        asked = 0

        def do_POST(self):
            Silent.asked += 1
            self.close_connection = True

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    with (
        MgeRayClient(f"http://127.0.0.1:{httpd.server_port}") as client,
        pytest.raises(ServiceUnavailableError, match="may have been done"),
    ):
        client.retry(ID)
    httpd.shutdown()
    httpd.server_close()
    assert Silent.asked == 1
