"""Where a run happens: the simulated server, a local Ray or a joined one, the engine on it, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mge_ray.cli import simulate
from mge_ray.cli.exits import STOPPED_EARLY
from mge_ray.cli.ray_job import in_job
from mge_ray.domain.errors import MgeRayError
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.wiring.settings import EngineConfig

if TYPE_CHECKING:
    from mge_ray.cli.run import Request
    from mge_ray.cluster.client import EngineClient

DRAIN_S = 30.0
HURRIED_DRAIN_S = 0.5
"""Of the three seconds between `ray job stop`'s SIGTERM and its SIGKILL; leaving a cluster takes some of the rest."""


class RunError(MgeRayError):
    """A run that cannot begin as asked."""


class JobStoppedError(MgeRayError):
    """A run on a joined cluster that was told to leave: its execution is paused, and goes on by its id."""


@dataclass(slots=True)
class Interrupts:
    """Ctrl-C or SIGTERM: the first one pauses, the second one leaves.

    A run on a joined cluster (`joined`) that is told to end, as jobs are, is in a hurry: after three seconds it is
    killed. It pauses and leaves; the engine is elsewhere and keeps what finishes. Before `opened` it just ends.
    """

    joined: bool = False
    opened: bool = False
    count: int = 0
    first_at: float = 0.0
    hurried: bool = False
    _saved: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Interrupts:  # noqa: PYI034  # never subclassed
        for number in (signal.SIGINT, signal.SIGTERM):
            self._saved[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.first_at = self.first_at or time.monotonic()
        self.hurried = self.hurried or (self.joined and (number == signal.SIGTERM or in_job()))
        if self.hurried and not self.opened:
            raise KeyboardInterrupt

    @property
    def reason(self) -> str:
        """Why the execution is paused, for its journal."""
        return "its job was stopped" if self.hurried else "interrupted"

    def told(self, in_flight: int) -> str:
        """Return what happens now, for the person or the log that watches."""
        if self.hurried:
            return f"{self.reason}; the engine keeps what comes of {in_flight} in flight"
        return f"waiting for {in_flight} in flight; again to leave at once"

    @property
    def impatient(self) -> bool:
        """True when what is in flight is not waited for any longer."""
        patience = HURRIED_DRAIN_S if self.hurried else DRAIN_S
        return self.count > 1 or bool(self.count and time.monotonic() - self.first_at > patience)


@contextlib.contextmanager
def open_on_ray(request: Request, screen: Console) -> Iterator[tuple[EngineClient, EngineConfig, Interrupts]]:
    """Start the simulated server and a local Ray, or join one; yields the engine there, its configuration, Ctrl-C."""
    with ExitStack() as stack:
        config = request.config
        if not request.as_json:
            where = f"joining {request.address}" if request.address else "starting a local Ray"
            screen.print(f"{where} for {len(request.plan.atoms)} atoms ...", markup=False)
        stack.enter_context(_session(request.address))
        joined = request.address is not None
        interrupts = stack.enter_context(Interrupts(joined))  # after Ray, which takes SIGTERM for itself
        if request.simulator is not None:
            url = stack.enter_context(simulate.server(_heard_by_all(request.simulator)))
            config = config.model_copy(update={"base_url": url})
        engine, config = _open_engine(request, config)
        interrupts.opened = True
        yield engine, config, interrupts
        if request.address is None:  # a joined engine serves others too
            engine.close()


def _open_engine(request: Request, config: EngineConfig) -> tuple[EngineClient, EngineConfig]:
    from mge_ray.cluster.engine import open_engine, sandbox_level  # noqa: PLC0415  # Ray's environment is set by now

    level = sandbox_level(request.sandbox)
    if not config.simulated and not level.is_full and request.sandbox is None:
        raise RunError(
            f"--live wants full isolation, and this machine gives {level.value!r} (install bubblewrap); "
            f"to run all the same, say --sandbox {level.value}"
        )
    config = config.model_copy(update={"sandbox_level": level.value})
    return open_engine(config), config


def _heard_by_all(simulator: SimulatorConfig) -> SimulatorConfig:
    """Return the server's configuration with an address that every node of the cluster reaches."""
    from mge_ray.cluster.session import address_for_nodes  # noqa: PLC0415  # as below

    host = address_for_nodes()
    return simulator if host is None else replace(simulator, host=host)


@contextlib.contextmanager
def _session(address: str | None) -> Iterator[str]:
    from mge_ray.cluster.session import joined_session, local_session  # noqa: PLC0415  # keeps Ray out of `check`

    with joined_session(address) if address else local_session(on_lost=leave) as name:
        yield name


def leave() -> None:
    """End this process at once: whatever it waits for will not come. Its guard ends what is left of the run."""
    sys.stderr.write(
        "mge-ray: the local Ray was killed; what is journalled is kept: `mge-ray list` shows the execution, "
        "`mge-ray resume ID` goes on\n"
    )
    sys.stderr.flush()
    os._exit(STOPPED_EARLY)
