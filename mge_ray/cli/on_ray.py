"""Where a run happens: the simulated server, a local Ray or a joined one, the engine on it, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mge_ray.cli import simulate
from mge_ray.cli.exits import STOPPED_EARLY
from mge_ray.domain.errors import MgeRayError
from mge_ray.wiring.settings import EngineConfig

if TYPE_CHECKING:
    from mge_ray.cli.run import Request
    from mge_ray.cluster.client import EngineClient

DRAIN_S = 30.0


class RunError(MgeRayError):
    """A run that cannot begin as asked."""


@dataclass(slots=True)
class Interrupts:
    """Ctrl-C or SIGTERM: the first one pauses, the second one leaves."""

    count: int = 0
    first_at: float = 0.0
    _saved: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Interrupts:  # noqa: PYI034  # never subclassed
        for number in (signal.SIGINT, signal.SIGTERM):
            self._saved[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.first_at = self.first_at or time.monotonic()

    @property
    def impatient(self) -> bool:
        """True when what is in flight is not waited for any longer."""
        return self.count > 1 or bool(self.count and time.monotonic() - self.first_at > DRAIN_S)


@contextlib.contextmanager
def open_on_ray(request: Request, screen: Console) -> Iterator[tuple[EngineClient, EngineConfig, Interrupts]]:
    """Start the simulated server and a local Ray, or join one; yields the engine there, its configuration, Ctrl-C."""
    with ExitStack() as stack:
        config = request.config
        if request.simulator is not None:
            url = stack.enter_context(simulate.server(request.simulator))
            config = config.model_copy(update={"base_url": url})
        if not request.as_json:
            where = f"joining {request.address}" if request.address else "starting a local Ray"
            screen.print(f"{where} for {len(request.plan.atoms)} atoms ...", markup=False)
        stack.enter_context(_session(request.address))
        interrupts = stack.enter_context(Interrupts())  # after Ray, which takes SIGTERM for itself
        engine, config = _open_engine(request, config)
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
