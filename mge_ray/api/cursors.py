"""Cursors: a place in the list of executions, as a text that means nothing to the client."""

from __future__ import annotations

import base64
import binascii
import json
import math
from uuid import UUID

from mge_ray.api.problems import ProblemError


def written_cursor(created_at: float, execution_id: UUID) -> str:
    """Return the cursor of the place right after this execution."""
    return base64.urlsafe_b64encode(json.dumps([created_at, str(execution_id)]).encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[float, UUID]:
    """Return the place; raise a 400 for a text that is no cursor of ours."""
    try:
        created_at, execution_id = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        place = float(created_at), UUID(execution_id)
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError, OverflowError):
        raise ProblemError(400, "bad-cursor", "the cursor is none of this list; begin without one") from None
    if not math.isfinite(place[0]):
        raise ProblemError(400, "bad-cursor", "the cursor is none of this list; begin without one")
    return place
