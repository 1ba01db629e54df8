"""What the service refuses, as exceptions."""

from __future__ import annotations

from pydantic import ValidationError

from mge_ray.api.schemas import Problem
from mge_ray.domain.errors import MgeRayError

MAX_TEXT_CHARS = 300


class ServiceError(MgeRayError):
    """A refusal of the service. `problem` is what it said; `status` is HTTP's."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status

    def __reduce__(self) -> tuple[type[ServiceError], tuple[Problem]]:
        """Survive pickling, which passes only the message otherwise."""
        return (type(self), (self.problem,))


class ServiceUnavailableError(MgeRayError):
    """The service did not answer in time, or not as itself."""


def problem_of(status: int, body: bytes) -> Problem:
    """Return the problem in a response, also where something else than the service has answered."""
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        text = " ".join(body[:MAX_TEXT_CHARS].decode("utf-8", "replace").split())
        detail = f"answered {status} by something that is not the service: {text or 'no text'}"
        return Problem(type="about:blank", title="no problem document", status=status, detail=detail)
