"""The requests of the API as data: one description serves the blocking client and the asynchronous one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

from pydantic import BaseModel, ValidationError

from mge_ray.api import schemas as s
from mge_ray.api.schemas import PREFIX
from mge_ray.client.errors import ServiceUnavailableError
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.state import AtomState, ExecutionStatus

JSON_BODY = {"Content-Type": "application/json", "X-Request-Disconnect-Disabled": "?1"}
"""Ray Serve's own header: what was sent is carried out also if the line breaks before a replica has begun."""
T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read. One that is `repeatable` may be sent again when no answer came."""

    method: str
    path: str
    read: Callable[[bytes], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


def start(
    plan: Masterplan | s.StartExecutionRequest, settings: s.StartSettings | None, key: str | None
) -> Call[s.StartExecutionResponse]:
    """Start a plan. A key is made where none is given, so that it can be sent again without starting twice."""
    request = plan if isinstance(plan, s.StartExecutionRequest) else start_request(plan)
    if settings is not None:
        request = request.model_copy(update={"settings": settings})
    headers = {**JSON_BODY, "Idempotency-Key": key or uuid4().hex}
    body = request.model_dump_json(exclude_defaults=True).encode()
    return Call("POST", f"{PREFIX}/start", _reader(s.StartExecutionResponse), body=body, headers=headers)


def start_request(plan: Masterplan) -> s.StartExecutionRequest:
    """Return the request that starts this plan as it is."""
    data = plan.model_dump(mode="json", exclude_defaults=True)
    atoms = {atom.id: atom.model_dump(mode="json", exclude_defaults=True) for atom in plan.atoms}
    return s.StartExecutionRequest.model_validate({**data, "atoms": atoms})


def whoami() -> Call[s.CallerResponse]:
    """Ask whose token it is."""
    return Call("GET", f"{PREFIX}/whoami", _reader(s.CallerResponse))


def listed(limit: int, cursor: str | None) -> Call[s.ExecutionListResponse]:
    """List executions."""
    params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    return Call("GET", PREFIX, _reader(s.ExecutionListResponse), params)


def status(execution_id: UUID) -> Call[s.ExecutionStatusResponse]:
    """Look at an execution."""
    return Call("GET", _at(execution_id), _reader(s.ExecutionStatusResponse))


def progress(execution_id: UUID) -> Call[s.ProgressResponse]:
    """Look at an execution and its waves."""
    return Call("GET", _at(execution_id, "progress"), _reader(s.ProgressResponse))


def wave(execution_id: UUID, wave_id: int) -> Call[s.WaveStatusResponse]:
    """Look at a wave."""
    return Call("GET", _at(execution_id, f"waves/{wave_id}"), _reader(s.WaveStatusResponse))


def atom(execution_id: UUID, atom_id: str) -> Call[AtomState]:
    """Look at an atom."""
    return Call("GET", _of_atom(execution_id, atom_id), _reader(AtomState))


def atoms(execution_id: UUID, ids: Iterable[str], after: int, limit: int) -> Call[s.AtomListResponse]:
    """List atoms."""
    params = {"id": list(ids), "after": after, "limit": limit}
    return Call("GET", _at(execution_id, "atoms"), _reader(s.AtomListResponse), params)


def attempts(execution_id: UUID, atom_id: str) -> Call[s.AttemptsResponse]:
    """Look at an atom's attempts."""
    return Call("GET", _of_atom(execution_id, atom_id, "/attempts"), _reader(s.AttemptsResponse))


def metrics(execution_id: UUID) -> Call[s.MetricsResponse]:
    """Get an execution's figures."""
    return Call("GET", _at(execution_id, "metrics"), _reader(s.MetricsResponse))


def events(execution_id: UUID, after: int, limit: int) -> Call[s.EventsResponse]:
    """Get a page of events."""
    return Call("GET", _at(execution_id, "events"), _reader(s.EventsResponse), {"after": after, "limit": limit})


def output(execution_id: UUID) -> Call[bytes]:
    """Get the project as a zip."""
    return Call("GET", _at(execution_id, "output"), bytes)


def concurrency() -> Call[s.ConcurrencyResponse]:
    """Look at how calls are throttled."""
    return Call("GET", f"{PREFIX}/concurrency", _reader(s.ConcurrencyResponse))


def steer(execution_id: UUID, verb: str, wish: BaseModel | None = None) -> Call[s.ExecutionStatusResponse]:
    """Do something with an execution; sent again only where twice is the same as once."""
    return _post(_at(execution_id, verb), wish, repeatable=verb in {"pause", "resume", "cancel", "concurrency"})


def change_atom(execution_id: UUID, atom_id: str, verb: str, wish: BaseModel) -> Call[s.ExecutionStatusResponse]:
    """Edit or approve an atom."""
    return _post(_of_atom(execution_id, atom_id, f"/{verb}"), wish, repeatable=False)


def events_path(execution_id: UUID) -> str:
    """Return where the events are followed."""
    return _at(execution_id, "events")


def _post(path: str, wish: BaseModel | None, *, repeatable: bool) -> Call[s.ExecutionStatusResponse]:
    body = wish.model_dump_json().encode() if wish is not None else b"{}"
    return Call("POST", path, _reader(s.ExecutionStatusResponse), body=body, headers=JSON_BODY, repeatable=repeatable)


def _at(execution_id: UUID, what: str = "") -> str:
    return f"{PREFIX}/{execution_id}/{what}" if what else f"{PREFIX}/{execution_id}"


def _of_atom(execution_id: UUID, atom_id: str, what: str = "") -> str:
    return _at(execution_id, f"atoms/{quote(atom_id, safe='/')}{what}")


def _reader(model: type[Model]) -> Callable[[bytes], Model]:
    """Return what reads a model; what a newer service tells beyond it is left out."""
    return model.model_validate_json


def read(call: Call[T], body: bytes) -> T:
    """Return what an answer says; raises ServiceUnavailableError where it is no answer of the service."""
    try:
        return call.read(body)
    except ValidationError as error:
        raise ServiceUnavailableError(
            f"{call.path} was answered by something else: {error.errors()[0]['msg']}"
        ) from None


def is_at_rest(state: s.ExecutionStatusResponse) -> bool:
    """Return whether nothing more will happen by itself."""
    return state.status.ended or (state.status is ExecutionStatus.PAUSED and not state.atoms_in_flight)
