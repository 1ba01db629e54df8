"""What the service refuses, with which code, and that nothing is started or told by it."""

from __future__ import annotations

import json
import time
import uuid

import httpx2
import pytest

from mge_ray.adapters.journal.tokens import list_tokens, revoke_token
from mge_ray.client import MgeRayClient
from mge_ray.domain.access import Role
from tests.api.service import API, ended, listening, numbered, started, until

UNKNOWN = "7c9e6679-7425-40de-944b-000000000000"


@pytest.fixture
def cautious(service):
    """A tenant of its own, whose list shows whether anything was started."""
    return service.client(f"cautious-{uuid.uuid4().hex[:8]}", "operator")


def check_problem(answer, status: int, title: str | None = None) -> dict:
    """Look whether an answer is the problem it should be; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert found["detail"]
    assert title is None or found["title"] == title
    return found


def nothing_started(client) -> bool:
    return client.get(API).json()["executions"] == []


def test_without_a_known_token_everything_is_a_401(service):
    for headers in ({}, {"Authorization": "Bearer mge_wrong"}, {"Authorization": "Basic eDp5"}):
        answer = httpx2.get(f"{service.url}{API}", headers=headers)
        check_problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert httpx2.post(f"{service.url}{API}/start", json=numbered("plain", 1)).status_code == 401


def test_expired_and_revoked_tokens_open_nothing(service):
    expired = service.client(token=service.token("north", "admin", expires_at=time.time() - 1))
    check_problem(expired.get(API), 401)
    client = service.client(token=service.token("north", "viewer", name="to be revoked"))
    assert client.get(API).status_code == 200
    (token,) = [one for one in list_tokens(service.db) if one.name == "to be revoked"]
    revoke_token(service.db, token.token_id, by="a test")
    deadline = time.monotonic() + 30
    while 200 in (told := {client.get(API).status_code for _ in range(6)}):  # each replica believes it for a while
        assert time.monotonic() < deadline, "a revoked token is believed for seconds, not for longer"
        time.sleep(1)
    assert told <= {401, 429}, "unknown by now, and tried often"


def test_a_viewer_looks_an_operator_steers_and_an_admin_sets_budgets(service, north):
    viewer, operator = service.client("north", "viewer"), service.client("north", "operator")
    execution_id = started(operator, numbered("plain", 1))
    for role in Role:
        with MgeRayClient(service.url, token=service.token("north", role.value)) as client:
            assert (client.whoami().tenant, client.whoami().role) == ("north", role)
    assert viewer.get(f"{API}/{execution_id}").status_code == 200
    check_problem(viewer.post(f"{API}/start", json=numbered("plain", 1)), 403, "forbidden")
    for verb in ("pause", "resume", "cancel", "retry"):
        check_problem(viewer.post(f"{API}/{execution_id}/{verb}"), 403)
    wish = {"limit_usd": 9, "reason": "a test"}
    check_problem(operator.post(f"{API}/{execution_id}/budget", json=wish), 403)
    assert north.post(f"{API}/{execution_id}/budget", json=wish).status_code == 200


def test_another_tenant_s_execution_is_told_like_one_that_does_not_exist(service, north):
    execution_id = started(north, numbered("plain", 1))
    south = service.client("south", "admin")
    paths = ("", "/progress", "/waves/1", "/metrics", "/atoms", "/atoms/plain0", "/atoms/plain0/attempts", "/output")
    for path in (*paths, "/events"):
        theirs = check_problem(south.get(f"{API}/{execution_id}{path}"), 404, "unknown")
        nobodys = check_problem(south.get(f"{API}/{UNKNOWN}{path}"), 404, "unknown")
        assert theirs["detail"].replace(execution_id, UNKNOWN) == nobodys["detail"]
        assert "journal" not in nobodys["detail"]
    for verb in ("pause", "resume", "cancel", "retry", "atoms/plain0/approve"):
        check_problem(south.post(f"{API}/{execution_id}/{verb}"), 404)
    check_problem(south.post(f"{API}/{execution_id}/budget", json={"limit_usd": 0, "reason": "mine now"}), 404)
    assert nothing_started(south)
    assert until(north, execution_id, ended)["status"] == "completed"


def test_waves_and_atoms_that_are_not_there_are_404(north):
    execution_id = started(north, numbered("plain", 1))
    for path in ("waves/2", "waves/99999999999999999999", "atoms/nobody", "atoms/nobody/attempts", "atoms/%00"):
        check_problem(north.get(f"{API}/{execution_id}/{path}"), 404, "unknown")
    check_problem(north.get(f"{API}/nonsense/status/at/all"), 404)
    answer = check_problem(north.post(f"{API}/{execution_id}/atoms/nobody/approve"), 404)
    assert "nobody" in answer["detail"]


def test_a_body_of_50_megabytes_is_a_413_however_it_is_sent(cautious):
    size = 50 << 20
    check_problem(cautious.post(f"{API}/start", content=b" " * size), 413, "too large")

    def unannounced():
        for _ in range(size >> 16):
            yield b" " * (1 << 16)

    check_problem(cautious.post(f"{API}/start", content=unannounced()), 413, "too large")
    assert nothing_started(cautious)


def test_a_million_atoms_are_refused_before_anything_is_started(cautious):
    body = b'{"atoms":{' + b",".join(b'"a%d":{}' % number for number in range(1_000_000)) + b"}}"
    assert len(body) < 32 << 20, "else it is too large before it is too many"
    found = check_problem(cautious.post(f"{API}/start", content=body), 400, "bad plan")
    assert "1000000 atoms" in found["detail"]
    assert nothing_started(cautious)


@pytest.mark.parametrize("path", ["../x.py", "/etc/passwd", "a/../../x.py", "a\u0000.py", "tests/../../../x"])
def test_files_that_lead_out_of_the_project_are_a_400(cautious, path):
    body = numbered("plain", 1)
    check_problem(cautious.post(f"{API}/start", json=body | {"files": body["files"] | {path: ""}}), 400, "bad plan")
    body["atoms"]["plain0"]["file"] = path
    check_problem(cautious.post(f"{API}/start", json=body), 400, "bad plan")
    assert nothing_started(cautious)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"atoms": ' + b"9" * 5_000 + b"}", 400),
        (b"[]", 422),
        (b'{"atoms": {}, "surprise": 1}', 422),
        (b'{"atoms": {}, "settings": {"budget_usd": NaN}}', 422),
        (b'{"atoms": {}, "settings": {"max_concurrency": 0}}', 422),
        (b'{"atoms": {}, "name": "\\ud800"}', 422),
        (b'{"atoms": {}}', 400),
        (b'{"atoms": {"a": {"file": NaN}}}', 400),
        (b'{"atoms": {"a": {"id": "b", "file": "x.py", "symbol": "f"}}}', 400),
    ],
)
def test_a_start_that_makes_no_sense_is_told_so_and_starts_nothing(cautious, body, status):
    check_problem(cautious.post(f"{API}/start", content=body), status)
    assert nothing_started(cautious)


def test_a_model_without_a_price_and_a_budget_without_a_call_are_400(cautious):
    check_problem(cautious.post(f"{API}/start", json=numbered("plain", 1, model="gpt-none")), 400, "unknown price")
    check_problem(cautious.post(f"{API}/start", json=numbered("plain", 1, budget_usd=0.000001)), 400, "budget")
    assert nothing_started(cautious)


@pytest.mark.parametrize(
    "path",
    [
        "?limit=0",
        "?limit=x",
        "?cursor=" + "x" * 300,
        "/not-an-id",
        f"/{UNKNOWN}/waves/0",
        f"/{UNKNOWN}/events?after=-1",
    ],
)
def test_requests_of_a_wrong_form_are_422_and_say_where(north, path):
    assert check_problem(north.get(f"{API}{path}"), 422, "invalid request")["errors"][0]["loc"]


def test_keys_and_event_ids_that_cannot_be_are_refused(cautious):
    body = json.dumps(numbered("plain", 1))
    for key in ("k" * 256, b"caf\xe9"):
        check_problem(cautious.post(f"{API}/start", content=body, headers={"Idempotency-Key": key}), 422)
    assert nothing_started(cautious)
    execution_id = started(cautious, numbered("plain", 1))
    for last in ("-1", "x", "\u00b2".encode()):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
        check_problem(cautious.get(f"{API}/{execution_id}/events", headers=headers), 400)


def test_methods_that_a_path_does_not_have_are_405(north):
    answer = north.delete(f"{API}/start")
    check_problem(answer, 405)
    assert "POST" in answer.headers["allow"]


def test_who_tries_tokens_has_to_wait_and_nobody_else(service, north):
    """From an address of its own: others on this machine do not wait for it, not even with wrong tokens."""
    with httpx2.Client(base_url=service.url, transport=httpx2.HTTPTransport(local_address="127.0.0.9")) as guesser:
        for guess in range(200):
            answer = guesser.get(API, headers={"Authorization": f"Bearer mge_{guess}"})
            if answer.status_code != 401:
                break
        check_problem(answer, 429, "too many requests")
        assert int(answer.headers["retry-after"]) >= 1
    assert north.get(API).status_code == 200
    assert httpx2.get(f"{service.url}{API}").status_code == 401
    assert httpx2.get(f"{service.url}{API}", headers={"Authorization": "Bearer mge_x"}).status_code == 401


def test_what_stands_in_front_of_the_replicas_listens_on_loopback_only(service):
    (haproxy,) = service.processes("haproxy")
    assert listening(haproxy) == {"0100007F"}, "127.0.0.1, also with its statistics and metrics"
