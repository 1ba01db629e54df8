"""What Ray's processes are told of Serve, before there is a Ray: this module imports none."""

from __future__ import annotations

import os

SERVE_ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
"""Each request would else go back and forth between threads of proxy and replica, which wait for each other's
lock; nothing of ours blocks the loop. Not all of RAY_SERVE_THROUGHPUT_OPTIMIZED: that opens ports on replicas."""


def prepare() -> None:
    """Tell it to a Ray that is started from here; what is set already stays."""
    for name, value in SERVE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
