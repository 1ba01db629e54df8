"""The HTTP API `/api/v2/execution` and the live page: FastAPI over ports. Knows no Ray and no SQL (ADR 16)."""

from mge_ray.api.app import create_app
from mge_ray.api.limits import ServiceLimits
from mge_ray.api.ports import Executions, Starts, Tokens

__all__ = ["Executions", "ServiceLimits", "Starts", "Tokens", "create_app"]
