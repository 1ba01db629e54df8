"""The layers below the cluster are tested without Ray: starting it here is a mistake."""

from __future__ import annotations

import pytest
import ray


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Fail whoever starts Ray."""

    def refuse(*args, **kwargs):
        raise AssertionError("tests of this layer run without Ray")

    monkeypatch.setattr(ray, "init", refuse)
