"""The API's ports over the library engine in this process: real executions in memory, no Ray, no database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID, uuid4

from mge_ray.api.ports import Executions, ListedExecution, Project
from mge_ray.domain.access import Caller
from mge_ray.domain.errors import UnknownExecutionError
from mge_ray.domain.progress import atom_state, execution_state, wave_state
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.pipeline import views
from mge_ray.pipeline.partial import mark_partial
from mge_ray.pipeline.wire import on_the_wire
from mge_ray.pipeline.workspace import assemble
from tests.builders import settings
from tests.engines import service


class LibraryExecutions(Executions):
    """Executions of an ExecutionServiceV2 whose model and validator are given."""

    def __init__(self, client=None, validator=None) -> None:
        self.journal = MemoryJournal()
        self.engine = service(client, validator, journal=self.journal)
        self.away: Exception | None = None
        self.events_read = 0
        self._tenants: dict[UUID, tuple[str, float]] = {}

    async def ready(self):
        self._answer()

    async def start(self, plan, choices, *, tenant, execution_id):
        self._answer()
        if execution_id in self._tenants:
            return execution_id
        self._tenants[execution_id] = tenant, time.time()
        wishes = settings(max_concurrency=choices.max_concurrency, tenant=tenant)
        return await self.engine.start_plan(plan, settings=wishes, execution_id=execution_id)

    async def tenant_of(self, execution_id):
        if execution_id not in self._tenants:
            raise UnknownExecutionError(f"no execution {execution_id}")
        return self._tenants[execution_id][0]

    async def listed(self, tenant, *, limit, before):
        places = sorted(((at, one) for one, (whose, at) in self._tenants.items() if whose == tenant), reverse=True)
        found = [(at, one) for at, one in places if before is None or (at, one) < before][:limit]
        return [ListedExecution(await self.state(one), at) for at, one in found]

    async def state(self, execution_id):
        self._answer()
        return execution_state(self.engine.machine(execution_id), now=time.time())

    async def waves(self, execution_id):
        return views.waves(self.engine.machine(execution_id))

    async def wave(self, execution_id, wave_id):
        return wave_state(self.engine.machine(execution_id), wave_id)

    async def atom(self, execution_id, atom_id):
        return atom_state(self.engine.machine(execution_id), atom_id)

    async def atom_rows(self, execution_id, *, ids, after, limit):
        return views.atom_rows(self.engine.machine(execution_id), ids, after, limit)

    async def attempts(self, execution_id, atom_id):
        return views.atom_attempts(self.engine.machine(execution_id), atom_id)

    async def report(self, execution_id):
        return views.report(self.engine.machine(execution_id))

    async def project(self, execution_id):
        machine = self.engine.machine(execution_id)
        codes, report = views.accepted(machine)
        files = mark_partial(machine.plan, codes, assemble(machine.plan, codes), report)
        return Project(machine.plan.name, files, report.partial)

    async def events(self, execution_id, *, after, limit):
        self._answer()
        self.events_read += 1
        kept = self.journal.events_of(execution_id)
        return [on_the_wire(seq, event) for seq, event in enumerate(kept, start=1) if seq > after][:limit]

    async def pause(self, execution_id, *, reason, now):
        return await self.engine.pause_execution(execution_id, reason=reason, now=now)

    async def resume(self, execution_id):
        return await self.engine.resume_execution(execution_id)

    async def cancel(self, execution_id, *, reason):
        return await self.engine.cancel_execution(execution_id, reason=reason)

    async def retry(self, execution_id, atom_ids: Sequence[str]):
        return await self.engine.retry_execution(execution_id, atom_ids)

    async def edit(self, execution_id, atom_id, code, *, by):
        return await self.engine.edit_atom(execution_id, atom_id, code, by=by)

    async def approve(self, execution_id, atom_id, *, by, note, despite_failures):
        return await self.engine.approve_atom(
            execution_id, atom_id, by=by, note=note, despite_failures=despite_failures
        )

    async def set_budget(self, execution_id, limit_usd, *, by, reason):
        return await self.engine.set_budget(execution_id, limit_usd, by=by, reason=reason)

    async def set_concurrency(self, execution_id, limit, *, by):
        return await self.engine.change_concurrency(execution_id, limit, by=by)

    async def throttling(self):
        return await self.engine.throttling()

    async def metrics_text(self):
        self._answer()
        return b"# nothing is counted here\n"

    def _answer(self) -> None:
        if self.away is not None:
            raise self.away


class KnownTokens:
    """Tokens in a dictionary; acts in a list."""

    def __init__(self, **callers: Caller) -> None:
        self.callers = dict(callers)
        self.acts: list[tuple[str, str, dict[str, object]]] = []
        self.asked = 0

    async def caller(self, token):
        self.asked += 1
        return self.callers.get(token)

    async def audit(self, caller, verb, execution_id, details):
        self.acts.append((caller.name, verb, details))


class KeptStarts:
    """Idempotency keys in a dictionary."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[UUID, str]] = {}

    async def claim(self, tenant, key, body_hash):
        the_id, kept = self._kept.setdefault((tenant, key), (uuid4(), body_hash))
        return the_id, kept == body_hash
