"""The app over the library engine in this process: limits, tokens, problems and streams, fast and exact."""

from __future__ import annotations

import asyncio
import base64
import json
from uuid import UUID

import httpx2
import pytest

from mge_ray.api.app import create_app
from mge_ray.api.auth import Buckets
from mge_ray.api.cursors import read_cursor, written_cursor
from mge_ray.api.feed import EventFeed
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.problems import ProblemError
from mge_ray.api.schemas import EXAMPLE_START, StartSettings
from mge_ray.domain.access import Caller, Role
from mge_ray.domain.errors import EngineUnavailableError
from mge_ray.execution.ports import JournalUnavailableError
from mge_ray.pipeline.wire import on_the_wire
from tests.api.library import KeptStarts, KnownTokens, LibraryExecutions
from tests.builders import EXECUTION_ID, many, plan
from tests.engines import until
from tests.fakes.llm import ScriptedClient

API = "/api/v2/execution"
FAST = ServiceLimits(stream_poll_s=0.01, stream_heartbeat_s=0.05)
TOKENS = {role.value: Caller("north", role, f"the {role.value}", f"id of {role.value}") for role in Role}


def client_of(executions, tokens=None, limits=FAST):
    app = create_app(executions, KeptStarts(), tokens=tokens, version="1", limits=limits)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://x", headers={"Authorization": "Bearer admin"})


async def begin(executions, masterplan, tenant="") -> UUID:
    return await executions.start(masterplan, StartSettings(), tenant=tenant, execution_id=EXECUTION_ID)


async def ended(executions) -> None:
    await until(lambda: executions.engine.machine(EXECUTION_ID).status.ended)


async def frames_of(feed, after=0) -> list[str]:
    text = b"".join([chunk async for chunk in feed.stream(EXECUTION_ID, after)]).decode()
    return text.split("\n\n")[:-1]


def numbers(frames) -> list[int]:
    return [int(frame.partition("\n")[0].removeprefix("id: ")) for frame in frames if frame.startswith("id: ")]


