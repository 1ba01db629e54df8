"""Rules for every test: on CI nothing is skipped, and no key of the developer's reaches a test."""

from __future__ import annotations

import os

import pytest

SKIP_NOTHING = "MGE_RAY_SKIP_NOTHING"


@pytest.fixture(autouse=True, scope="session")
def _no_real_key():
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "RAY_ADDRESS", "MGE_RAY_DB"):
        os.environ.pop(name, None)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get(SKIP_NOTHING) and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} skipped, and {SKIP_NOTHING} is set", red=True)
