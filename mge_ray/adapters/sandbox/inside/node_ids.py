"""What contains what among pytest's names of tests."""

import re
from collections.abc import Iterator, Sequence

_CUTS = re.compile(r"::|\[|/")


def covers(test: str, node_id: str) -> bool:
    """Whether the requested test (file, folder, class, function) contains the node."""
    return test in {node_id, "."} or node_id.startswith((f"{test}::", f"{test}[", f"{test.rstrip('/')}/"))


class Requested:
    """Requested tests, found by the nodes around and below them without asking each: both can be thousands."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.tests = tuple(dict.fromkeys(tests))
        self.longest = max(map(len, self.tests), default=0)
        self._by_name: dict[str, list[str]] = {}
        for test in self.tests:
            self._by_name.setdefault(test.rstrip("/"), []).append(test)
        self._above = {name for test in self.tests for name in _names(test, len(test))}

    def around(self, node_id: str) -> list[str]:
        """Return the requested tests that cover the node."""
        names = _names(node_id, self.longest)
        return [test for name in names for test in self._by_name.get(name, ()) if covers(test, node_id)]

    def touches(self, node_id: str) -> bool:
        """Whether a requested test covers the node or is covered by it."""
        return node_id.rstrip("/") in self._above or bool(self.around(node_id))


def _names(node_id: str, longest: int) -> Iterator[str]:
    """Yield what can contain the node, by names up to that length, each once."""
    yield "."
    for cut in _CUTS.finditer(node_id):
        if cut.start() > longest:
            return
        if not node_id[: cut.start()].endswith("/"):
            yield node_id[: cut.start()]
    if node_id not in {".", ""} and not node_id.endswith("/"):
        yield node_id
