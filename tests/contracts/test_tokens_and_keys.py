"""Tokens, idempotency keys and the audit, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from uuid import uuid4

import pytest
from sqlalchemy import text

from mge_ray.adapters.journal import (
    AuditEntry,
    IdempotencyKeyError,
    UnknownTokenError,
    claim,
    create_token,
    find_token,
    list_tokens,
    prune,
    put_audit,
    read_audit,
    revoke_token,
    upgrade,
)
from mge_ray.adapters.journal.database import reading
from mge_ray.domain.access import Role, TenantError

DAY_S = 86_400.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    made = server.url if server else f"sqlite:///{tmp_path / 'journal.db'}"
    upgrade(made)
    return made


@pytest.fixture
def tenant():
    return f"t{uuid4().hex}"


def test_a_token_is_found_by_what_was_told_and_by_nothing_else(url, tenant):
    secret, made = create_token(url, tenant=tenant, role=Role.OPERATOR, by="ann", name="ci é 🧾", now=1.0)
    create_token(url, tenant=tenant, role=Role.VIEWER, by="ann")
    assert find_token(url, secret) == made
    assert (made.tenant, made.role, made.name, made.created_at) == (tenant, Role.OPERATOR, "ci é 🧾", 1.0)
    assert secret.startswith("mge_")
    assert len(secret) >= 47
    for other in (secret[:-1], secret + "a", secret.swapcase(), "", "mge_", "mge_é", "mge_" + "a" * 10**6, "\0"):
        assert find_token(url, other) is None


def test_a_token_itself_is_not_in_the_database(url, tenant):
    secret, made = create_token(url, tenant=tenant, role=Role.ADMIN, by="ann")
    with reading(url) as connection:
        rows = connection.execute(text("SELECT * FROM api_tokens WHERE tenant = :t"), {"t": tenant}).all()
        acts = connection.execute(text("SELECT * FROM audit WHERE tenant = :t"), {"t": tenant}).all()
    (row,) = rows
    assert (row.token_id, row.hash) == (made.token_id, hashlib.sha256(secret.encode()).hexdigest())
    assert secret.removeprefix("mge_") not in f"{rows}{acts}"


def test_a_token_opens_nothing_from_the_moment_it_expires(url, tenant):
    secret, made = create_token(url, tenant=tenant, role=Role.VIEWER, by="ann", expires_at=100.0, now=1.0)
    assert find_token(url, secret, now=99.9) == made
    assert find_token(url, secret, now=100.0) is None


def test_a_revoked_token_opens_nothing_and_is_still_listed(url, tenant):
    secret, made = create_token(url, tenant=tenant, role=Role.VIEWER, by="ann", now=1.0)
    assert revoke_token(url, made.token_id, by="bob", now=5.0).revoked_at == 5.0
    assert revoke_token(url, made.token_id, by="eve", now=9.0).revoked_at == 5.0
    assert find_token(url, secret) is None
    assert [(one.token_id, one.revoked_at) for one in list_tokens(url, tenant)] == [(made.token_id, 5.0)]
    acts = [(one.verb, one.who, one.at, one.details["token_id"]) for one in read_audit(url, tenant=tenant)]
    assert acts == [("token revoke", "bob", 5.0, made.token_id), ("token create", "ann", 1.0, made.token_id)]


def test_somebody_elses_token_is_unknown(url, tenant):
    _, made = create_token(url, tenant=tenant, role=Role.VIEWER, by="ann")
    for token_id, of in ((made.token_id, "another"), ("nothing", None)):
        with pytest.raises(UnknownTokenError):
            revoke_token(url, token_id, by="eve", tenant=of)
    assert list_tokens(url, "another") == []
    assert list_tokens(url, tenant) == [made]
    assert made in list_tokens(url)


def test_a_token_has_a_tenant_that_can_be_one(url):
    for name in ("no spaces", "-", "a" * 65, "a\n"):
        with pytest.raises(TenantError):
            create_token(url, tenant=name, role=Role.VIEWER, by="ann")


def test_each_role_includes_those_before_it():
    assert [[one for one in Role if role.includes(one)] for role in Role] == [
        [Role.VIEWER],
        [Role.VIEWER, Role.OPERATOR],
        list(Role),
    ]


def test_a_key_gives_the_execution_it_was_first_claimed_for(url, tenant):
    first, second = uuid4(), uuid4()
    assert claim(url, tenant, "key", "hash", first, 1.0) == (first, True)
    assert claim(url, tenant, "key", "hash", second, 2.0) == (first, True)
    assert claim(url, tenant, "key", "another body", second, 3.0) == (first, False)
    assert claim(url, f"{tenant}x", "key", "another body", second, 3.0) == (second, True)
    assert claim(url, tenant, "KEY", "hash", second, 3.0) == (second, True)


def test_of_those_who_claim_a_key_at_once_one_gets_it_and_all_are_told(url, tenant):
    ids = [uuid4() for _ in range(12)]
    with ThreadPoolExecutor(len(ids)) as pool:
        given = list(pool.map(lambda one: claim(url, tenant, "key", "hash", one, 1.0), ids))
    assert len(set(given)) == 1
    assert given[0][0] in ids
    assert given[0][1]


@pytest.mark.parametrize("key", ["", "a" * 256, "a\0b", "é", "two\nlines"])
def test_a_key_that_cannot_be_kept_is_refused(url, key):
    with pytest.raises(IdempotencyKeyError):
        claim(url, "t", key, "hash", uuid4(), 1.0)


def test_old_keys_are_pruned_and_young_ones_stay(url, tenant):
    old, young, later = uuid4(), uuid4(), uuid4()
    claim(url, tenant, "old", "hash", old, 0.0)
    claim(url, tenant, "young", "hash", young, 2 * DAY_S)
    assert prune(url, older_than_days=1, now=2.5 * DAY_S).keys >= 1
    assert claim(url, tenant, "old", "hash", later, 3 * DAY_S) == (later, True)
    assert claim(url, tenant, "young", "hash", later, 3 * DAY_S) == (young, True)


def test_acts_are_read_as_they_were_put_latest_first(url, tenant):
    one = AuditEntry("edit", "ann \0\ud83d", tenant, uuid4(), {"reason": "é 🧾 \0", "limit_usd": 0.1 + 0.2}, at=1.0)
    other = AuditEntry("budget", "a" * 500, tenant, uuid4(), at=2.0)
    put_audit(url, one)
    put_audit(url, other)
    put_audit(url, AuditEntry("approve", "bob", "another", one.execution_id, at=3.0))
    kept = [asdict(other) | {"who": "a" * 200}, asdict(one) | {"who": "ann \N{REPLACEMENT CHARACTER}"}]
    assert [asdict(entry) for entry in read_audit(url, tenant=tenant)] == kept
    assert [entry.verb for entry in read_audit(url, execution_id=one.execution_id)] == ["approve", "edit"]
    assert [entry.verb for entry in read_audit(url, tenant=tenant, limit=1)] == ["budget"]
