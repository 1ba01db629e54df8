"""Several executions of one tenant under one limit."""

import asyncio
import logging
from uuid import uuid4

import pytest

from mge_ray.domain.concurrency import Pool
from mge_ray.domain.cost import NANO
from mge_ray.domain.errors import BudgetError, StateConflictError
from mge_ray.domain.state import ExecutionStatus
from mge_ray.domain.tenants import Sums
from mge_ray.execution.defaults import LocalLeases
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from tests.builders import CALL_USD, many, settings
from tests.engines import engine, until
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.tenants import MemoryBooks

ACME = {"tenant": "acme"}


def service(books, client=None, **options):
    return ExecutionServiceV2(engine(client or QuotingClient(), **options), books)


async def started(made, count, **fields):
    return await made.start_plan(many(count), settings=settings(**{**ACME, **fields}))


async def ended(made, *ids):
    return [await made.wait(one) for one in ids]


async def test_executions_of_a_tenant_share_its_limit_and_pause_when_it_is_used_up():
    client = QuotingClient()
    made = service(MemoryBooks({"acme": (7.5 * CALL_USD, 0.0)}), client)
    ids = [await started(made, 5) for _ in range(2)]
    states = await ended(made, *ids)
    assert len(client.asked) == 7
    paused = [state for state in states if state.status is ExecutionStatus.PAUSED]
    assert paused
    for state in paused:
        assert state.reason.startswith(
            "budget of the tenant: the next call can cost up to $0.0100; tenant acme: spent $"
        )
        assert state.reason.endswith("limit $0.0750")


async def test_others_are_not_bound_by_it():
    made = service(MemoryBooks({"acme": (1.5 * CALL_USD, 0.0)}))
    ids = [await started(made, 3, tenant=tenant) for tenant in ("", "other")]
    assert {state.status for state in await ended(made, *ids)} == {ExecutionStatus.COMPLETED}


async def test_a_raised_limit_lets_a_resume_go_on():
    books, client = MemoryBooks({"acme": (2.5 * CALL_USD, 0.0)}), QuotingClient()
    made = service(books, client)
    execution_id = await started(made, 5)
    await made.wait(execution_id)
    await made.resume_execution(execution_id)
    assert (await made.wait(execution_id)).status is ExecutionStatus.PAUSED
    assert len(client.asked) == 2
    books.limit["acme"] = (1.0, 0.0)
    await made.resume_execution(execution_id)
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED


async def test_nothing_begins_when_not_one_call_fits_what_is_left():
    books = MemoryBooks({"acme": (10 * CALL_USD, 0.0)}, {uuid4(): Sums(round(9.5 * CALL_USD * NANO))})
    made = service(books)
    with pytest.raises(BudgetError, match=r"tenant is too small: one call .* \$0.0100; tenant acme: spent \$0.0950"):
        await started(made, 3)
    assert made.execution_ids == ()


async def test_its_own_budget_is_told_as_its_own():
    made = service(MemoryBooks({"acme": (10 * CALL_USD, 0.0)}))
    with pytest.raises(BudgetError, match=r"^the budget, \$0.001, is too small"):
        await started(made, 3, budget_usd=0.001)


async def test_a_limit_needs_a_client_that_quotes():
    with pytest.raises(StateConflictError, match="can quote calls"):
        await started(service(MemoryBooks({"acme": (1.0, 0.0)}), ScriptedClient()), 3)


async def test_an_execution_waits_for_what_others_of_its_tenant_have_in_flight():
    client = QuotingClient(quote_usd=2 * CALL_USD)
    client.gate.clear()
    made = service(MemoryBooks({"acme": (3.5 * CALL_USD, 0.0)}), client)
    first = await started(made, 1)
    await until(lambda: client.in_flight)
    second = await started(made, 1)
    assert (await made.get_execution_state(second)).status is ExecutionStatus.RUNNING
    client.gate.set()
    assert [state.status for state in await ended(made, first, second)] == [ExecutionStatus.COMPLETED] * 2


async def test_a_lease_is_given_back_if_another_execution_was_faster():
    leases = SlowLeases(100)
    client = QuotingClient()
    made = service(MemoryBooks({"acme": (1.5 * CALL_USD, 0.0)}), client, leases=leases)
    ids = await asyncio.gather(started(made, 1), started(made, 1))  # both ask before either has reserved
    states = await ended(made, *ids)
    assert sorted(state.status.value for state in states) == ["completed", "paused"]
    assert len(client.asked) == 1
    assert len(set(leases.releases)) == 2  # the one that was used, and the one that was not


class SlowLeases(LocalLeases):
    """Leases that arrive only when two have asked for calls."""

    def __init__(self, limit):
        super().__init__(limit)
        self.releases: list[str] = []
        self._asked = 0

    async def try_acquire(self, pool, lease_ids):
        if pool is Pool.GENERATE:
            self._asked += 1
            await until(lambda: self._asked >= 2)
        return await super().try_acquire(pool, lease_ids)

    async def release(self, pool, lease_ids):
        self.releases += lease_ids if pool is Pool.GENERATE else []
        await super().release(pool, lease_ids)


async def test_a_changed_limit_is_noticed_while_it_runs():
    books, client = MemoryBooks({"acme": (10 * CALL_USD, 0.0)}), QuotingClient()
    client.gate.clear()
    made = service(books, client)
    execution_id = await started(made, 5, max_concurrency=2)
    await until(lambda: client.in_flight == 2)
    books.limit["acme"] = (2.5 * CALL_USD, 0.0)
    await made.look_at_tenants()
    client.gate.set()
    assert (await made.wait(execution_id)).status is ExecutionStatus.PAUSED
    assert len(client.asked) == 2


async def test_another_period_reads_the_sums_anew_and_once():
    books = MemoryBooks({"acme": (10 * CALL_USD, 0.0)})
    made = service(books)
    await ended(made, await started(made, 2))
    asked = books.asked
    books.limit["acme"] = (10 * CALL_USD, 5.0)
    await made.look_at_tenants()
    await made.look_at_tenants()
    del books.limit["acme"]
    await made.look_at_tenants()
    assert books.asked == asked + 2


async def test_without_books_nobody_is_asked():
    made = service(None)
    await made.look_at_tenants()
    assert [state.status for state in await ended(made, await started(made, 2))] == [ExecutionStatus.COMPLETED]


async def test_most_of_a_tenants_limit_is_told_in_the_log_once(caplog):
    made = service(MemoryBooks({"acme": (6 * CALL_USD, 0.0)}))
    with caplog.at_level(logging.WARNING):
        await ended(made, await started(made, 5))
    told = [one for one in caplog.messages if "70 % of the limit is used: tenant acme" in one]
    assert len(told) == 1
