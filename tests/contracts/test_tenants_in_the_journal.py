"""Tenants on SQLite and PostgreSQL: sums of what is stored, limits, and pages of a tenant's executions."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from mge_ray.adapters.journal import (
    SqlJournal,
    SqlTenantBooks,
    list_executions,
    list_tenants,
    prune,
    read_audit,
    set_tenant_limit,
    tenant_limits,
    tenant_standing,
    upgrade,
)
from mge_ray.domain.access import TenantError
from mge_ray.domain.cost import to_nano
from mge_ray.domain.errors import BudgetError
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.tenants import Sums, TenantStanding
from tests.builders import CALL_USD, PASSED, Driven, plan


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    made = server.url if server else f"sqlite:///{tmp_path / 'journal.db'}"
    upgrade(made)
    return made


@pytest.fixture
def tenant():
    return f"t{uuid4().hex}"


def write(url, tenant, at, *, ends=True):
    """Write an execution that one call was made in; return its id."""
    run = Driven(ExecutionMachine(uuid4(), plan("a")), now=at)
    run.start(tenant=tenant, budget_usd=1.0)
    if ends:
        run.attempt("a", PASSED)

    async def store():
        journal = SqlJournal(url, clock=lambda: at)
        epoch = await journal.create(run.machine.execution_id, run.machine.plan, run.machine.settings)
        await journal.append(run.machine.execution_id, epoch, run.events, execution_state(run.machine))
        journal.close()

    asyncio.run(store())
    return run.machine.execution_id


def test_a_tenants_standing_is_its_limit_and_the_sums_of_its_executions_since(url, tenant):
    write(url, tenant, 5.0)
    one, other = write(url, tenant, 10.0), write(url, tenant, 20.0)
    write(url, f"{tenant}x", 20.0)
    sums = Sums(to_nano(CALL_USD))
    assert len(tenant_standing(url, tenant).executions) == 3
    standing = set_tenant_limit(url, tenant, 0.1 + 0.2, by="ann", reason="spring", since=10.0)
    assert standing == TenantStanding(0.1 + 0.2, 10.0, {one: sums, other: sums})
    assert asyncio.run(SqlTenantBooks(url).standing(tenant)) == standing
    assert asyncio.run(SqlTenantBooks(url).limits([tenant, "nobody"])) == {tenant: (0.1 + 0.2, 10.0)}


def test_a_limit_keeps_its_period_and_every_change_is_audited(url, tenant):
    set_tenant_limit(url, tenant, 5.0, by="ann", reason="spring", since=10.0)
    set_tenant_limit(url, tenant, 8.0, by="bob", reason="more")
    set_tenant_limit(url, tenant, None, by="bob", reason="free")
    assert tenant_limits(url, [tenant]) == {tenant: (None, 10.0)}
    audit = read_audit(url, tenant=tenant)
    acts = [(act.verb, act.who, act.details["before_usd"], act.details["limit_usd"]) for act in audit]
    assert acts == [
        ("tenant budget", "bob", 8.0, None),
        ("tenant budget", "bob", 5.0, 8.0),
        ("tenant budget", "ann", None, 5.0),
    ]


def test_a_limit_has_a_tenant_and_is_an_amount(url, tenant):
    with pytest.raises(TenantError, match="name a tenant"):
        set_tenant_limit(url, "", 1.0, by="ann", reason="none")
    with pytest.raises(BudgetError):
        set_tenant_limit(url, tenant, float("nan"), by="ann", reason="none")
    assert tenant_limits(url, [tenant]) == {}


def test_tenants_are_those_with_executions_or_limits(url, tenant):
    write(url, tenant, 1.0)
    write(url, "", 1.0)
    set_tenant_limit(url, f"{tenant}x", 1.0, by="ann", reason="new")
    listed = list_tenants(url)
    assert {tenant, f"{tenant}x"} <= set(listed)
    assert "" not in listed


def test_what_counts_against_a_limit_is_not_pruned(url, tenant):
    old, counted = write(url, tenant, 5.0), write(url, tenant, 10.0)
    set_tenant_limit(url, tenant, 1.0, by="ann", reason="spring", since=10.0)
    prune(url, older_than_days=0, now=1e9)
    assert [one.execution_id for one in list_executions(url, 9, tenant)] == [counted]
    assert old != counted


def test_pages_of_a_tenants_executions_neither_repeat_nor_miss_any(url, tenant):
    ids = {write(url, tenant, at, ends=False) for at in (1.0, 2.0, 2.0, 2.0, 3.0)}
    write(url, f"{tenant}x", 2.0, ends=False)
    seen, before = [], None
    while page := list_executions(url, 2, tenant, before):
        seen += page
        before = (page[-1].created_at, page[-1].execution_id)
        write(url, tenant, 9.0, ends=False)
    assert [one.created_at for one in seen] == [3.0, 2.0, 2.0, 2.0, 1.0]
    assert {one.execution_id for one in seen} == ids
