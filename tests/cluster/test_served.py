"""What a replica of the service sees: the coordinator's executions, and the journal's where it has none."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid

import pytest
import ray

from mge_ray.adapters.journal import upgrade
from mge_ray.api.schemas import StartSettings
from mge_ray.cluster.served import ServedExecutions
from mge_ray.cluster.session import COORDINATOR, NAMESPACE
from mge_ray.domain.errors import EngineUnavailableError, UnknownExecutionError
from mge_ray.domain.state import ExecutionStatus
from mge_ray.wiring.service import ServiceConfig
from tests.cluster.conftest import numbered_plan

CHOICES = StartSettings(reuse=False)


def coordinator():
    return ray.get_actor(COORDINATOR, namespace=NAMESPACE)


@pytest.fixture
def served(engine):
    upgrade(engine.config.db_url)  # as a service does before it has replicas
    return ServedExecutions(ServiceConfig(engine=engine.config), coordinator)


async def test_starts_at_once_with_one_id_are_one_execution_also_when_it_has_ended(engine, served):
    plan, execution_id = numbered_plan("plain", 4, 2), uuid.uuid4()
    starts = [served.start(plan, CHOICES, tenant="north", execution_id=execution_id) for _ in range(5)]
    assert set(await asyncio.gather(*starts)) == {execution_id}
    await asyncio.to_thread(engine.call, "wait", execution_id)
    assert await served.start(plan, CHOICES, tenant="north", execution_id=execution_id) == execution_id
    assert await served.tenant_of(execution_id) == "north"
    assert [one.state.execution_id for one in await served.listed("north", limit=5, before=None)] == [execution_id]


async def test_an_ended_execution_is_seen_the_same_by_the_coordinator_and_by_replay(engine, served):
    plan = numbered_plan("plain", 4, 2)
    execution_id = await served.start(plan, CHOICES, tenant="", execution_id=uuid.uuid4())
    await asyncio.to_thread(engine.call, "wait", execution_id)
    live = await seen(served, execution_id)
    pid = engine.call("pid")
    os.kill(pid, signal.SIGKILL)
    assert await asyncio.to_thread(engine.call, "pid") != pid
    assert await seen(served, execution_id) == live
    assert live["state"][0] is ExecutionStatus.COMPLETED
    with pytest.raises(UnknownExecutionError):
        await served.state(uuid.uuid4())


async def seen(served, execution_id):
    """Return all that a replica shows of an execution, but for how long it took."""
    state = await served.state(execution_id)
    project = await served.project(execution_id)
    report = await served.report(execution_id)
    return {
        "state": (state.status, state.atoms_succeeded, state.total_cost_usd),
        "waves": [wave.atoms_succeeded for wave in await served.waves(execution_id)],
        "wave": (await served.wave(execution_id, 2)).atoms_total,
        "atom": await served.atom(execution_id, "plain3"),
        "rows": await served.atom_rows(execution_id, ids=None, after=0, limit=3),
        "attempts": await served.attempts(execution_id, "plain3"),
        "report": (report.atoms_succeeded, report.attempts, report.total_cost_usd),
        "project": (project.files, project.partial),
        "events": await served.events(execution_id, after=2, limit=1_000),
    }


async def test_without_an_engine_it_is_told_to_come_again(engine):
    def nobody():
        raise ValueError("no actor of that name")

    served = ServedExecutions(ServiceConfig(engine=engine.config), nobody)
    with pytest.raises(EngineUnavailableError):
        await served.ready()
