"""What one run executes: a small plan whose atoms the simulated server answers wrongly at times, never hopelessly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mge_ray.cli.simulate import configuration
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.retry import MAX_ATTEMPTS
from mge_ray.simulator.config import SimulatorConfig
from mge_ray.simulator.faults import draw_answer

ATOMS, WAVES = 20, 2
FAULTS = (
    "--rate-wrong=0.15",
    "--rate-429=0.04",
    "--rate-529=0.02",
    "--rate-500=0.02",
    "--rate-reset=0.03",
    "--rate-truncated=0.02",
    "--retry-after-s=0.2",
)
LATENCY = "lognormal:0.3:0.4"
CHECK_S = 0.05
ANSWERS_LOOKED_AT = 3 * MAX_ATTEMPTS


@dataclass(frozen=True)
class Setting:
    """A plan and the code that every atom of it must end with, whatever is killed."""

    plan: Masterplan
    codes: dict[str, str]


def simulator(folder: Path, seed: int, settings: list[Setting]) -> SimulatorConfig:
    """Return the server that knows the answers of these settings, with its faults on."""
    answers = {atom_id: code for setting in settings for atom_id, code in setting.codes.items()}
    path = folder / "answers.json"
    path.write_text(json.dumps(answers))
    return configuration([f"--answers={path}", f"--latency={LATENCY}", f"--seed={seed}", *FAULTS])


def setting(name: str, seed: int, *, atoms: int = ATOMS, waves: int = WAVES) -> Setting:
    """Return a plan of functions that return their number; each rests on one of the wave before.

    An answer that a dead gateway had is lost, and the server's next draw is another one: so only names are used for
    which no draws in a row, wherever they begin, are all bad. An undisturbed run completes, and so must a disturbed.
    """
    faults = configuration([f"--seed={seed}", *FAULTS])
    hopeful = (candidate for number in count() if _never_hopeless(faults, candidate := f"{name}_{number}"))
    ids = [next(hopeful) for _ in range(atoms)]
    per_wave = atoms // waves
    described = [
        {
            "id": atom_id,
            "file": "lib/numbers.py",
            "symbol": atom_id,
            "signature": f"def {atom_id}() -> int",
            "depends_on": [ids[place - per_wave]] if place >= per_wave else [],
            "tests": [f"tests/test_numbers.py::test_{atom_id}"],
        }
        for place, atom_id in enumerate(ids)
    ]
    stubs = "\n\n".join(f"def {atom_id}() -> int:\n    raise NotImplementedError\n" for atom_id in ids)
    tests = "\n\n".join(
        f"def test_{atom_id}():\n    time.sleep({CHECK_S})\n    assert numbers.{atom_id}() == {place}\n"
        for place, atom_id in enumerate(ids)
    )
    files = {
        "lib/__init__.py": "",
        "lib/numbers.py": stubs,
        "tests/test_numbers.py": f"import time\n\nfrom lib import numbers\n\n\n{tests}",
    }
    plan = Masterplan.model_validate({"name": name, "atoms": described, "files": files, "acceptance_tests": ["tests"]})
    return Setting(
        plan, {atom_id: f"def {atom_id}() -> int:\n    return {place}\n" for place, atom_id in enumerate(ids)}
    )


def _never_hopeless(faults: SimulatorConfig, atom_id: str) -> bool:
    bad = [draw_answer(faults, atom_id, index) is not None for index in range(ANSWERS_LOOKED_AT)]
    return not any(all(bad[start : start + MAX_ATTEMPTS]) for start in range(len(bad) - MAX_ATTEMPTS + 1))
