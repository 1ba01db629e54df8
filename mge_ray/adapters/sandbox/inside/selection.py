"""Which tests were asked for; pytest is kept from making the others, which cost more than those that run.

A file of 60 cases of which 9 are wanted took 10 ms to collect whole. What a file, class or function is called says
whether any of its tests can be wanted, unless a plugin of the workspace has a say in collecting: then all are made.
So an error in making a test that nobody asked for, such as a wrong `parametrize`, does not fail those that were.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .node_ids import Requested

_COLLECTING = (
    "pytest_ignore_collect",
    "pytest_collection",
    "pytest_collect_directory",
    "pytest_collect_file",
    "pytest_pycollect_makemodule",
    "pytest_pycollect_makeitem",
    "pytest_make_collect_report",
    "pytest_collectstart",
    "pytest_collectreport",
    "pytest_generate_tests",
    "pytest_make_parametrize_id",
    "pytest_itemcollected",
    "pytest_collection_modifyitems",
    "pytest_deselected",
    "pytest_collection_finish",
)


class Selection:
    """The pytest plugin that narrows a run to the requested tests."""

    def __init__(self, tests: Sequence[str], *companions: object) -> None:
        self._requested = Requested(tests)
        self._ours = {id(self), *map(id, companions)}
        self._narrowed: dict[str, bool] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path, config: Any) -> bool | None:  # noqa: ANN401
        """Pass over a file or folder that holds no requested test; pytest looks at all beside the right one."""
        try:
            node = collection_path.relative_to(config.rootpath).as_posix()
        except ValueError:
            return None
        return True if self._is_useless(node, str(collection_path.parent), config) else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, collector: Any, name: str) -> list[Any] | None:  # noqa: ANN401
        """Make nothing of a name below which no requested test can be; leave all others to pytest."""
        return [] if self._is_useless(f"{collector.nodeid}::{name}", collector.nodeid, collector.config) else None

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:  # noqa: ANN401
        """Keep what was asked for; the files were collected, so that one unknown id does not end the run."""
        kept = [item for item in items if self._requested.around(item.nodeid)]
        if len(kept) < len(items):
            wanted = set(map(id, kept))
            config.hook.pytest_deselected(items=[item for item in items if id(item) not in wanted])
            items[:] = kept

    def _is_useless(self, node: str, parent: str, config: Any) -> bool:  # noqa: ANN401
        if parent not in self._narrowed:
            self._narrowed[parent] = self._is_collected_by_pytest_alone(config.hook)
        return self._narrowed[parent] and not self._requested.touches(node)

    def _is_collected_by_pytest_alone(self, hooks: Any) -> bool:  # noqa: ANN401
        calls = [getattr(hooks, name) for name in _COLLECTING if hasattr(hooks, name)]
        plugins = [one.plugin for call in calls for one in call.get_hookimpls()]
        return all(id(plugin) in self._ours or _is_pytests(plugin) for plugin in plugins)


def _is_pytests(plugin: object) -> bool:
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return str(module).startswith("_pytest.")
