"""One engine on a local Ray against the simulated server, and what the drawn faults predict. Shared by the scripts."""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mge_ray.cli.simulate import server
from mge_ray.cluster.client import EngineClient
from mge_ray.cluster.session import local_session
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import MAX_ATTEMPTS
from mge_ray.pipeline.report import CallsReport, ExecutionReport
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.faults import draw_answer
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig


@dataclass(frozen=True)
class Prediction:
    """What the draws of one seed lead to, if tests notice every wrong answer."""

    attempts: dict[str, int]
    failed: set[str]
    blocked: set[str]

    def of(self, plan: Masterplan) -> tuple[float, float]:
        """Return predicted precision in percent and retry rate."""
        tried = len(plan.atoms) - len(self.blocked)
        precision = 100 * (tried - len(self.failed)) / len(plan.atoms)
        return precision, sum(count > 1 for count in self.attempts.values()) / tried


def predict(plan: Masterplan, simulator: SimulatorConfig) -> Prediction:
    """Draw what the server will draw."""
    attempts, failed, blocked = {}, set(), set()
    for wave in plan.waves:
        for atom_id in wave.atom_ids:
            if any(d in failed or d in blocked for d in plan.by_id[atom_id].depends_on):
                blocked.add(atom_id)
                continue
            good = (i for i in range(MAX_ATTEMPTS) if draw_answer(simulator, atom_id, i) is None)
            first_good = next(good, None)
            attempts[atom_id] = MAX_ATTEMPTS if first_good is None else first_good + 1
            if first_good is None:
                failed.add(atom_id)
    return Prediction(attempts, failed, blocked)


@dataclass(frozen=True)
class Run:
    """One execution that has ended: report, accepted code by atom, and the seconds it took."""

    report: ExecutionReport
    codes: dict[str, str]
    wall_s: float


@dataclass(frozen=True)
class Engine:
    """An engine that runs, with settings that fit it, and the simulated server's address."""

    client: EngineClient
    config: EngineConfig
    settings: ExecutionSettings
    url: str

    def run(self, plan: Masterplan) -> Run:
        """Execute the plan to its end."""
        began = time.monotonic()
        execution_id = self.client.start(plan, self.settings)
        self.client.wait(execution_id)
        wall_s = time.monotonic() - began
        return Run(self.client.report(execution_id), self.client.accepted_codes(execution_id), wall_s)

    def books(self) -> dict[str, Any]:
        """Return the server's own books."""
        with urllib.request.urlopen(f"{self.url}/stats") as answer:  # noqa: S310  # our own server
            found: dict[str, Any] = json.load(answer)
        return found


@contextlib.contextmanager
def open_simulated(
    simulator: SimulatorConfig,
    folder: str,
    *,
    leases: int = 100,
    call_timeout_s: float = 120.0,
    budget_usd: float | None = None,
    checks: bool = True,
    ramp: bool = False,
    before: Callable[[EngineConfig], object] | None = None,
    serves_at: str | None = None,
) -> Iterator[Engine]:
    """Start the server and a Ray of its own for the length of the block; the journal lies in `folder`.

    With `ramp` the throttle begins as it does for everybody, else with all leases at once. `before` is called when Ray
    runs and the engine does not; `serves_at` is the address at which the Ray will serve, if it will.
    """
    with server(simulator) as url, local_session(serves_at=serves_at):
        from mge_ray.cluster.engine import open_engine, sandbox_level  # noqa: PLC0415  # Ray's environment is set by now

        config = EngineConfig(
            engine_id=uuid.uuid4().hex,
            db_url=f"sqlite:///{folder}/journal.db",
            simulated=True,
            base_url=url,
            require_price=True,
            generate_limit=leases,
            generate_start=None if ramp else leases,
            driver_pid=os.getpid(),
            checks=checks,
            sandbox_level=sandbox_level(None).value if checks else None,
        )
        settings = ExecutionSettings(
            policy=attempt_policy(config, DEFAULT_MODEL, None),
            budget_usd=budget_usd,
            max_concurrency=leases,
            call_timeout_s=call_timeout_s,
            simulated=True,
        )
        if before:
            before(config)
        client = open_engine(config)
        try:
            yield Engine(client, config, settings, url)
        finally:
            client.close()


def billed(calls: CallsReport) -> int:
    """Return how many answers the journal knows to have been billed, or cannot rule out."""
    return calls.answers + calls.billed_without_answer + calls.unknown_spend
