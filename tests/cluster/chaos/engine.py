"""Runs on one living engine: an execution each, with kills of single processes while it runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from mge_ray.cli.simulate import server
from mge_ray.cluster.client import EngineClient
from mge_ray.cluster.session import local_session
from mge_ray.domain.errors import EngineUnavailableError, MgeRayError, UnknownExecutionError
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.state import ExecutionStatus
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig
from tests.cluster.chaos.books import Books, examine, server_stats
from tests.cluster.chaos.kinds import TIGHT_MAX_TOKENS, Kind, Outcome
from tests.cluster.chaos.points import ORDERS, SABOTAGE
from tests.cluster.chaos.setting import Setting
from tests.cluster.conftest import processes_titled
from tests.contracts.conftest import PostgresServer

PATIENCE_S = 60.0
CALLS_AT_ONCE = 12
BEFORE_RESTART_S = 0.5
"""Until most answers in flight have arrived, and before a killed coordinator lives again."""
LATENCY_S = 1.0
"""Until all answers in flight have arrived."""
AWAY_S = 4.0
GENERATE_LIMIT = 60  # two gateways
TITLES = {
    "coordinator": "ray::ChaosCoordinator",
    "gateway": "ray::LLMGateway",
    "controller": "ray::ConcurrencyController",
    "worker": "ray::check wave",
}


@dataclass
class ChaosEngine:
    """The engine under test, with the file its coordinator takes orders from."""

    client: EngineClient
    config: EngineConfig
    url: str
    orders: Path
    database: PostgresServer | None

    def run(self, kind: Kind, number: int, setting: Setting, rng: random.Random) -> Outcome:
        """Execute the setting once while `kind` happens to it; return how it ended."""
        began = time.monotonic()
        self.orders.write_text("".join(f"{number} {point} {nth}\n" for point, nth in kind.orders(rng)))
        execution_id = uuid.uuid4()
        longest = {} if kind.budget_usd is None else {"max_tokens": TIGHT_MAX_TOKENS}
        policy = attempt_policy(self.config, DEFAULT_MODEL, None, **longest)
        settings = ExecutionSettings(
            policy=policy.model_copy(update={"backoff_base_s": 0.05}),
            max_concurrency=CALLS_AT_ONCE,
            budget_usd=kind.budget_usd,
            simulated=True,
        )
        begun = self._begin(execution_id, setting, settings)
        missed = [name for name in kind.victims if not self._kill(name, execution_id, rng)]
        problems = [f"no {name} was there to be killed" for name in missed]
        if not begun:
            self._begin_again(execution_id, setting, settings)
        over = self._until_over(execution_id)
        if not over:
            problems.append(f"it did not end in {PATIENCE_S:.0f} s")
            self.client.cancel(execution_id, "it does not end")
        if left := self.orders.read_text().split("\n")[0]:
            problems.append(f"never reached: {left}")
            self.orders.write_text("")
        books = examine(
            self.config.db_url,
            execution_id,
            setting,
            server_stats(self.url),
            gateway_killed=kind.kills_gateway,
            live=self.client.snapshot(execution_id),
        )
        books = Books(books.bought_again, books.lost_calls, books.overspend_usd, (*problems, *books.problems))
        return Outcome(kind, number, books, time.monotonic() - began)

    def _begin(self, execution_id: UUID, setting: Setting, settings: ExecutionSettings) -> bool:
        """Start; return False if the coordinator dies over it."""
        try:
            self.client.start(setting.plan, settings, execution_id)
        except EngineUnavailableError:
            return False
        return True

    def _begin_again(self, execution_id: UUID, setting: Setting, settings: ExecutionSettings) -> None:
        """Ask whether it had begun, as somebody careful would, and start it if not."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                self.client.state(execution_id)
            except UnknownExecutionError:
                self.client.start(setting.plan, settings, execution_id)
                return
            except EngineUnavailableError:
                time.sleep(0.2)
            else:
                return

    def _kill(self, name: str, execution_id: UUID, rng: random.Random) -> bool:
        """Kill one process of that role at a moment of its own; False if the execution was over before."""
        if name == "all gateways":
            return self._kill_gateways()
        time.sleep(rng.uniform(0.05, 1.5))
        if name.startswith("database"):
            return self._stop_database(coordinator_too="coordinator" in name)
        if name == "gateway that holds answers":
            return _kill_gateway_with_answers(rng)
        title = TITLES[name]
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if pids := processes_titled(title):
                os.kill(rng.choice(pids), signal.SIGKILL)
                return True
            if self._over(execution_id):
                return False
            time.sleep(0.005)
        return False

    def _kill_gateways(self) -> bool:
        """Kill all gateways when the calls that the coordinator made before it died have been answered."""
        deadline = time.monotonic() + PATIENCE_S
        while self.orders.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(BEFORE_RESTART_S)
        gateways = processes_titled(TITLES["gateway"])
        for pid in gateways:
            os.kill(pid, signal.SIGKILL)
        return bool(gateways)

    def _stop_database(self, *, coordinator_too: bool) -> bool:
        """Crash the database server, and start it again after some seconds."""
        assert self.database is not None
        self.database.stop(signal.SIGQUIT)
        try:
            if coordinator_too:
                for pid in processes_titled(TITLES["coordinator"]):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(AWAY_S)
        finally:
            self.database.start()
        return True

    def _until_over(self, execution_id: UUID) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while not (over := self._over(execution_id)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return over

    def _over(self, execution_id: UUID) -> bool:
        """Return whether nothing will happen any more; a coordinator that is away is asked again."""
        try:
            progress = self.client.progress(execution_id)
        except (EngineUnavailableError, UnknownExecutionError):
            return False
        return not progress.driving and progress.state.status not in {ExecutionStatus.RUNNING, ExecutionStatus.PENDING}


def _kill_gateway_with_answers(rng: random.Random) -> bool:
    """Kill a gateway that has answers which nobody has collected: the coordinator is stopped meanwhile."""
    coordinators, gateways = processes_titled(TITLES["coordinator"]), processes_titled(TITLES["gateway"])
    for pid in coordinators:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(LATENCY_S)
        os.kill(rng.choice(gateways), signal.SIGKILL)
    finally:
        for pid in coordinators:
            os.kill(pid, signal.SIGCONT)
    return True


@contextlib.contextmanager
def chaos_engine(
    simulator: SimulatorConfig, folder: Path, *, database: PostgresServer | None = None, sabotage: str = ""
) -> Iterator[ChaosEngine]:
    """Start a Ray of its own, and on it the engine with the coordinator that has fail points."""
    orders = folder / "orders"
    orders.write_text("")
    os.environ[ORDERS] = str(orders)
    if sabotage:
        os.environ[SABOTAGE] = sabotage
    try:
        with server(simulator) as url, local_session(num_cpus=2):
            config = EngineConfig(
                engine_id=uuid.uuid4().hex,
                db_url=database.url if database else f"sqlite:///{folder / 'journal.db'}",
                simulated=True,
                base_url=url,
                require_price=True,
                generate_limit=GENERATE_LIMIT,
                driver_pid=os.getpid(),
            )
            yield ChaosEngine(_open(config), config, url, orders, database)
    finally:
        os.environ.pop(ORDERS, None)
        os.environ.pop(SABOTAGE, None)


def _open(config: EngineConfig) -> EngineClient:
    from mge_ray.cluster import engine  # noqa: PLC0415  # Ray's environment is set by now
    from tests.cluster.chaos.points import ChaosCoordinatorActor  # noqa: PLC0415

    engine.ExecutionCoordinatorActor = ChaosCoordinatorActor
    client = engine.open_engine(config)
    if not processes_titled(TITLES["coordinator"]):
        raise MgeRayError("the coordinator that runs has no fail points")
    return client
