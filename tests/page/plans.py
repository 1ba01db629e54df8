"""Plans for the page's tests, and what the simulated model answers to their atoms."""

from __future__ import annotations

from typing import Any

TOTAL = '''def broken_total(amounts: list[int]) -> int:
    """Return the sum of every amount that is above zero."""
    total = 0
    for amount in amounts:
        if amount > 0:
            total += amount
    return total{spoiled}
'''
ANSWERS = {
    **{f"unit{n}": f"def unit{n}(value: int) -> int:\n    return value + {n}\n" for n in range(40)},
    "broken_total": TOTAL.format(spoiled=" + 1"),
}
WRONG_ANSWERS = {"broken_total": [TOTAL.format(spoiled=f" - {n}") for n in (2, 3, 4, 5, 6)]}


def units(name: str, count: int, *, waves: int = 1, broken: bool = False, **settings: Any) -> dict[str, Any]:
    """Return a start's body: functions that add a number, each resting on one of the wave before.

    With `broken` there is one more atom that fails whatever is tried, and one that rests on it.
    """
    ids = [f"unit{n}" for n in range(count)]
    each = count // waves
    atoms = {one: _atom(one, [ids[n - each]] if n >= each else []) for n, one in enumerate(ids)}
    tests = "".join(f"\n\ndef test_{one}():\n    assert units.{one}(1) == {n + 1}\n" for n, one in enumerate(ids))
    if broken:
        atoms["broken_total"] = _atom("broken_total", [], "amounts: list[int]")
        atoms["unit39"] = _atom("unit39", ["broken_total"])
        tests += "\n\ndef test_broken_total():\n    assert units.broken_total([3, -1, 4]) == 7\n"
        tests += "\n\ndef test_unit39():\n    assert units.unit39(1) == 40\n"
    stubs = [f"{atom['signature']}:\n    raise NotImplementedError\n" for atom in atoms.values()]
    return {
        "name": name,
        "atoms": atoms,
        "files": {
            "lib/__init__.py": "",
            "lib/units.py": "\n\n".join(stubs),
            "tests/test_units.py": f"from lib import units\n{tests}",
        },
        "settings": {"reuse": False, "budget_usd": 5.0, **settings},
    }


def star(name: str, count: int) -> dict[str, Any]:
    """Return a start's body: a hub that `count` atoms rest on, and one that rests on all of them."""
    ids = [f"ray{n}" for n in range(count)]
    atoms = {"hub": _atom("hub", []), **{one: _atom(one, ["hub"]) for one in ids}, "rim": _atom("rim", ids)}
    stubs = [f"{atom['signature']}:\n    raise NotImplementedError\n" for atom in atoms.values()]
    tests = [f"def test_{one}():\n    assert units.{one}(1) == 1\n" for one in atoms]
    files = {"lib/__init__.py": "", "lib/units.py": "\n\n".join(stubs), "tests/test_units.py": "\n\n".join(tests)}
    files["tests/test_units.py"] = f"from lib import units\n\n\n{files['tests/test_units.py']}"
    return {"name": name, "atoms": atoms, "files": files, "settings": {"reuse": False, "max_concurrency": 1}}


def _atom(name: str, rests_on: list[str], arguments: str = "value: int") -> dict[str, Any]:
    return {
        "name": f"Do {name}",
        "file": "lib/units.py",
        "symbol": name,
        "signature": f"def {name}({arguments}) -> int",
        "depends_on": rests_on,
        "tests": [f"tests/test_units.py::test_{name}"],
    }
