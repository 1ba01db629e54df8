"""`mge-ray token`: made once, shown once, listed without it, revoked."""

from __future__ import annotations

import pytest

from mge_ray.adapters.journal import default_url, find_token, read_audit
from mge_ray.domain.access import Role


def test_a_token_is_made_listed_and_revoked(cli, tmp_path):
    made = cli("token", "create", "--tenant", "acme", "--role", "operator", "--name", "ci", "--expires", "30d")
    assert made.code == 0, made.err
    secret, url = made.out.strip(), default_url(tmp_path)
    token = find_token(url, secret)
    assert (token.tenant, token.role, token.name) == ("acme", Role.OPERATOR, "ci")
    assert token.expires_at - token.created_at == pytest.approx(30 * 86_400)
    listed = cli("token", "list")
    assert (token.token_id in listed.out, secret in listed.out) == (True, False)
    assert "revoked" in cli("token", "revoke", token.token_id).out
    assert find_token(url, secret) is None
    assert [one["revoked_at"] is None for one in cli("token", "list", "--tenant", "acme", "--json").json] == [False]
    assert [act.verb for act in read_audit(url)] == ["token revoke", "token create"]


def test_a_token_for_machines_is_one_object(cli):
    made = cli("token", "create", "--tenant", "acme", "--role", "viewer", "--json").json
    assert made["token"].startswith("mge_")
    assert (made["role"], made["expires_at"]) == ("viewer", None)


@pytest.mark.parametrize(
    "wrong",
    [
        ("create", "--tenant", "a b", "--role", "viewer"),
        ("create", "--tenant", "a", "--role", "root"),
        ("create", "--tenant", "a", "--role", "viewer", "--expires", "soon"),
        ("create", "--tenant", "a", "--role", "viewer", "--expires", "0d"),
        ("create", "--tenant", "a", "--role", "viewer", "--expires", "99999d"),
        ("revoke", "none"),
        ("list",),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_one_line(cli, wrong):
    ran = cli("token", *wrong)
    assert (ran.code, ran.out, len(ran.err.strip().splitlines())) == (2, "", 1), ran
