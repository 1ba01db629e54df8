"""Fail points: the coordinator as it is, with places between journalling and acting where it can end itself.

Nothing of this is in the package: the kit starts a subclass of the coordinator, whose ports are subclasses that count.
An order is a line of a file, `RUN POINT NTH`; the process that reaches the point for the nth time takes the line out
and sends itself SIGKILL. Several lines are carried out one after the other, by whichever process lives then.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import ray

from mge_ray.adapters.journal import SqlJournal
from mge_ray.cluster import coordinator as production
from mge_ray.cluster.concurrency_controller import RayLeases
from mge_ray.cluster.dispatch import RayWork
from mge_ray.domain.commands import Abandon, Accept, Acknowledge, Execute, Generate

ORDERS = "MGE_RAY_CHAOS_ORDERS"
"""Names the file of orders. Read by the kit's coordinator alone."""
SABOTAGE = "MGE_RAY_CHAOS_SABOTAGE"
"""Names the safeguard that is taken out, for the kit's test of itself."""

COMMANDS = {Generate: "generate", Execute: "execute", Accept: "accept", Acknowledge: "acknowledge", Abandon: "abandon"}
_reached: Counter[str] = Counter()


def reached(point: str) -> None:
    """End this process if it was ordered to end here."""
    path = Path(os.environ[ORDERS])
    try:
        first, *others = path.read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return
    if first.split()[1] != point:
        return
    _reached[first] += 1
    if _reached[first] == int(first.split()[2]):
        path.with_suffix(".new").write_text("".join(f"{line}\n" for line in others))
        path.with_suffix(".new").replace(path)
        os.kill(os.getpid(), signal.SIGKILL)


class PointedJournal(SqlJournal):
    """The journal, with points around what it is asked and around its commits."""

    async def create(self, *arguments: Any, **named: Any) -> int:
        reached("journal.create:before")
        epoch = await super().create(*arguments, **named)
        reached("journal.create:after")
        return epoch

    async def take_over(self, *arguments: Any) -> int:
        reached("journal.take_over:before")
        epoch = await super().take_over(*arguments)
        reached("journal.take_over:after")
        return epoch

    async def append(self, *arguments: Any) -> None:
        reached("journal.append:before")
        await super().append(*arguments)
        reached("journal.append:after")

    async def heartbeat(self, *arguments: Any) -> None:
        reached("journal.heartbeat:before")
        await super().heartbeat(*arguments)
        reached("journal.heartbeat:after")

    def _apply(self, *arguments: Any) -> Any:
        outcomes = super()._apply(*arguments)
        reached("journal.commit:before")
        return outcomes

    def _committed(self, *arguments: Any) -> None:
        super()._committed(*arguments)
        reached("journal.commit:after")


class PointedLeases(RayLeases):
    """The leases, with points around each exchange."""

    async def try_acquire(self, *arguments: Any) -> list[str]:
        reached("leases.exchange:before")
        granted = await super().try_acquire(*arguments)
        reached("leases.exchange:after")
        return granted

    async def release(self, *arguments: Any) -> None:
        reached("leases.release:before")
        await super().release(*arguments)
        reached("leases.release:after")


class PointedWork(RayWork):
    """The work, with points around each command, after the hand-over to the gateways, and around what comes back."""

    def submit(self, command: Any) -> None:
        reached(f"work.{COMMANDS[type(command)]}:before")
        super().submit(command)
        reached(f"work.{COMMANDS[type(command)]}:after")

    async def wait_any(self, timeout_s: float) -> list[Any]:
        reached("work.wait:before")
        events = await super().wait_any(timeout_s)
        if events:
            reached("work.wait:after")
        return events

    def _hand_over(self) -> list[Any]:
        sends = bool(self._to_send)
        events = super()._hand_over()
        if sends:
            reached("work.send:after")
        return events


POINTS = (
    "journal.create:before",
    "journal.create:after",
    "journal.append:before",
    "journal.commit:before",
    "journal.commit:after",
    "journal.append:after",
    "journal.heartbeat:before",
    "journal.heartbeat:after",
    "leases.exchange:before",
    "leases.exchange:after",
    "leases.release:before",
    "leases.release:after",
    "work.generate:before",
    "work.generate:after",
    "work.send:after",
    "work.wait:before",
    "work.wait:after",
    "work.acknowledge:before",
    "work.acknowledge:after",
    "work.execute:before",
    "work.execute:after",
    "work.accept:before",
    "work.accept:after",
)
"""Every boundary of a run's life."""

RECOVERY_POINTS = ("journal.take_over:before", "journal.take_over:after", "journal.append:before")
"""Boundaries of the recovery itself: reached by a coordinator that was killed before."""

REACHED_ONCE = ("journal.create:before", "journal.create:after", "work.accept:before", "work.accept:after")


class ChaosCoordinator(production.ExecutionCoordinator):
    """The coordinator whose ports have points."""

    def __init__(self, *arguments: Any) -> None:
        if not arguments[0].simulated:
            raise ValueError("fail points are for simulated engines alone")
        production.SqlJournal = PointedJournal
        production.RayLeases = PointedLeases
        production.RayWork = PointedWork
        if name := os.environ.get(SABOTAGE):
            from tests.cluster.chaos.sabotage import SABOTAGES  # noqa: PLC0415  # only where one is wanted

            SABOTAGES[name]()
        super().__init__(*arguments)


ChaosCoordinatorActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0)(ChaosCoordinator)
