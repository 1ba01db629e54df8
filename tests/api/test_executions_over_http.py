"""Executions over real HTTP: started, watched, steered, and what they leave."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
import time
import zipfile
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from mge_ray.adapters.journal.audit import read_audit
from tests.api.service import API, WRONG, ended, execution_plan, numbered, started, stream, until

LEAVERS = 5


@pytest.fixture(scope="module")
def finished(north):
    """An execution of two waves that has ended well; it was told its waves and its id, as a client of old does."""
    body = numbered("plain", 6, 2) | {"masterplan_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}
    execution_id = started(north, body | {"execution_plan": execution_plan(body, 2)})
    state = until(north, execution_id, ended)
    assert (state["status"], state["atoms_succeeded"]) == ("completed", 6)
    return execution_id


@pytest.fixture(scope="module")
def failed(north):
    """An execution whose one atom the model cannot write."""
    execution_id = started(north, numbered(WRONG, 1))
    assert until(north, execution_id, ended)["status"] == "failed"
    return execution_id


def test_status_says_how_the_execution_stands(north, finished):
    state = north.get(f"{API}/{finished}").json()
    assert state["execution_id"] == finished
    assert state["masterplan_id"] == "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert (state["completion"], state["precision"], state["total_waves"]) == (100.0, 100.0, 2)
    assert state["total_cost_usd"] > 0


def test_progress_has_the_execution_and_each_wave_as_the_wave_s_own_page(north, finished):
    seen = north.get(f"{API}/{finished}/progress").json()
    assert seen["execution"]["atoms_total"] == 6
    assert seen["waves"] == [north.get(f"{API}/{finished}/waves/{number}").json() for number in (1, 2)]
    assert [(wave["wave_id"], wave["atoms_succeeded"]) for wave in seen["waves"]] == [(1, 3), (2, 3)]


def test_atoms_are_paged_in_the_plan_s_order_or_named(north, finished):
    first = north.get(f"{API}/{finished}/atoms", params={"limit": 4}).json()
    rest = north.get(f"{API}/{finished}/atoms", params={"after": first["next_after"]}).json()
    assert [row["atom_id"] for row in first["atoms"] + rest["atoms"]] == [f"plain{number}" for number in range(6)]
    assert rest["next_after"] is None
    named = north.get(f"{API}/{finished}/atoms", params={"id": ["plain5", "nobody", "plain0"]}).json()
    assert [row["atom_id"] for row in named["atoms"]] == ["plain5", "plain0"]


def test_an_atom_and_its_attempts_show_prompt_code_and_verdict(north, finished, failed):
    atom = north.get(f"{API}/{finished}/atoms/plain3").json()
    assert (atom["status"], atom["attempts"]) == ("succeeded", 1)
    (attempt,) = north.get(f"{API}/{finished}/atoms/plain3/attempts").json()["attempts"]
    assert attempt["passed"]
    assert "def plain3() -> int" in attempt["prompt"]
    assert attempt["code"].strip() == "def plain3() -> int:\n    return 3"
    tries = north.get(f"{API}/{failed}/atoms/{WRONG}0/attempts").json()["attempts"]
    assert [attempt["passed"] for attempt in tries] == [False] * len(tries)
    assert len(tries) > 1
    assert tries[0]["issues"][0]["message"]
    assert "404" in tries[1]["prompt"], "the second attempt is told of the first"


def test_metrics_of_an_execution_and_of_the_engine_agree_with_its_state(north, finished):
    state, figures = north.get(f"{API}/{finished}").json(), north.get(f"{API}/{finished}/metrics").json()
    assert (figures["atoms_succeeded"], figures["precision_percent"], figures["attempts"]) == (6, 100.0, 6)
    assert figures["total_cost_usd"] == pytest.approx(state["total_cost_usd"])
    assert figures["cost_per_succeeded_atom_usd"] == pytest.approx(state["total_cost_usd"] / 6)
    text = north.get("/metrics").text
    assert "v2_atoms_succeeded_total" in text


def test_health_needs_no_token_and_metrics_do(service, north):
    with service.client(token="none") as nobody:
        assert nobody.get("/healthz").json() == {"status": "alive"}
        assert nobody.get("/readyz").json() == {"status": "ready"}
        assert nobody.get("/metrics").status_code == 401
    assert north.get(f"{API}/concurrency").json()["throttles"]


def test_the_example_of_the_document_starts_when_it_is_posted(north):
    document = north.get("/openapi.json").json()
    example = document["components"]["schemas"]["StartExecutionRequest"]["examples"][0]
    execution_id = started(north, example)
    assert until(north, execution_id, ended)["status"] == "completed"


def test_a_paused_execution_dispatches_nothing_until_it_is_resumed(service, north):
    execution_id = started(north, numbered("slow", 12, max_concurrency=2))
    until(north, execution_id, lambda state: state["atoms_succeeded"])
    paused = north.post(f"{API}/{execution_id}/pause", json={"reason": "lunch"}).json()
    assert (paused["status"], paused["reason"]) == ("paused", "lunch")
    until(north, execution_id, lambda state: not state["atoms_in_flight"])
    bought = service.bought("slow")
    assert north.post(f"{API}/{execution_id}/pause").json()["status"] == "paused", "twice changes nothing"
    time.sleep(1)
    assert service.bought("slow") == bought
    wider = north.post(f"{API}/{execution_id}/concurrency", json={"limit": 8})
    assert wider.status_code == 200, wider.text
    assert north.post(f"{API}/{execution_id}/resume").json()["status"] == "running"
    assert until(north, execution_id, ended)["atoms_succeeded"] == 12


def test_a_cancelled_execution_cannot_be_resumed(north):
    execution_id = started(north, numbered("slow", 8, max_concurrency=1))
    assert north.post(f"{API}/{execution_id}/cancel", json={"reason": "wrong plan"}).json()["status"] == "cancelled"
    refused = north.post(f"{API}/{execution_id}/resume")
    assert (refused.status_code, refused.json()["title"]) == (400, "bad state")
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_failed_atom_that_is_retried_is_asked_for_again(service, north):
    execution_id = started(north, numbered(WRONG, 1))
    until(north, execution_id, ended)
    bought = service.bought(f"{WRONG}0")[f"{WRONG}0"]
    assert north.post(f"{API}/{execution_id}/retry", json={"atom_ids": [f"{WRONG}0"]}).json()["status"] == "paused"
    north.post(f"{API}/{execution_id}/resume")
    assert until(north, execution_id, ended)["status"] == "failed"
    assert service.bought(f"{WRONG}0")[f"{WRONG}0"] > bought


def test_budget_and_edit_change_the_execution_and_leave_rows_in_the_audit(service, north):
    execution_id = started(north, numbered(WRONG, 1))
    until(north, execution_id, ended)
    refused = north.post(
        f"{API}/{execution_id}/atoms/{WRONG}0/edit", json={"code": "def wrong0() -> int:\n    return 7"}
    )
    assert (refused.status_code, refused.json()["title"]) == (400, "code refused")
    code = "def wrong0() -> int:\n    return 0\n"
    edited = north.post(f"{API}/{execution_id}/atoms/{WRONG}0/edit", json={"code": code})
    assert edited.status_code == 200, edited.text
    raised = north.post(f"{API}/{execution_id}/budget", json={"limit_usd": 7.5, "reason": "it is worth it"})
    assert raised.json()["budget_usd"] == 7.5
    approved = north.post(f"{API}/{execution_id}/atoms/{WRONG}0/approve", json={"note": "read it"})
    assert approved.status_code == 200, approved.text
    north.post(f"{API}/{execution_id}/resume")
    assert until(north, execution_id, ended)["status"] == "completed"
    acts = read_audit(service.db, execution_id=UUID(execution_id))
    assert [act.verb for act in reversed(acts)] == ["edit", "budget", "approve"]
    assert {act.tenant for act in acts} == {"north"}
    assert acts[1].details == {"limit_usd": 7.5, "reason": "it is worth it"}
    assert code not in json.dumps([act.details for act in acts])


def test_the_list_s_cursor_walks_all_executions_of_the_tenant_once(service):
    client = service.client("walker", "operator")
    ids = [started(client, numbered("plain", 1)) for _ in range(5)]
    walked, cursor = [], None
    while True:
        page = client.get(API, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        walked += [one["execution"]["execution_id"] for one in page["executions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert walked == ids[::-1]
    assert client.get(API, params={"cursor": "bm9uZQ"}).status_code == 400


def test_output_is_partial_while_running_and_passes_its_tests_at_the_end(north, tmp_path):
    execution_id = started(north, numbered("plain", 8, 2, max_concurrency=2))
    until(north, execution_id, lambda state: state["atoms_succeeded"] >= 1)
    early = north.get(f"{API}/{execution_id}/output")
    with zipfile.ZipFile(io.BytesIO(early.content)) as archive:
        assert early.headers["x-project-partial"] == "true"
        assert "plain7" in archive.read("PARTIAL.md").decode()
    until(north, execution_id, ended)
    whole = north.get(f"{API}/{execution_id}/output")
    assert whole.headers["content-disposition"] == 'attachment; filename="plain.zip"'
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert "PARTIAL.md" not in archive.namelist()
        archive.extractall(tmp_path)
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "tests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "8 passed" in tests.stdout, tests.stdout


def test_the_same_key_and_body_are_one_execution_and_another_body_is_a_conflict(north):
    body = numbered("plain", 2)
    first = started(north, body, **{"Idempotency-Key": "monday"})
    assert started(north, body, **{"Idempotency-Key": "monday"}) == first
    other = north.post(f"{API}/start", json=body | {"name": "other"}, headers={"Idempotency-Key": "monday"})
    assert (other.status_code, other.json()["title"]) == (409, "key used")
    until(north, first, ended)
    assert started(north, body, **{"Idempotency-Key": "monday"}) == first, "also when it has ended"


def test_starts_at_once_with_one_key_are_one_execution(service):
    tenant = service.client("hasty", "operator")
    body, ids = numbered("plain", 2), []
    clients = [service.client("hasty", "operator") for _ in range(6)]

    def start(client):
        ids.append(started(client, body, **{"Idempotency-Key": "now"}))

    threads = [threading.Thread(target=start, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1
    assert len(tenant.get(API).json()["executions"]) == 1


def test_clients_that_go_away_at_once_do_not_undo_their_starts(service):
    """Each says all that it has to say and is gone before anybody can have answered."""
    body = json.dumps(numbered("left", 2)).encode()
    place = urlsplit(service.url)
    head = (
        f"POST {API}/start HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {service.token('leaver')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(LEAVERS):
        with socket.create_connection((place.hostname, place.port)) as sock:
            sock.sendall(head.encode() + body)
    client = service.client("leaver")
    deadline = time.monotonic() + 30
    while len(found := client.get(API).json()["executions"]) < LEAVERS:
        assert time.monotonic() < deadline, f"of {LEAVERS} starts, {LEAVERS - len(found)} were lost"
        time.sleep(0.1)
    for one in found:
        state = until(client, one["execution"]["execution_id"], ended)
        assert (state["status"], state["atoms_succeeded"]) == ("completed", 2)


def test_events_are_paged_as_json_and_carry_no_code(north, finished):
    pages, after = [], 0
    while page := north.get(f"{API}/{finished}/events", params={"after": after, "limit": 7}).json():
        if not page["events"]:
            break
        pages += page["events"]
        after = page["next_after"]
    assert [event["seq"] for event in pages] == list(range(1, len(pages) + 1))
    assert {event["kind"] for event in pages} >= {"execution_started", "generation_arrived", "atom_executed"}
    assert "return 3" not in json.dumps(pages)


def test_a_stream_that_is_broken_and_taken_up_again_has_every_event_once(north):
    execution_id = started(north, numbered("slow", 10, 2, max_concurrency=2))
    seen: list[int] = []
    kinds: list[str] = []
    while "end" not in kinds:
        for taken, frame in enumerate(stream(north, execution_id, seen[-1] if seen else None), start=1):
            kinds.append(frame.kind)
            seen += [] if frame.number is None else [frame.number]
            if taken == 9:
                break  # and the connection with it
    journalled = north.get(f"{API}/{execution_id}/events", params={"limit": 1000}).json()["events"]
    assert seen == [event["seq"] for event in journalled] == list(range(1, len(journalled) + 1))
    assert {"state", "end"} <= set(kinds)


def test_a_stream_of_what_has_ended_is_told_whole_and_closed(north, finished):
    frames = list(stream(north, finished))
    assert frames[-1].kind == "end"
    assert [frame.number for frame in frames if frame.number] == list(range(1, frames[-1 - 2].number + 1))
    assert [frame.data["status"] for frame in frames if frame.kind == "state"] == ["completed"]
    late = [frame for frame in stream(north, finished, after=10**9) if frame.number]
    assert late == []
