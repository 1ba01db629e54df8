"""One service with two replicas for all tests of the API over HTTP."""

from __future__ import annotations

import pytest

from tests.api.service import serving


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service"), "--replicas=2") as running:
        yield running


@pytest.fixture(scope="session")
def north(service):
    """An administrator of one tenant."""
    return service.client("north", "admin")
