"""What pytest does the same way for every workspace, done once in the runner, before the fork.

Measured, of 75 ms of `pytest.main` on a busy machine: 13 to register its own plugins, 14 to look for fixtures in them.
Both are the work of one private name of pytest each; where a pytest has no such name, it does as always.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# Before any configuration of the workspace. A report is read from hooks, so nothing needs the cache or faulthandler.
_QUIET = ("-q", "-s", "--tb=short", "--continue-on-collection-errors")
OPTIONS = (*_QUIET, "-p", "no:cacheprovider", "-p", "no:faulthandler")
_FIXTURE = "FixtureFunctionDefinition"
_prepared: list[Any] = []


class Observer:
    """The pytest plugin that sees, in the warm-up, which plugins pytest has and which fixtures are in them."""

    def __init__(self) -> None:
        self._modules: dict[int, tuple[object, ModuleType | None]] = {}
        self._barren_types: set[type] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection(self, session: Any) -> None:  # noqa: ANN401
        """Look once all plugins are there, those that pytest makes in the run included."""
        for plugin in session.config.pluginmanager.get_plugins():
            if isinstance(plugin, type):  # looked through as always; its type says nothing about it
                continue
            holder = plugin if isinstance(plugin, ModuleType) else type(plugin)
            members = {name: getattr(holder, name, None) for name in dir(holder)}
            fixtures = {name: one for name, one in members.items() if type(one).__name__ == _FIXTURE}
            if isinstance(plugin, ModuleType):
                self._modules[id(plugin)] = (plugin, _module_of(plugin.__name__, fixtures) if fixtures else None)
            elif not fixtures:
                self._barren_types.add(type(plugin))

    def holder_of_fixtures(self, plugin: object) -> object | None:
        """Return what has the plugin's fixtures and little else; None if there are none."""
        if id(plugin) in self._modules:
            return self._modules[id(plugin)][1]
        return None if type(plugin) in self._barren_types else plugin


def prepare(observer: Observer) -> None:
    """Do in this process what `run` in its children need not do again."""
    from _pytest import config, fixtures  # noqa: PLC0415

    if hasattr(config, "get_config"):
        _prepared.append(config.get_config(list(OPTIONS)))
    manager: Any = getattr(fixtures, "FixtureManager", None)
    scan = getattr(manager, "pytest_plugin_registered", None)
    if scan is None:
        return

    def pytest_plugin_registered(self: Any, plugin: object, plugin_name: str) -> None:  # noqa: ANN401
        holder = observer.holder_of_fixtures(plugin)
        if holder is not None:
            scan(self, plugin=holder, plugin_name=plugin_name)

    manager.pytest_plugin_registered = pytest_plugin_registered


def run(arguments: Sequence[str], plugins: Sequence[object], folder: Path) -> int:
    """Return pytest's exit code; the first run in a child of a prepared runner begins where that one stopped."""
    everything = [*OPTIONS, *arguments]
    if _prepared:
        _begin_with(_prepared.pop(), everything, plugins, folder)
    return int(pytest.main(everything, plugins=list(plugins)))


def _begin_with(prepared: Any, arguments: list[str], plugins: Sequence[object], folder: Path) -> None:  # noqa: ANN401
    """Hand the prepared configuration to the next caller of `get_config`, once: a test may run pytest itself."""
    from _pytest import config  # noqa: PLC0415

    make = config.get_config

    def get_config(*_: Any, **__: Any) -> Any:  # noqa: ANN401
        config.get_config = make
        return prepared

    prepared.invocation_params = config.Config.InvocationParams(args=arguments, plugins=plugins, dir=folder)
    config.get_config = get_config


def _module_of(name: str, members: dict[str, object]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module
