"""The coordinator is killed under load: 503 while it restarts, then right answers; nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx2

from tests.api.service import API, ended, numbered, started, stream, until


class Watcher(threading.Thread):
    """A client that streams events and takes up again where the stream broke."""

    def __init__(self, client, execution_id):
        super().__init__(daemon=True)
        self.client, self.execution_id = client, execution_id
        self.seen: list[int] = []
        self.ended = False

    def run(self):
        while not self.ended:
            try:
                for frame in stream(self.client, self.execution_id, self.seen[-1] if self.seen else None):
                    self.seen += [] if frame.number is None else [frame.number]
                    self.ended = frame.kind == "end"
            except (httpx2.TransportError, AssertionError):
                time.sleep(0.1)


class Poller(threading.Thread):
    """A client that asks for the status again and again, and keeps what was no 200."""

    def __init__(self, client, execution_id):
        super().__init__(daemon=True)
        self.client, self.execution_id = client, execution_id
        self.stop = threading.Event()
        self.refusals: list[httpx2.Response] = []

    def run(self):
        while not self.stop.is_set():
            answer = self.client.get(f"{API}/{self.execution_id}")
            if answer.status_code != 200:
                self.refusals.append(answer)
            time.sleep(0.02)


def test_a_coordinator_killed_under_load_is_a_503_and_then_right_answers(service, north):
    execution_id = started(north, numbered("killed", 24, 3, max_concurrency=4))
    watchers = [Watcher(service.client(), execution_id) for _ in range(4)]
    pollers = [Poller(service.client(), execution_id) for _ in range(2)]
    for thread in (*watchers, *pollers):
        thread.start()
    until(north, execution_id, lambda state: state["atoms_succeeded"] >= 5 and state["atoms_in_flight"])
    os.kill(service.coordinator(), signal.SIGKILL)
    state = until(north, execution_id, ended)
    for poller in pollers:
        poller.stop.set()
    for thread in (*watchers, *pollers):
        thread.join(60)
        assert not thread.is_alive()
    assert (state["status"], state["atoms_succeeded"]) == ("completed", 24)
    refusals = [answer for poller in pollers for answer in poller.refusals]
    assert refusals, "it was away for seconds"
    assert {answer.status_code for answer in refusals} == {503}
    assert {answer.headers["content-type"] for answer in refusals} == {"application/problem+json"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refusals)
    events = north.get(f"{API}/{execution_id}/events", params={"limit": 1000}).json()["events"]
    assert "coordinator_restarted" in {event["kind"] for event in events}
    for watcher in watchers:
        assert watcher.seen == [event["seq"] for event in events], "each event once, in order"
    assert service.bought("killed") == {f"killed{number}": 1 for number in range(24)}
    assert north.get("/readyz").status_code == 200
