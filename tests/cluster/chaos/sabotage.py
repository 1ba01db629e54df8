"""Safeguards taken out, one at a time, in the coordinator's process alone: a kit that finds nothing then finds nothing.

Each is paired with the kind of run that must fail for it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

from mge_ray.cluster.dispatch import RayWork
from mge_ray.domain.generation import Billing, CallFailure, FailureKind
from mge_ray.execution import wave_executor
from tests.cluster.chaos.kinds import BEFORE_INTENTS, TIGHT_USD, Kind

TRIES = 6


def act_before_journalling() -> None:
    """Hand calls over to gateways before their intents are written."""
    write = wave_executor.WaveExecutor._write

    async def act_then_write(self: Any, run: Any) -> None:
        wave_executor._act(run)
        if isinstance(run.work, RayWork):
            run.work._hand_over()
            time.sleep(0.1)  # noqa: ASYNC251  # until Ray has sent it
        await write(self, run)

    wave_executor.WaveExecutor._write = act_then_write


def acknowledge_before_journalling() -> None:
    """Let gateways forget answers that are not yet written."""
    answers = RayWork._answers

    def forget(self: Any, gateway: str, outcome: Any) -> list[Any]:
        events = answers(self, gateway, outcome)
        if events:
            self._pool.acknowledge(self._caller, [event.call_id for event in events], gateway)
            time.sleep(0.1)
        return events

    RayWork._answers = forget


def refund_what_is_unknown() -> None:
    """Count calls lost with a gateway as not billed."""

    def lost(self: Any, gateway: str) -> list[Any]:
        from mge_ray.domain.events import GenerationFailed  # noqa: PLC0415  # only here

        calls = [command for command, _ in self._calls.values() if command.gateway == gateway]
        for command in calls:
            del self._calls[command.call_id]
        failure = CallFailure(FailureKind.GATEWAY_LOST, "the gateway's process died", Billing.NOT_BILLED)
        return [GenerationFailed(self._clock.now(), one.atom_id, one.call_id, failure) for one in calls]

    RayWork._lost = lost


def reserve_nothing() -> None:
    """Quote every call at nothing."""
    quote = RayWork.quote_usd

    def nothing(self: Any, command: Any) -> float:
        quote(self, command)
        return 0.0

    RayWork.quote_usd = nothing


SABOTAGES = {
    "act before journalling": act_before_journalling,
    "acknowledge before journalling": acknowledge_before_journalling,
    "refund what is unknown": refund_what_is_unknown,
    "reserve nothing": reserve_nothing,
}
FAILS = {
    "act before journalling": BEFORE_INTENTS,
    "acknowledge before journalling": Kind("coordinator at a point", ("work.wait:after",)),
    "refund what is unknown": Kind("gateway that holds answers", victims=("gateway that holds answers",)),
    "reserve nothing": Kind("gateway, under a tight budget", victims=("gateway",), budget_usd=TIGHT_USD),
}


def self_test(seed: int, only: str = "") -> int:
    """Run each sabotage (with `only` in its name) until its kind fails; return 1 if one never does."""
    from tests.cluster.chaos.__main__ import run_all  # noqa: PLC0415  # it imports this module

    unseen = []
    chosen = {name: kind for name, kind in FAILS.items() if only in name}
    for name, kind in chosen.items():
        sys.stdout.write(f"without the safeguard: {name}\n")
        with contextlib.closing(run_all([(n, kind) for n in range(TRIES)], seed, sabotage=name)) as tries:
            found = any(not outcome.right for outcome in tries)  # stops at the first that fails
        if not found:
            unseen.append(name)
    but = f", not {unseen}" if unseen else ""
    sys.stdout.write(f"\n{len(chosen) - len(unseen)} of {len(chosen)} missing safeguards were found{but}\n")
    return bool(unseen)
