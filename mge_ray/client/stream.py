"""What the messages of an event stream mean, and where to go on after a stream broke."""

from __future__ import annotations

from dataclasses import dataclass

from httpx2 import ServerSentEvent
from pydantic import ValidationError

from mge_ray.api.schemas import ExecutionStatusResponse
from mge_ray.pipeline.wire import WireEvent

Told = WireEvent | ExecutionStatusResponse


@dataclass(slots=True)
class Following:
    """Reads one stream after the other. `after` is the last event seen; `ended` is true when nothing more will come."""

    after: int = 0
    ended: bool = False

    def take(self, message: ServerSentEvent) -> Told | None:
        """Return what a message tells; None where it tells nothing new."""
        if message.event == "end":
            self.ended = True
            return None
        try:
            if message.event == "state":
                return ExecutionStatusResponse.model_validate_json(message.data)
            event = WireEvent.model_validate_json(message.data)
        except ValidationError:  # of a newer service: go on with the next one
            return None
        if event.seq <= self.after:
            return None
        self.after = event.seq
        return event

    @property
    def headers(self) -> dict[str, str]:
        """What a request for the rest of the stream says."""
        return {"Accept": "text/event-stream", "Last-Event-ID": str(self.after)}
