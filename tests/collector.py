"""An OTLP receiver on the loopback, and what came to it."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Collector:
    """`received` are paths and bodies in the order in which they came."""

    endpoint: str = ""
    received: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Return what sends a program's traces here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}

    @property
    def services(self) -> set[str]:
        """Return the names under which spans were sent."""
        items = [item for one in self._resource_spans() for item in one.resource.attributes]
        return {item.value.string_value for item in items if item.key == "service.name"}

    @property
    def spans(self) -> list[Any]:
        """Return all spans."""
        return [span for one in self._resource_spans() for scope in one.scope_spans for span in scope.spans]

    def _resource_spans(self) -> list[Any]:
        return [one for _, body in self.received for one in ExportTraceServiceRequest.FromString(body).resource_spans]


def paths(spans: list[Any]) -> Counter[tuple[str, ...]]:
    """Return each span's name with those of all above it, and how often that path was seen."""
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "ids are unique"

    def path(span: Any) -> tuple[str, ...]:
        above = path(by_id[span.parent_span_id]) if span.parent_span_id else ()
        return (*above, span.name)

    return Counter(path(span) for span in spans)


def attributes(span: Any) -> dict[str, Any]:
    """Return a span's attributes as plain values."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Receive for the length of the block."""
    collector = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.received.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
