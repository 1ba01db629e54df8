"""One suite for every store of accepted code: in memory, on SQLite, on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from mge_ray.adapters.journal import SqlReuseStore, clear_kept, kept_by_plan
from mge_ray.adapters.journal.reuse_store import DAY_S, MAX_CODE_BYTES
from mge_ray.domain.errors import MgeRayError
from mge_ray.execution.memory_reuse import MemoryReuseStore
from mge_ray.execution.ports import JournalUnavailableError, KeptCode
from tests.fakes.clock import ManualClock

NASTY = "s = 'quote \" \\ \r\n\u2028 emoji 🧾 %s :x {}'\n"


def kept(key: str = "", **fields) -> KeptCode:
    return KeptCode(
        **{"key": key or uuid4().hex * 2, "atom_id": "a", "code": "x = 1\n", "source": str(uuid4()), **fields}
    )


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def opened(request, tmp_path):
    """A store and its URL; None in memory."""
    if request.param == "memory":
        yield MemoryReuseStore(), None
        return
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    url = server.url if server else f"sqlite:///{tmp_path / 'journal.db'}"
    store = SqlReuseStore(url)
    yield store, url
    store.close()


@pytest.fixture
def store(opened):
    return opened[0]


async def test_what_is_kept_is_found_as_it_was(store):
    one = kept(code=NASTY, plan_name="ledger é 🧾", cost_usd=0.1 + 0.2, by="Ada 🧾")
    await store.keep([one, kept()])
    assert await store.find([one.key, "absent"]) == {one.key: one}


async def test_nothing_asked_is_nothing_found(store):
    await store.keep([])
    await store.drop([])
    assert await store.find([]) == {}


async def test_newer_code_takes_the_place_of_older(store):
    one = kept()
    await store.keep([one])
    await store.keep([replace(one, code="x = 2\n", cost_usd=3.0)])
    assert (await store.find([one.key]))[one.key] == replace(one, code="x = 2\n", cost_usd=3.0)


async def test_only_the_very_code_is_dropped(store):
    one, two = kept(), kept()
    await store.keep([one, two])
    await store.drop([(one.key, one.code), (two.key, "other code\n"), ("absent", "")])
    assert set(await store.find([one.key, two.key])) == {two.key}


async def test_thousands_of_keys_are_found_at_once(store):
    many = [kept() for _ in range(1_200)]
    await store.keep(many)
    assert len(await store.find([one.key for one in many])) == 1_200


# ---- in a database ---------------------------------------------------------------------------------------------------


def sqlite(tmp_path, **options):
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    return SqlReuseStore(url, **options), url


async def test_code_that_was_not_used_for_its_time_is_gone_and_used_code_stays(tmp_path):
    clock = ManualClock()
    store, url = sqlite(tmp_path, ttl_s=30 * DAY_S, clock=clock.now)
    old, used = kept(), kept()
    await store.keep([old, used])
    clock.advance(20 * DAY_S)
    assert set(await store.find([used.key])) == {used.key}
    clock.advance(20 * DAY_S)
    assert set(await store.find([old.key, used.key])) == {used.key}
    store.close()
    again = SqlReuseStore(url, clock=clock.now)
    await again.keep([kept()])
    again.close()
    assert [one.entries for one in kept_by_plan(url)] == [2], "a new process prunes with its first write"


async def test_beyond_the_size_the_code_used_least_recently_goes(tmp_path):
    clock = ManualClock()
    store, url = sqlite(tmp_path, max_bytes=2_500, clock=clock.now)
    listed = [kept() for _ in range(8)]
    for one in listed:
        clock.advance(1.0)
        await store.keep([one])
        await store.find([listed[0].key])
    found = await store.find([one.key for one in listed])
    store.close()
    assert listed[0].key in found
    assert listed[-1].key in found
    assert listed[1].key not in found
    assert kept_by_plan(url)[0].size_bytes <= 2_500


async def test_code_of_many_megabytes_is_not_kept(tmp_path):
    store, _ = sqlite(tmp_path)
    one = kept(code="x" * (MAX_CODE_BYTES + 1))
    await store.keep([one])
    assert await store.find([one.key]) == {}
    store.close()


async def test_people_see_and_clear_what_is_kept(opened):
    store, url = opened
    if url is None:
        return
    for name in ("ledger", "other"):
        await store.keep([kept(plan_name=name, cost_usd=0.5), kept(plan_name=name, cost_usd=0.25)])
    seen = {one.plan_name: one for one in kept_by_plan(url)}
    assert (seen["ledger"].entries, seen["ledger"].worth_usd) == (2, 0.75)
    assert seen["ledger"].size_bytes > 0
    assert clear_kept(url, plan_name="ledger") == 2
    assert clear_kept(url, unused_since=1.0) == 0
    assert clear_kept(url, unused_since=1e12, plan_name="other") == 2
    await store.keep([kept()])
    assert clear_kept(url) >= 1
    assert kept_by_plan(url) == []


def test_clearing_makes_no_database(tmp_path):
    with pytest.raises(MgeRayError, match="no executions yet"):
        clear_kept(f"sqlite:///{tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


async def test_damaged_code_is_not_found(tmp_path):
    import sqlite3  # noqa: PLC0415  # this test alone breaks a row

    store, _ = sqlite(tmp_path)
    one, two = kept(), kept()
    await store.keep([one, two])
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("UPDATE accepted_code SET code = x'00' WHERE key = ?", (one.key,))
        connection.execute("UPDATE accepted_code SET code = substr(code, 1, 5) WHERE key = ?", (two.key,))
    assert await store.find([one.key, two.key]) == {}
    store.close()


async def test_a_database_that_is_no_database_is_told_in_one_line(tmp_path):
    (tmp_path / "journal.db").write_text("something else, long enough to be no empty file" * 30)
    store, _ = sqlite(tmp_path)
    with pytest.raises(JournalUnavailableError, match="not a database"):
        await store.find(["a"])
    store.close()
