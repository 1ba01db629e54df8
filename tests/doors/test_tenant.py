"""`mge-ray tenant`, and executions of a tenant as the command line tells them."""

from __future__ import annotations

import pytest

from mge_ray.adapters.journal import default_url, read_audit, upgrade
from tests.contracts.test_tenants_in_the_journal import write


@pytest.fixture
def url(tmp_path):
    made = default_url(tmp_path)
    upgrade(made)
    return made


def test_a_tenants_budget_is_set_shown_and_listed(cli, url):
    theirs = write(url, "acme", 1.0)
    write(url, "other", 1.0)
    ran = cli("tenant", "budget", "acme", "--limit", "0.012", "--reason", "the first quarter")
    assert ran.code == 0, ran.err
    assert "limit      $0.0120, of which 70 % is used" in ran.out
    assert cli("tenant", "show", "acme").out == ran.out
    shown = cli("tenant", "show", "acme", "--json").json
    assert (shown["executions"], shown["spent_usd"], shown["limit_usd"]) == (1, 0.01, 0.012)
    listed = cli("tenant", "list")
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == ["acme", "other"]
    assert [row["limit_usd"] for row in cli("tenant", "list", "--json").json] == [0.012, None]
    assert [act.details["reason"] for act in read_audit(url, tenant="acme")] == ["the first quarter"]
    assert [one["execution_id"] for one in cli("list", "--tenant", "acme", "--json").json] == [str(theirs)]


def test_a_period_begins_on_a_day(cli, url):
    write(url, "acme", 86_399.0)
    ran = cli("tenant", "budget", "acme", "--limit", "1", "--since", "1970-01-02", "--reason", "new year", "--json")
    assert (ran.json["executions"], ran.json["since"]) == (0, "1970-01-02 00:00:00")


@pytest.mark.parametrize(
    "wrong",
    [
        ("budget", "acme", "--limit", "1"),
        ("budget", "acme", "--limit", "1", "--reason", " "),
        ("budget", "acme", "--limit", "-1", "--reason", "x"),
        ("budget", "acme", "--limit", "nan", "--reason", "x"),
        ("budget", "a b", "--limit", "1", "--reason", "x"),
        ("budget", "acme", "--limit", "1", "--since", "yesterday", "--reason", "x"),
        ("show", "a b"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_one_line(cli, url, wrong):
    ran = cli("tenant", *wrong)
    assert (ran.code, ran.out, len(ran.err.strip().splitlines())) == (2, "", 1), ran


def test_without_a_journal_there_are_no_tenants_and_none_is_made(cli, tmp_path):
    assert "no executions yet" in cli("tenant", "list").err
    assert list(tmp_path.iterdir()) == []
