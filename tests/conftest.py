"""Rules for every test: on CI nothing is skipped, and no key of the developer's reaches a test."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.heads import Cluster, head

SKIP_NOTHING = "MGE_RAY_SKIP_NOTHING"


@pytest.fixture(autouse=True, scope="session")
def _no_real_key():
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "RAY_ADDRESS", "MGE_RAY_DB"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _log_of_ones_own():
    """Undo what a process of the engine, made in the test's own, has configured for its log."""
    yield
    log = logging.getLogger("mge_ray")
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """One head node for all tests whose runs join a cluster; each leaves it an idle engine, which the next replaces."""
    home = tmp_path_factory.mktemp("home")
    with head(dashboard=True, HOME=str(home)) as running:
        yield running


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of three megabytes."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder],  # noqa: S607
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)  # noqa: S607


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get(SKIP_NOTHING) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} skipped, and {SKIP_NOTHING} is set", red=True)
