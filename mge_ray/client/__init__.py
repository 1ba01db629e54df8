"""A typed client of the service: `MgeRayClient` and `AsyncMgeRayClient`.

with MgeRayClient("http://127.0.0.1:8000", token="mge_...") as client:
started = client.start(load_plan(Path("plan.yaml")))
for event in client.events(started.execution_id):
print(event.seq, event.kind, event.atom_id)
print(client.metrics(started.execution_id).precision_percent)
"""

from mge_ray.client.asynchronous import AsyncMgeRayClient
from mge_ray.client.errors import ServiceError, ServiceUnavailableError
from mge_ray.client.synchronous import MgeRayClient

__all__ = ["AsyncMgeRayClient", "MgeRayClient", "ServiceError", "ServiceUnavailableError"]
