"""The blocking client: one method an endpoint, typed answers, patience with a service that restarts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from uuid import UUID

import httpx2

from mge_ray.api.schemas import (
    ApproveRequest,
    BudgetRequest,
    CallerResponse,
    CancelRequest,
    ConcurrencyRequest,
    ConcurrencyResponse,
    EditRequest,
    ExecutionListItem,
    ExecutionStatusResponse,
    MetricsResponse,
    PauseRequest,
    ProgressResponse,
    RetryRequest,
    StartExecutionRequest,
    StartExecutionResponse,
    StartSettings,
    WaveStatusResponse,
)
from mge_ray.client import calls
from mge_ray.client.calls import Call, is_at_rest, read
from mge_ray.client.errors import ServiceError, ServiceUnavailableError, problem_of
from mge_ray.client.patience import OK, PATIENCE_S, STREAM_TIMEOUT, TIMEOUT_S, TRY_AGAIN, Patience
from mge_ray.client.stream import Following
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import AtomState
from mge_ray.pipeline.views import AtomRow, AttemptView
from mge_ray.pipeline.wire import WireEvent

T = TypeVar("T")


class MgeRayClient:
    """A client of one service. Blocking; use it in a `with` block.

    `token` is sent as a bearer token. `patience_s` is how long one request is tried again while the service restarts or
    asks to slow down. Refusals raise ServiceError, a service that cannot be reached ServiceUnavailableError.
    """

    def __init__(
        self, url: str, *, token: str | None = None, patience_s: float = PATIENCE_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ServiceUnavailableError(
                f"{url[:200]!r} is no address of a service; it begins with http:// or https://"
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout_s)
        except (httpx2.InvalidURL, ValueError, TypeError) as error:
            raise ServiceUnavailableError(f"{url!r} is no address of a service: {error}") from None
        self._patience_s = patience_s

    def __enter__(self) -> MgeRayClient:  # noqa: PYI034  # never subclassed
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # ---- control --------------------------------------------------------------------------------------------------

    def start(
        self,
        plan: Masterplan | StartExecutionRequest,
        settings: StartSettings | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> StartExecutionResponse:
        """Start executing a plan; with the same key and plan, the same execution however often it is called."""
        return self._send(calls.start(plan, settings, idempotency_key))

    def pause(self, execution_id: UUID, *, reason: str = "requested", now: bool = False) -> ExecutionStatusResponse:
        """Stop dispatching; what is in flight finishes and is kept, or (`now`) is given up as unknown spend."""
        return self._send(calls.steer(execution_id, "pause", PauseRequest(reason=reason, now=now)))

    def resume(self, execution_id: UUID) -> ExecutionStatusResponse:
        """Go on from where it stands."""
        return self._send(calls.steer(execution_id, "resume"))

    def cancel(self, execution_id: UUID, *, reason: str = "requested") -> ExecutionStatusResponse:
        """End the execution now."""
        return self._send(calls.steer(execution_id, "cancel", CancelRequest(reason=reason)))

    def retry(self, execution_id: UUID, atom_ids: Iterable[str] = ()) -> ExecutionStatusResponse:
        """Grant failed atoms, all or those named, new attempts; it is paused after that."""
        return self._send(calls.steer(execution_id, "retry", RetryRequest(atom_ids=tuple(atom_ids))))

    def set_budget(self, execution_id: UUID, limit_usd: float, *, reason: str) -> ExecutionStatusResponse:
        """Set another hard limit in US dollars; audited."""
        wish = BudgetRequest(limit_usd=limit_usd, reason=reason)
        return self._send(calls.steer(execution_id, "budget", wish))

    def set_concurrency(self, execution_id: UUID, limit: int) -> ExecutionStatusResponse:
        """Set another bound for calls in flight."""
        return self._send(calls.steer(execution_id, "concurrency", ConcurrencyRequest(limit=limit)))

    def edit(self, execution_id: UUID, atom_id: str, code: str) -> ExecutionStatusResponse:
        """Give an atom code written by hand, if it passes its check; it is paused after that."""
        return self._send(calls.change_atom(execution_id, atom_id, "edit", EditRequest(code=code)))

    def approve(
        self, execution_id: UUID, atom_id: str, *, note: str = "", despite_failures: bool = False
    ) -> ExecutionStatusResponse:
        """Say that a person has looked at an atom's code, or that a failed one's is to be used."""
        wish = ApproveRequest(note=note, despite_failures=despite_failures)
        return self._send(calls.change_atom(execution_id, atom_id, "approve", wish))

    # ---- views ----------------------------------------------------------------------------------------------------

    def whoami(self) -> CallerResponse:
        """Return whose token it is and what it may do."""
        return self._send(calls.whoami())

    def executions(self, page: int = 100) -> Iterator[ExecutionListItem]:
        """Yield the executions that the token may see, the latest first, asking for `page` at a time."""
        cursor: str | None = None
        while True:
            found = self._send(calls.listed(page, cursor))
            yield from found.executions
            if (cursor := found.next_cursor) is None:
                return

    def status(self, execution_id: UUID) -> ExecutionStatusResponse:
        """Return how an execution stands."""
        return self._send(calls.status(execution_id))

    def progress(self, execution_id: UUID) -> ProgressResponse:
        """Return an execution and every wave of it."""
        return self._send(calls.progress(execution_id))

    def wave(self, execution_id: UUID, wave_id: int) -> WaveStatusResponse:
        """Return how one wave stands; they are numbered from 1."""
        return self._send(calls.wave(execution_id, wave_id))

    def atom(self, execution_id: UUID, atom_id: str) -> AtomState:
        """Return how one atom stands, with its code."""
        return self._send(calls.atom(execution_id, atom_id))

    def atoms(self, execution_id: UUID, page: int = 1_000) -> Iterator[AtomRow]:
        """Yield all atoms in the plan's order, asking for `page` at a time."""
        after: int | None = 0
        while after is not None:
            found = self._send(calls.atoms(execution_id, (), after, page))
            yield from found.atoms
            after = found.next_after

    def attempts(self, execution_id: UUID, atom_id: str) -> list[AttemptView]:
        """Return an atom's attempts with prompt, code and verdict, the first one first."""
        return self._send(calls.attempts(execution_id, atom_id)).attempts

    def metrics(self, execution_id: UUID) -> MetricsResponse:
        """Return precision, cost, time and retries, and the whole report."""
        return self._send(calls.metrics(execution_id))

    def concurrency(self) -> ConcurrencyResponse:
        """Return how calls are throttled now, by model class."""
        return self._send(calls.concurrency())

    def output(self, execution_id: UUID) -> bytes:
        """Return the assembled project as a zip, partial while atoms are missing."""
        return self._send(calls.output(execution_id))

    def events(self, execution_id: UUID, after: int = 0) -> Iterator[WireEvent]:
        """Yield every event after a sequence number as it happens, once, until the execution has ended."""
        for told in self.follow(execution_id, after):
            if isinstance(told, WireEvent):
                yield told

    def follow(self, execution_id: UUID, after: int = 0) -> Iterator[WireEvent | ExecutionStatusResponse]:
        """Yield events and, between them, how the execution stands; a broken line is taken up where it broke."""
        following, patience = Following(after), Patience(self._patience_s)
        while not following.ended:
            headers: Mapping[str, str] = {}
            try:
                request = self._http.stream(
                    "GET", calls.events_path(execution_id), headers=following.headers, timeout=STREAM_TIMEOUT
                )
                with request as response:
                    headers = response.headers
                    if response.status_code != OK and response.status_code not in TRY_AGAIN:
                        raise ServiceError(problem_of(response.status_code, response.read()))
                    if response.status_code == OK:
                        for message in httpx2.EventSource(response):
                            if (told := following.take(message)) is not None:
                                patience = Patience(self._patience_s)
                                yield told
            except httpx2.TransportError as error:
                why: object = error
            else:
                why = f"answered {response.status_code}"
            if not following.ended:
                self._wait(patience, headers, why)

    def wait(self, execution_id: UUID) -> ExecutionStatusResponse:
        """Return when the execution has ended or is paused with nothing in flight."""
        for told in self.follow(execution_id):
            if isinstance(told, ExecutionStatusResponse) and is_at_rest(told):
                return told
        return self.status(execution_id)

    # ---- small parts ----------------------------------------------------------------------------------------------

    def _send(self, call: Call[T]) -> T:
        patience = Patience(self._patience_s)
        while True:
            headers: Mapping[str, str] = {}
            try:
                response = self._http.request(
                    call.method, call.path, params=call.params, content=call.body, headers=call.headers
                )
            except httpx2.TransportError as error:
                if not call.repeatable and not isinstance(error, httpx2.ConnectError):
                    raise ServiceUnavailableError(f"no answer, and it may have been done: {error!r}") from None
                why: object = repr(error)
            else:
                if response.is_success:
                    return read(call, response.content)
                if response.status_code not in TRY_AGAIN:
                    raise ServiceError(problem_of(response.status_code, response.content))
                why, headers = problem_of(response.status_code, response.content).detail, response.headers
            self._wait(patience, headers, why)

    def _wait(self, patience: Patience, headers: Mapping[str, str], why: object) -> None:
        wait_s = patience.wait_s(headers)
        if wait_s is None:
            raise ServiceUnavailableError(f"{self._http.base_url} does not serve: {why}")
        time.sleep(wait_s)
