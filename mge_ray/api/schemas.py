"""Requests and responses of `/api/v2/execution`. Names and units are the domain's."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, computed_field

from mge_ray.domain.access import Role
from mge_ray.domain.atom import AtomId
from mge_ray.domain.cost import DEFAULT_BUDGET_USD
from mge_ray.domain.events import MOST_CONCURRENCY
from mge_ray.domain.lease import DEFAULT_PRIORITY, HIGHEST_PRIORITY, LOWEST_PRIORITY
from mge_ray.domain.state import ExecutionState, WaveState
from mge_ray.domain.throttle import ThrottleView
from mge_ray.pipeline.report import ExecutionReport
from mge_ray.pipeline.views import AtomRow, AttemptView
from mge_ray.pipeline.wire import WireEvent

PREFIX = "/api/v2/execution"
MAX_CODE_CHARS = 1_000_000
MAX_NAMED = 1_000

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]

EXAMPLE_ATOMS = {
    "double": {
        "id": "double",
        "file": "shop.py",
        "symbol": "double",
        "signature": "def double(amount: int) -> int",
        "description": "Return twice the amount.",
        "tests": ["tests/test_shop.py::test_double"],
    },
    "total": {
        "id": "total",
        "file": "shop.py",
        "symbol": "total",
        "signature": "def total(amounts: list[int]) -> int",
        "description": "Return the sum of every amount doubled.",
        "depends_on": ["double"],
        "tests": ["tests/test_shop.py::test_total"],
    },
}
EXAMPLE_START: dict[str, Any] = {
    "masterplan_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "name": "shop",
    "execution_plan": [{"wave_id": 1, "atom_ids": ["double"]}, {"wave_id": 2, "atom_ids": ["total"]}],
    "atoms": EXAMPLE_ATOMS,
    "files": {
        "shop.py": (
            "def double(amount: int) -> int:\n    raise NotImplementedError\n\n\n"
            "def total(amounts: list[int]) -> int:\n    raise NotImplementedError\n"
        ),
        "tests/test_shop.py": (
            "from shop import double, total\n\n\ndef test_double():\n    assert double(21) == 42\n\n\n"
            "def test_total():\n    assert total([1, 2]) == 6\n"
        ),
    },
    "settings": {"budget_usd": 5.0, "max_concurrency": 10},
}


class Wire(BaseModel):
    """What comes from outside: nothing unknown, nothing infinite; numbers and truth values as JSON writes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StartSettings(Wire):
    """How an execution is to run: US dollars, seconds, calls in flight. What is left out is the service's default.

    `model` and `escalation_model` (the last attempt's, where no temperature is taken) are names of models; an empty
    `escalation_model` means none. With `reuse`, code that passed the same checks in an earlier execution is taken over.
    """

    model: ModelName | None = None
    escalation_model: ModelName | Annotated[str, StringConstraints(max_length=0)] | None = None
    budget_usd: Annotated[float, Field(strict=True, ge=0, le=1e9)] = DEFAULT_BUDGET_USD
    atom_budget_usd: Annotated[float, Field(strict=True, ge=0, le=1e9)] | None = None
    max_concurrency: Annotated[int, Field(strict=True, ge=1, le=MOST_CONCURRENCY)] = 100
    priority: Annotated[int, Field(strict=True, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)] = DEFAULT_PRIORITY
    max_tokens: Annotated[int, Field(strict=True, ge=64, le=64_000)] = 4_096
    atom_timeout_s: Annotated[float, Field(strict=True, gt=0, le=86_400)] = 300.0
    call_timeout_s: Annotated[float, Field(strict=True, gt=0, le=3_600)] = 120.0
    reuse: StrictBool = True


class StartExecutionRequest(Wire):
    """A masterplan to execute.

    `atoms` are the units by id, `execution_plan` the waves in order (left out: computed from the dependencies), `files`
    the skeleton and the tests by path. `settings` say how to run.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_START]})

    masterplan_id: UUID | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    description: Annotated[str, StringConstraints(max_length=200_000)] = ""
    execution_plan: tuple[dict[str, Any], ...] = ()
    atoms: dict[str, dict[str, Any]]
    files: dict[str, str] = {}
    acceptance_tests: tuple[str, ...] = ()
    validation: dict[str, Any] = {}
    settings: StartSettings = StartSettings()


class StartExecutionResponse(BaseModel):
    """The execution exists; where it can be watched."""

    execution_id: UUID
    status_url: str
    events_url: str


class PauseRequest(Wire):
    """With `now`, what is in flight is given up and counted as unknown spend; else it finishes and is kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "lunch", "now": False}]})

    reason: Reason = "requested"
    now: StrictBool = False