def test_a_bucket_gives_its_burst_then_what_it_refills_and_forgets_the_oldest_names():
    now = 0.0
    buckets = Buckets(2.0, 3, 2, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    now = 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") == 0.5
    buckets.take("b")
    buckets.take("c")
    assert buckets.take("a") == 0.0, "forgotten, so full again"


def test_a_cursor_is_read_as_it_was_written_and_nothing_else_is_one():
    place = (1_795_610_469.0445344, EXECUTION_ID)
    assert read_cursor(written_cursor(*place)) == place
    wrong = [
        "",
        "x",
        "%%%",
        "bnVsbA",
        *(
            base64.urlsafe_b64encode(text.encode()).decode()
            for text in (
                "[1]",
                "[1, 2]",
                '[NaN, "00000000-0000-0000-0000-000000000007"]',
                '["1e999", "00000000-0000-0000-0000-000000000007"]',
                "{}",
                "[" * 150,
            )
        ),
    ]
    for text in wrong:
        with pytest.raises(ProblemError) as refused:
            read_cursor(text)
        assert refused.value.status == 400


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_the_bound_is_refused_and_one_within_it_is_read(announced):
    executions = LibraryExecutions()
    async with client_of(executions, limits=ServiceLimits(body_bytes=2_000)) as client:

        async def parts():
            for _ in range(30):
                yield b" " * 100

        body = b" " * 3_000 if announced else parts()
        answer = await client.post(f"{API}/start", content=body)
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert (await client.post(f"{API}/start", content=b" " * 1_999)).status_code == 400
        assert (await client.post(f"{API}/start", json=EXAMPLE_START)).status_code == 202


async def test_each_token_has_a_bucket_and_is_believed_for_a_while():
    tokens = KnownTokens(**TOKENS)
    limits = ServiceLimits(requests_per_second=0.001, burst=3)
    async with client_of(LibraryExecutions(), tokens, limits) as client:
        codes = [(await client.get(API)).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        answer = await client.get(API)
        assert int(answer.headers["retry-after"]) > 0
        other = await client.get(API, headers={"Authorization": "Bearer viewer"})
        assert other.status_code == 200
        assert tokens.asked == 2, "one look-up a token while it is believed"


async def test_a_token_that_many_use_at_once_is_looked_up_once():
    tokens = KnownTokens(**TOKENS)
    async with client_of(LibraryExecutions(), tokens) as client:
        answers = await asyncio.gather(*(client.get(API) for _ in range(5)))
    assert ([answer.status_code for answer in answers], tokens.asked) == ([200] * 5, 1)


@pytest.mark.parametrize("role", Role)
async def test_each_token_is_told_who_it_is_and_no_other(role):
    async with client_of(LibraryExecutions(), KnownTokens(**TOKENS)) as client:
        answer = await client.get(f"{API}/whoami", headers={"Authorization": f"Bearer {role.value}"})
        assert answer.json() == {"name": f"the {role.value}", "tenant": "north", "role": role.value}
        unknown = await client.get(f"{API}/whoami", headers={"Authorization": "Bearer else"})
    assert (unknown.status_code, unknown.headers["content-type"]) == (401, "application/problem+json")


async def test_where_no_token_is_asked_for_everybody_is_told_to_be_the_administrator():
    async with client_of(LibraryExecutions()) as client:
        told = (await client.get(f"{API}/whoami")).json()
    assert (told["role"], told["tenant"]) == ("admin", "")
    assert "--no-auth" in told["name"]


async def test_acts_by_hand_are_audited_with_who_did_them_and_refused_ones_are_not():
    executions, tokens = LibraryExecutions(), KnownTokens(**TOKENS)
    await begin(executions, plan("a"), "north")
    await ended(executions)
    async with client_of(executions, tokens) as client:
        path = f"{API}/{EXECUTION_ID}/atoms/a"
        assert (await client.post(f"{path}/approve", json={"note": "fine"})).status_code == 200
        assert (await client.post(f"{path}/approve", headers={"Authorization": "Bearer viewer"})).status_code == 403
        assert (await client.post(f"{API}/{EXECUTION_ID}/atoms/b/approve")).status_code == 404
    assert tokens.acts == [("the admin", "approve", {"atom_id": "a", "note": "fine", "despite_failures": False})]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (EngineUnavailableError("the engine is restarting"), "engine-restarting"),
        (JournalUnavailableError("the journal at /srv/secret.db is full"), "journal-away"),
    ],
)
async def test_what_is_away_for_the_moment_is_a_503_that_says_when_and_not_where(error, name):
    executions = LibraryExecutions()
    await begin(executions, plan("a"))
    executions.away = error
    async with client_of(executions) as client:
        for path in ("/readyz", "/metrics", f"{API}/{EXECUTION_ID}"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert answer.json()["type"].endswith(name)
            assert "secret" not in answer.text
        assert (await client.post(f"{API}/start", json=EXAMPLE_START)).status_code == 503


async def test_an_error_of_the_service_s_own_is_a_500_that_tells_nothing():
    executions = LibraryExecutions()
    executions.away = RuntimeError("the password is hunter2")
    async with client_of(executions) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "hunter2" not in answer.text


async def test_the_page_and_its_parts_are_served_with_a_policy():
    async with client_of(LibraryExecutions(), KnownTokens(**TOKENS)) as client:
        page = await client.get("/")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/page/nothing.js")).status_code == 404
        assert (await client.get("/page/..%2fpage.py")).status_code == 404


async def test_views_over_the_library_engine_agree_with_its_state():
    executions = LibraryExecutions()
    await begin(executions, plan("a, b -> c"))
    await ended(executions)
    async with client_of(executions) as client:
        seen = {
            path: (await client.get(f"{API}/{EXECUTION_ID}{path}")).json()
            for path in ("", "/progress", "/metrics", "/atoms", "/atoms/a", "/atoms/a/attempts", "/waves/1", "/events")
        }
        assert (await client.get(f"{API}/{EXECUTION_ID}/output")).headers["x-project-partial"] == "false"
        assert (await client.get(f"{API}/concurrency")).status_code == 200
    assert seen[""]["status"] == "completed"
    assert seen["/progress"]["execution"] == seen[""] | {"total_time_seconds": pytest.approx(0, abs=60)}
    assert seen["/metrics"]["atoms_succeeded"] == 3
    assert [row["atom_id"] for row in seen["/atoms"]["atoms"]] == ["a", "b", "c"]
    assert len(seen["/atoms/a/attempts"]["attempts"]) == 1
    assert seen["/events"]["events"][0]["kind"] == "execution_started"


async def test_every_verb_reaches_the_engine():
    model = ScriptedClient()
    model.gate.clear()
    executions = LibraryExecutions(model)
    async with client_of(executions) as client:
        start = await client.post(f"{API}/start", json=EXAMPLE_START, headers={"Idempotency-Key": "k"})
        assert start.headers["location"] == start.json()["status_url"]
        path = start.json()["status_url"]
        again = await client.post(f"{API}/start", json=EXAMPLE_START, headers={"Idempotency-Key": "k"})
        assert again.json() == start.json()
        other = await client.post(f"{API}/start", json=EXAMPLE_START | {"name": "x"}, headers={"Idempotency-Key": "k"})
        assert other.status_code == 409
        verbs = {
            "concurrency": {"limit": 3},
            "pause": {"now": True},
            "retry": {},
            "resume": None,
            "cancel": None,
        }
        codes = {verb: (await client.post(f"{path}/{verb}", json=body)).status_code for verb, body in verbs.items()}
        assert codes == {"concurrency": 200, "pause": 200, "retry": 400, "resume": 200, "cancel": 200}
        assert (await client.post(f"{path}/atoms/double/edit", json={"code": "x = 1"})).status_code == 400
        assert len((await client.get(API)).json()["executions"]) == 1


async def test_events_carry_neither_code_nor_prompts():
    code = "the_code_itself = 1\n"
    executions = LibraryExecutions(ScriptedClient(default=code))
    await begin(executions, plan("a, a -> b"))
    await ended(executions)
    kept = executions.journal.events_of(EXECUTION_ID)
    told = [on_the_wire(seq, event).model_dump_json() for seq, event in enumerate(kept, start=1)]
    assert "the_code_itself" in "".join(map(repr, kept))
    assert "the_code_itself" not in "".join(told)


async def test_many_streams_are_one_reader_and_each_has_every_event_once():
    client = ScriptedClient()
    client.gate.clear()
    executions = LibraryExecutions(client)
    await begin(executions, many(40))
    feed = EventFeed(executions, FAST)
    streams = [asyncio.create_task(frames_of(feed, after)) for after in [0] * 20 + [2] * 20]
    await until(lambda: feed.streams == 40)
    executions.events_read = 0
    client.gate.set()
    told = await asyncio.gather(*streams)
    last = len(executions.journal.events_of(EXECUTION_ID))
    assert last > 100
    for frames in told[:20]:
        assert numbers(frames) == list(range(1, last + 1))
    for frames in told[20:]:
        assert numbers(frames) == list(range(3, last + 1))
    assert {frames[-1].partition("\n")[0] for frames in told} == {"event: end"}
    assert feed.streams == 0


async def test_a_stream_longer_than_a_batch_is_told_whole_without_waiting():
    executions = LibraryExecutions()
    await begin(executions, many(400))
    await ended(executions)
    frames = await asyncio.wait_for(frames_of(EventFeed(executions, ServiceLimits(stream_heartbeat_s=1_000))), 30)
    assert numbers(frames) == list(range(1, len(executions.journal.events_of(EXECUTION_ID)) + 1))


async def test_a_client_that_names_an_event_to_come_spoils_nobody_s_stream():
    client = ScriptedClient()
    client.gate.clear()
    executions = LibraryExecutions(client)
    await begin(executions, many(5))
    feed = EventFeed(executions, FAST)
    ahead = asyncio.create_task(frames_of(feed, 10**9))
    await until(lambda: feed.streams == 1)
    ordinary = asyncio.create_task(frames_of(feed))
    await until(lambda: feed.streams == 2)
    client.gate.set()
    assert numbers(await ordinary) == list(range(1, len(executions.journal.events_of(EXECUTION_ID)) + 1))
    assert numbers(await ahead) == []


async def test_a_stream_outlives_an_engine_that_is_away_and_says_that_it_lives():
    client = ScriptedClient()
    client.gate.clear()
    executions = LibraryExecutions(client)
    await begin(executions, many(5))
    feed = EventFeed(executions, FAST)
    chunks: list[bytes] = []

    async def listen():
        async for chunk in feed.stream(EXECUTION_ID, 0):
            chunks.append(chunk)  # noqa: PERF401  # looked at while they come

    listening = asyncio.create_task(listen())
    await until(lambda: chunks)
    executions.away = EngineUnavailableError("restarting")
    await until(lambda: b": alive\n\n" in chunks)
    executions.away = None
    client.gate.set()
    await listening
    frames = b"".join(chunks).decode().split("\n\n")
    assert numbers(frames) == list(range(1, len(executions.journal.events_of(EXECUTION_ID)) + 1))
    states = [json.loads(frame.partition("data: ")[2]) for frame in frames if frame.startswith("event: state")]
    assert states[-1]["status"] == "completed"


async def test_streams_beyond_the_bound_are_refused():
    client = ScriptedClient()
    client.gate.clear()
    executions = LibraryExecutions(client)
    await begin(executions, many(2))
    app = create_app(executions, KeptStarts(), tokens=None, version="1", limits=ServiceLimits(streams=1))
    headers = {"Accept": "text/event-stream"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://x") as http:
        first = asyncio.create_task(http.get(f"{API}/{EXECUTION_ID}/events", headers=headers))
        answer = None
        while answer is None or answer.status_code != 429:
            one = asyncio.create_task(http.get(f"{API}/{EXECUTION_ID}/events", headers=headers))
            await asyncio.wait([one], timeout=0.2)
            answer = one.result() if one.done() else None
        assert answer.headers["retry-after"] == "10"
        client.gate.set()
        assert "event: end" in (await first).text


async def test_streams_that_begin_together_read_the_past_together():
    executions = LibraryExecutions(ScriptedClient())
    await begin(executions, many(40))
    await ended(executions)

    async def reads(streams: int) -> int:
        executions.events_read = 0
        feed = EventFeed(executions, FAST)
        told = await asyncio.gather(*(frames_of(feed) for _ in range(streams)))
        assert all(numbers(frames) == numbers(told[0]) for frames in told)
        assert len(numbers(told[0])) > 100
        return executions.events_read

    assert await reads(20) == await reads(1)
