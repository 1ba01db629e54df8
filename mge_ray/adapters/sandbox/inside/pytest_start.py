"""pytest's own start, half of it done before the fork: its plugins are registered once and not for every check.

What pytest does between `pytest.main` and reading its arguments depends on none of them: the runner does it once, and
each forked check goes on from there with a copy. A pytest that has other names inside starts as usual.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

FIXED_ARGUMENTS = ("-p", "no:cacheprovider", "-p", "no:faulthandler")
IDLE_PLUGINS = ("debugging", "pastebin", "setuponly", "setupplan", "stepwise")
"""They bring options for people at a terminal, and no fixture. Left out after their options are known, so that a
project's own `addopts` are understood; what they would do is not done."""

_prepared: list[Any] = []


def prepare() -> None:
    """Register the built-in plugins; call once, in the process that forks."""
    try:
        from _pytest.config import get_config  # noqa: PLC0415 - pytest is loaded by now

        made = get_config([*FIXED_ARGUMENTS])
        made.invocation_params = _invocation((), ())
        for name in IDLE_PLUGINS:
            plugin = made.pluginmanager.get_plugin(name)
            if plugin is not None:
                made.pluginmanager.unregister(plugin)
    except (ImportError, AttributeError, TypeError):
        return
    _prepared.append(made)


def main(arguments: Sequence[str], plugins: Sequence[object]) -> int:
    """Run pytest once in this process, which ends with it, and return its exit code."""
    import pytest  # noqa: PLC0415 - warm already, except in a cold run

    given = [*arguments, *FIXED_ARGUMENTS]
    if _prepared:
        from _pytest import config as start  # noqa: PLC0415 - as above

        made = _prepared[0]
        made.invocation_params = _invocation(given, plugins)
        start.get_config = lambda *_args, **_options: made
    return int(pytest.main(given, plugins=list(plugins)))


def _invocation(arguments: Sequence[str], plugins: Sequence[object]) -> Any:  # noqa: ANN401 - pytest's own
    from _pytest.config import Config  # noqa: PLC0415 - as above

    return Config.InvocationParams(args=arguments, plugins=list(plugins), dir=Path.cwd())
