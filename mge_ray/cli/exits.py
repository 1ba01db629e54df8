"""Exit codes, and which status ends in which."""

from __future__ import annotations

from mge_ray.domain.state import ExecutionStatus

ALL_SUCCEEDED = 0
SOME_FAILED = 1
BAD_INPUT = 2
STOPPED_EARLY = 3

BY_STATUS = {ExecutionStatus.COMPLETED: ALL_SUCCEEDED, ExecutionStatus.FAILED: SOME_FAILED}


def exit_code(status: ExecutionStatus) -> int:
    """Return the exit code of a run that ended like this."""
    return BY_STATUS.get(status, STOPPED_EARLY)
