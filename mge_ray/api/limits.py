"""ServiceLimits: how much one replica takes from outside. Every input has a bound."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class ServiceLimits(BaseModel):
    """Bounds of one replica: bytes of a body, requests a second and at once by caller, open streams, seconds.

    `wrong_tokens_per_minute` is how many unknown tokens one address may try before it has to wait.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: Count = 32 << 20
    requests_per_second: Positive = 200.0
    burst: Count = 400
    callers_remembered: Count = 10_000
    wrong_tokens_per_minute: Count = 30
    starts_at_once: Count = 2
    streams: Count = 500
    stream_poll_s: Positive = 0.5
    stream_heartbeat_s: Positive = 15.0
    token_believed_s: Positive = 5.0
    retry_after_s: Count = 2
