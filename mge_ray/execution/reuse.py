"""Reuse: one execution's dealings with the store of accepted code (ADR 14).

Owns what is looked up when, and what is kept or dropped after which event. Decides nothing about atoms: a hit becomes
an event, and the machine takes it from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mge_ray.domain.attempt import AtomRecord
from mge_ray.domain.events import AcceptanceFinished, AtomExecuted, AtomReused, Event, ExecutionSettings
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.reuse import AtomKeys, ReuseSettings
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.execution.ports import JournalUnavailableError, KeptCode, ReuseStore

FAILURES_ENDURED = 3
FLUSH_EVERY_S = 1.0
FLUSH_FROM = 256

KeysOf = Callable[[Masterplan, ReuseSettings], AtomKeys]

_log = logging.getLogger(__name__)


class Reuse:
    """Looks up a wave's atoms before its first call, and keeps what was accepted."""

    def __init__(self, machine: ExecutionMachine, keys: AtomKeys, store: ReuseStore) -> None:
        self._machine = machine
        self._keys = keys
        self._store = store
        self._failures = 0
        self._looked_up = 0
        self._checked_under: dict[str, str] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._to_keep: dict[str, KeptCode] = {}
        self._to_drop: list[tuple[str, str]] = []
        self._flushed_at = 0.0
        for atom_id, record in machine.atoms.items():  # of one that was begun by another process
            if record.stands_reused and record.reused is not None:
                self._told[atom_id] = record.reused.key, record.reused.code
            self._note(atom_id, None)

    async def look_up(self, now: float) -> list[AtomReused]:
        """Return the hits among the open wave's atoms, once a wave. Raises JournalUnavailableError, twice at most."""
        wave = self._machine.current_wave
        running = self._machine.status is ExecutionStatus.RUNNING
        if wave == self._looked_up or not running or self._done_without:
            return []
        # The first keys of a plan read all its files: seconds for thousands of atoms, in which others must be heard.
        wanted = await asyncio.to_thread(self._keys_of, self._machine.reusable(now=now))
        try:
            found = await self._store.find(list(wanted)) if wanted else {}
        except JournalUnavailableError as error:
            if self._failed(error):
                return []
            raise
        self._failures, self._looked_up = 0, wave
        for key, kept in found.items():
            self._told[wanted[key]] = key, kept.code
        return [
            AtomReused(now, wanted[key], kept.code, key, kept.source, kept.cost_usd, kept.by)
            for key, kept in found.items()
        ]

    def checking(self, atom_id: str) -> None:
        """Remember under which key an atom is checked: what it rests on may change before the verdict is there."""
        self._checked_under[atom_id] = self._key(atom_id)

    def note(self, events: Iterable[Event]) -> None:
        """Take events that are durable; what they did to acceptance is written by the next `flush`."""
        touched: dict[str, str | None] = {}
        for event in events:
            if atom_id := getattr(event, "atom_id", ""):
                touched[atom_id] = None
            if isinstance(event, AtomExecuted):
                touched[event.atom_id] = self._checked_under.pop(event.atom_id, None)
            if isinstance(event, AtomExecuted | AcceptanceFinished):
                for blamed in event.result.blamed:
                    touched.setdefault(blamed, None)
        for atom_id, key in touched.items():
            if atom_id in self._machine.atoms:
                self._note(atom_id, key)

    async def flush(self, now: float, *, last: bool = False) -> None:
        """Write what has gathered, now and then and at the end. A store that is away loses it; the run goes on."""
        waiting = len(self._to_keep) + len(self._to_drop)
        due = last or waiting >= FLUSH_FROM or now - self._flushed_at >= FLUSH_EVERY_S
        if not waiting or not due or self._done_without:
            return
        keep, drop = list(self._to_keep.values()), self._to_drop
        self._to_keep, self._to_drop, self._flushed_at = {}, [], now
        try:
            if drop:
                await self._store.drop(drop)
            if keep:
                await self._store.keep(keep)
        except JournalUnavailableError as error:
            self._failed(error)
        else:
            self._failures = 0

    @property
    def _done_without(self) -> bool:
        return self._failures >= FAILURES_ENDURED

    def _failed(self, error: JournalUnavailableError) -> bool:
        """Return whether that was once too often."""
        self._failures += 1
        _log.warning("accepted code is not at hand for reuse: %s", error)
        return self._done_without

    def _keys_of(self, atom_ids: Iterable[str]) -> dict[str, str]:
        return {self._key(atom_id): atom_id for atom_id in atom_ids}

    def _key(self, atom_id: str) -> str:
        machine = self._machine
        return self._keys.key(atom_id, machine.accepted_version, machine.accepted_codes).digest

    def _note(self, atom_id: str, key: str | None) -> None:
        record, told = self._machine.atoms[atom_id], self._told.get(atom_id)
        if record.status is AtomStatus.SUCCEEDED and record.code is not None:
            if key is None and told is not None and told[1] == record.code:
                return
            if record.stands_reused and record.reused is not None:
                key = record.reused.key
            key = key or self._key(atom_id)
            self._told[atom_id] = key, record.code
            self._to_keep[key] = self._kept(record, key, record.code)
        elif told is not None:
            del self._told[atom_id]
            self._to_keep.pop(told[0], None)
            self._to_drop.append(told)

    def _kept(self, record: AtomRecord, key: str, code: str) -> KeptCode:
        before = record.reused if record.stands_reused else None
        return KeptCode(
            key=key,
            atom_id=record.atom_id,
            code=code,
            source=before.source if before else str(self._machine.execution_id),
            plan_name=self._machine.plan.name,
            cost_usd=before.saved_usd if before else record.cost_usd,
            by=before.by if before else record.edited_by,
        )


@dataclass(frozen=True, slots=True)
class CodeReuse:
    """What reuse needs: a store, how a plan's keys are made, and the settings of executions that name none."""

    store: ReuseStore
    keys_of: KeysOf
    settings: ReuseSettings | None = None

    def of(self, machine: ExecutionMachine, settings: ExecutionSettings) -> Reuse | None:
        """Return an execution's dealings with the store; None where it was started without reuse."""
        if settings.reuse is None:
            return None
        return Reuse(machine, self.keys_of(machine.plan, settings.reuse), self.store)
