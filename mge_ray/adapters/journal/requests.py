"""Requests to the owner of an execution, put where both sides can reach them: the journal's table `requests`.

A request is open until its owner takes it and done once that has answered; whoever asked may withdraw an open one. It
is meant for one epoch: a later owner never carries it out. Rows stay, as a record of who asked for what.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, select, update

from mge_ray.adapters.journal.database import reading, writing
from mge_ray.adapters.journal.tables import requests
from mge_ray.domain.generation import whole

OPEN_AT_ONCE = 100


class Standing(str, Enum):
    """How far a request is."""

    OPEN = "open"
    TAKEN = "taken"
    DONE = "done"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """One wish: a verb with its arguments, for the owner that holds `epoch`. `answer` is why it was refused."""

    execution_id: UUID
    epoch: int
    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)
    made_by: str = ""
    request_id: UUID = field(default_factory=uuid4)
    standing: Standing = Standing.OPEN
    answer: str = ""


def put_request(url: str, request: ControlRequest) -> None:
    """Put a request where the owner looks."""
    row = {
        "request_id": str(request.request_id),
        "execution_id": str(request.execution_id),
        "epoch": request.epoch,
        "made_at": time.time(),
        "made_by": whole(request.made_by).replace("\0", ""),
        "verb": request.verb,
        "arguments": json.dumps(request.arguments),
        "standing": Standing.OPEN.value,
        "answer": "",
    }
    with writing(url) as connection:
        connection.execute(insert(requests), row)


def open_requests(url: str, execution_ids: Sequence[UUID]) -> list[ControlRequest]:
    """Return what is asked of these executions' owners, the oldest first."""
    wanted = (
        select(requests)
        .where(
            requests.c.standing == Standing.OPEN.value,
            requests.c.execution_id.in_([str(one) for one in execution_ids]),
        )
        .order_by(requests.c.made_at, requests.c.request_id)
        .limit(OPEN_AT_ONCE)
    )
    with reading(url) as connection:
        return [_request(row._mapping) for row in connection.execute(wanted)]  # noqa: SLF001  # public, in spite of its name


def read_request(url: str, request_id: UUID) -> ControlRequest:
    """Return how a request stands."""
    with reading(url) as connection:
        row = connection.execute(select(requests).where(requests.c.request_id == str(request_id))).one()
        return _request(row._mapping)  # noqa: SLF001  # public, in spite of its name


def move_request(url: str, request_id: UUID, before: Standing, after: Standing, answer: str = "") -> bool:
    """Return whether the request stood at `before`, and stands at `after` now: two sides cannot both move it."""
    moved = (
        update(requests)
        .where(requests.c.request_id == str(request_id), requests.c.standing == before.value)
        .values(standing=after.value, answer=whole(answer).replace("\0", ""))
    )
    with writing(url) as connection:
        return connection.execute(moved).rowcount == 1


def _request(row: Any) -> ControlRequest:  # noqa: ANN401  # a row's mapping
    return ControlRequest(
        execution_id=UUID(row["execution_id"]),
        epoch=row["epoch"],
        verb=row["verb"],
        arguments=json.loads(row["arguments"]),
        made_by=row["made_by"],
        request_id=UUID(row["request_id"]),
        standing=Standing(row["standing"]),
        answer=row["answer"],
    )
