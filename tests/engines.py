"""The engine put together over fakes, and a way to wait for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mge_ray.domain.events import ExecutionSettings, ExecutionStarted
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from mge_ray.execution.retry_orchestrator import RetryOrchestrator
from mge_ray.execution.run import ExecutionRun
from mge_ray.execution.wave_executor import WaveExecutor
from tests.builders import EXECUTION_ID, policy, settings
from tests.fakes.llm import ScriptedClient
from tests.fakes.validator import RuleValidator


def engine(client=None, validator=None, *, max_concurrency: int = 100, **ports) -> WaveExecutor:
    """Return a WaveExecutor whose model and validator are fakes; what is not given is the library's default."""
    orchestrator = RetryOrchestrator(client or ScriptedClient(), validator or RuleValidator(), policy=policy())
    return WaveExecutor(orchestrator, max_concurrency, **ports)


def service(client=None, validator=None, **options) -> ExecutionServiceV2:
    """Return a service over such an engine."""
    return ExecutionServiceV2(engine(client, validator, **options))


async def begun(executor: WaveExecutor, plan: Masterplan, wishes: ExecutionSettings | None = None) -> ExecutionRun:
    """Return a run that has been started and not yet driven."""
    wishes = wishes or executor.settings()
    run = executor.new_run(ExecutionMachine(EXECUTION_ID, plan), wishes)
    run.epoch = await executor.journal.create(EXECUTION_ID, plan, wishes)
    run.feed([ExecutionStarted(executor.clock.now(), wishes)])
    return run


async def driven_run(executor: WaveExecutor, plan: Masterplan, **wishes: object) -> ExecutionRun:
    """Start a run with `settings(**wishes)` and drive it until nothing more happens."""
    run = await begun(executor, plan, settings(**{"max_concurrency": executor.max_concurrency, **wishes}))
    await executor.drive(run)
    return run


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition holds; the loop runs meanwhile."""
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")
