"""What planning leaves and shows: the plan file, the table of requirements beside it, and both as text for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mge_ray.cli.forecasting import table
from mge_ray.cli.planner import Planned
from mge_ray.domain.errors import MgeRayError
from mge_ray.domain.forecast import Forecast
from mge_ray.domain.plan import Masterplan
from mge_ray.pipeline.plan_file import dump_plan

TEXT_CHARS = 90
NAMES_SHOWN = 4


class PlanOutputError(MgeRayError):
    """A plan file that cannot be written."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def plan_yaml(plan: Masterplan) -> str:
    """Return the plan as YAML that `load_plan` reads back as an equal plan."""
    data = json.loads(dump_plan(plan))
    waves = [list(wave.atom_ids) for wave in plan.waves]
    data["execution_plan"] = waves
    order = ("masterplan_id", "name", "description", "acceptance_tests", "validation", "execution_plan")
    ordered = {key: data[key] for key in (*order, "atoms", "files") if key in data}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000)


def side_path(path: Path) -> Path:
    """Return where the table of a plan file lies."""
    return path.with_name(f"{path.name.removesuffix(path.suffix)}.requirements.json")


def write_plan(planned: Planned, path: Path) -> None:
    """Write the plan (JSON where the name says so, YAML elsewhere) and its table; raise PlanOutputError."""
    text = dump_plan(planned.plan) if path.suffix.lower() == ".json" else plan_yaml(planned.plan)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        side_path(path).write_text(planned.table.model_dump_json(indent=2) + "\n", "utf-8")
    except OSError as error:
        raise PlanOutputError(f"{path} cannot be written: {error.strerror or error}") from None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What executing a plan would take, as `check` works it out: for people, line by line, and for machines."""

    lines: list[str]
    data: dict[str, Any]


def outlook(expected: Forecast | None) -> Outlook:
    """Return what executing the plan would take."""
    if expected is None:
        return Outlook([], {})
    lines = [*table(expected), "assumptions    `mge-ray check` on the plan file lists them, with their sources"]
    return Outlook(lines, expected.model_dump(mode="json"))


def plan_json(planned: Planned, path: Path, expected: Outlook) -> str:
    """Return what machines read."""
    table = planned.table.model_dump(mode="json")
    data: dict[str, Any] = {
        "plan": str(path),
        "requirements_file": str(side_path(path)),
        **table,
        "modules": modules_of(planned.plan),
        "atoms": len(planned.plan.atoms),
        "waves": [len(wave.atom_ids) for wave in planned.plan.waves],
        "planning": {
            "cost_usd": planned.cost_usd,
            "steps_bought": planned.steps_bought,
            "steps_from_journal": planned.steps_known,
        },
        "estimate": expected.data,
    }
    return json.dumps(data, indent=2)


def modules_of(plan: Masterplan) -> dict[str, int]:
    """Return the files that atoms write, with how many."""
    counts: dict[str, int] = {}
    for atom in plan.atoms:
        counts[atom.file] = counts.get(atom.file, 0) + 1
    return counts


def plan_text(planned: Planned, path: Path, expected: Outlook, *, simulated: bool) -> str:
    """Return what people read before they say yes."""
    plan, table = planned.plan, planned.table
    rows = table.requirements
    must = sum(row.level == "MUST" for row in rows)
    tests = {test for row in rows for test in row.tests}
    path_through = plan.critical_path()
    covered = sum(bool(row.tests) for row in rows)
    shares = f"{must} MUST, {len(rows) - must} SHOULD; {covered} covered by {len(tests)} tests"
    lines = [f"requirements   {len(rows)}: {shares}"]
    for row in rows:
        line = f"line {row.line}" if row.line else ""
        lines.append(f"  {row.id:<5}{row.level:<7}{line:<10}{_short(row.text)}")
        lines.append(f"{'':24}-> {_some(row.atoms) or 'the whole package'}; {_count(len(row.tests), 'test')}")
    lines.append(f"modules        {', '.join(f'{name} ({count})' for name, count in modules_of(plan).items())}")
    lines.append(f"plan           {plan.name}: {len(plan.atoms)} atoms in {len(plan.waves)} waves")
    lines += [f"  wave {wave.wave_id:<3} {len(wave.atom_ids):>3}: {_some(wave.atom_ids, 8)}" for wave in plan.waves]
    lines.append(f"critical path  {len(path_through)} atoms: {' -> '.join(path_through[:12])}")
    lines += _weak_text(planned)
    kind = " (simulated)" if simulated else ""
    lines.append(
        f"planning       {_count(planned.steps_bought, 'step')} bought for ${planned.cost_usd:.4f}{kind}, "
        f"{planned.steps_known} from the journal"
    )
    lines += expected.lines
    lines.append(f"written to     {path} and {side_path(path)}")
    return "\n".join(map(_harmless, lines))


def _harmless(line: str) -> str:
    """Return the line without what a terminal would obey: a model wrote parts of it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def _weak_text(planned: Planned) -> list[str]:
    weak = planned.table.weak_tests
    if not weak:
        return ["weak tests     none found, on functions that raise or return a constant or their argument"]
    return [f"weak tests     {len(weak)}, asked for once more:", *(f"  {one.test}: {one.why}" for one in weak)]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= TEXT_CHARS else f"{flat[: TEXT_CHARS - 3]}..."


def _some(names: tuple[str, ...], shown: int = NAMES_SHOWN) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
