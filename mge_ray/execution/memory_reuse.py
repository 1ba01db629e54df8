"""MemoryReuseStore: accepted code kept in this process, for libraries and tests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from mge_ray.execution.ports import KeptCode, ReuseStore

MAX_ENTRIES = 10_000


class MemoryReuseStore(ReuseStore):
    """Holds the code used last in a dictionary, at most `max_entries` of it. Nothing survives the process."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._kept: OrderedDict[str, KeptCode] = OrderedDict()

    async def find(self, keys: Sequence[str]) -> dict[str, KeptCode]:
        """Return what is kept under these keys, and note that it was used."""
        found = {key: self._kept[key] for key in keys if key in self._kept}
        for key in found:
            self._kept.move_to_end(key)
        return found

    async def keep(self, codes: Sequence[KeptCode]) -> None:
        """Keep code; what was there under the same key gives way."""
        for kept in codes:
            self._kept[kept.key] = kept
            self._kept.move_to_end(kept.key)
        while len(self._kept) > self._max_entries:
            self._kept.popitem(last=False)

    async def drop(self, codes: Sequence[tuple[str, str]]) -> None:
        """Forget entries, given as (key, code): one that holds other code by now stays."""
        for key, code in codes:
            if key in self._kept and self._kept[key].code == code:
                del self._kept[key]