class CancelRequest(Wire):
    """Why the execution is to end now."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the plan was wrong"}]})

    reason: Reason = "requested"


class RetryRequest(Wire):
    """Which failed atoms get new attempts; none named means all of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"atom_ids": []}]})

    atom_ids: Annotated[tuple[AtomId, ...], Field(max_length=MAX_NAMED)] = ()


class BudgetRequest(Wire):
    """Another hard limit in US dollars, and why; both are audited."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"limit_usd": 10.0, "reason": "more atoms than planned"}]}
    )

    limit_usd: Annotated[float, Field(strict=True, ge=0, le=1e9)]
    reason: Reason


class ConcurrencyRequest(Wire):
    """Another bound for calls in flight."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 20}]})

    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_CONCURRENCY)]


class EditRequest(Wire):
    """Code written by hand; it is checked like any other."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"code": "def double(amount: int) -> int:\n    return 2 * amount\n"}]}
    )

    code: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CODE_CHARS)]


class ApproveRequest(Wire):
    """That a person has looked at the code; with `despite_failures`, that a failed atom's is to be used."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "read it"}]})

    note: Annotated[str, StringConstraints(max_length=2_000)] = ""
    despite_failures: StrictBool = False


class ExecutionStatusResponse(ExecutionState):
    """How an execution stands. Money in US dollars, time in seconds, shares in percent."""

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own form
    @property
    def completion(self) -> float:
        """Share of atoms that reached an end, in percent."""
        return self.completion_percent

    @computed_field  # type: ignore[prop-decorator]
    @property
    def precision(self) -> float:
        """Share of all atoms that succeeded, in percent."""
        return self.precision_percent


class WaveStatusResponse(WaveState):
    """How a wave stands."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def completion(self) -> float:
        """Share of the wave's atoms that reached an end, in percent."""
        return self.completion_percent


class ProgressResponse(BaseModel):
    """An execution at a glance: itself and every wave."""

    execution: ExecutionStatusResponse
    waves: list[WaveStatusResponse]


class ExecutionListItem(BaseModel):
    """One execution in the list. `created_at` is in seconds since the epoch."""

    created_at: float
    execution: ExecutionStatusResponse


class ExecutionListResponse(BaseModel):
    """A page of executions, the latest first; `next_cursor` gets the following ones, null at the end."""

    executions: list[ExecutionListItem]
    next_cursor: str | None


class AtomListResponse(BaseModel):
    """A page of atoms in the plan's order; `next_after` gets the following ones, null at the end."""

    atoms: list[AtomRow]
    next_after: int | None


class AttemptsResponse(BaseModel):
    """An atom's attempts, the first one first."""

    atom_id: str
    attempts: list[AttemptView]


class EventsResponse(BaseModel):
    """Events after a sequence number; `next_after` is what to ask with next."""

    events: list[WireEvent]
    next_after: int


class CallerResponse(BaseModel):
    """Who calls: the token's name, its tenant (empty: nobody's in particular) and its role."""

    name: str
    tenant: str
    role: Role


class ConcurrencyResponse(BaseModel):
    """How calls are throttled now, by model class. Rates are per minute."""

    throttles: list[ThrottleView]


class MetricsResponse(BaseModel):
    """The figures of one execution: precision, cost, time, retries; `report` has them by wave and atom."""

    execution_id: UUID
    simulated: bool
    precision_percent: float
    atoms_total: int
    atoms_succeeded: int
    atoms_failed: int
    atoms_blocked: int
    attempts: int
    retry_rate: float
    success_after_retry: float | None
    total_cost_usd: float
    unknown_cost_usd: float
    cost_per_succeeded_atom_usd: float | None
    total_time_seconds: float
    check_seconds: float
    atoms_reused: int
    report: ExecutionReport


class Problem(BaseModel):
    """RFC 9457: what went wrong, in `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: list[dict[str, Any]] = []
