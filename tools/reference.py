"""Writes docs/reference from the code: commands, settings, states. `--check` says which page is stale."""  # noqa: INP001  # a script

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from mge_ray.api.limits import ServiceLimits
from mge_ray.api.schemas import StartSettings
from mge_ray.cli import app
from mge_ray.cluster.serve import ServeArgs
from mge_ray.domain.plan import ValidationPlan
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.state import ATOM_TRANSITIONS, TRANSITIONS, AtomStatus, ExecutionStatus
from mge_ray.wiring.settings import EngineConfig

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
NOTE = "Written by `python tools/reference.py`; a test says when it is stale.\n"
MODELS: tuple[tuple[type[BaseModel], str], ...] = (
    (StartSettings, "`settings` of `POST /api/v2/execution/start`, and `mge-ray submit`"),
    (ServeArgs, "`args` of a Serve config file, and `serve run serve_app:app NAME=VALUE`"),
    (ServiceLimits, "`limits` of the service: what one replica takes from outside"),
    (EngineConfig, "An engine: what its processes share; set by the options of `run` and `serve`"),
    (AttemptPolicy, "How attempts differ; derived from the model, kept with each execution"),
    (ValidationPlan, "`validation` of a plan"),
)
VARIABLES = (
    ("ANTHROPIC_API_KEY", "The provider's key; only the processes that call have it."),
    ("ANTHROPIC_BASE_URL", "A server that speaks the Messages API, instead of Anthropic's."),
    ("MGE_RAY_DB", "The journal: a file, or a postgresql:// URL. Default: `.mge/journal.db`."),
    ("MGE_RAY_SERVER", "The service that `--server` verbs, `submit` and `fetch` talk to."),
    ("MGE_RAY_TOKEN", "The token they send."),
    ("RAY_ADDRESS", "The Ray cluster to join instead of starting a local one."),
)


def cli() -> str:
    """Return the page of commands."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="mge-ray")
    parts = ["# Commands\n", NOTE, "`mge-ray COMMAND --help` says the same.\n"]
    for name in sorted(command.commands):
        one = command.commands[name]
        inner = one.context_class(one, info_name=name, parent=context)
        usage = " ".join(["mge-ray", name, *one.collect_usage_pieces(inner)])
        parts += [f"## {name}\n", f"```\n{usage}\n```\n", f"{(one.help or '').strip()}\n"]
        rows = [row for parameter in one.params if (row := _row(parameter, inner))]
        if rows:
            parts += ["| | |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def _row(parameter: Any, context: Any) -> str | None:  # noqa: ANN401  # typer's own click, which is private
    record = parameter.get_help_record(context)
    if record is None:
        return None
    return "| " + " | ".join(_cell(text) for text in (f"`{record[0]}`", record[1])) + " |"


def settings() -> str:
    """Return the page of settings."""
    parts = ["# Settings\n", NOTE, "## Environment\n", "| variable | |", "|---|---|"]
    parts += [f"| `{name}` | {told} |" for name, told in VARIABLES]
    for model, title in MODELS:
        parts += [f"\n## {model.__name__}\n", f"{title}.\n", " ".join((model.__doc__ or "").split()) + "\n"]
        parts += ["| field | default | bounds |", "|---|---|---|"]
        schema = model.model_json_schema()
        parts += [_field(name, model, schema["properties"][name]) for name in model.model_fields]
    return "\n".join(parts) + "\n"


def _field(name: str, model: type[BaseModel], schema: dict[str, Any]) -> str:
    info = model.model_fields[name]
    default = "required" if info.is_required() else repr(info.get_default(call_default_factory=True))
    if len(default) > 60:  # noqa: PLR2004  # a nested model
        default = "its own"
    kinds = [one for one in [schema, *schema.get("anyOf", [])] if isinstance(one, dict)]
    words = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "maxLength": "length ≤"}
    bounds = [f"{sign} {one[key]:g}" for one in kinds for key, sign in words.items() if key in one]
    return "| " + " | ".join([f"`{name}`", f"`{_cell(default)}`", ", ".join(dict.fromkeys(bounds))]) + " |"


def states() -> str:
    """Return the page of states, with diagrams drawn from the transitions."""
    parts = ["# States\n", NOTE, "## An execution\n", "```mermaid", "stateDiagram-v2", "  [*] --> pending"]
    moves: dict[tuple[str, str], list[str]] = {}
    for (status, event), after in TRANSITIONS.items():
        if after is not status:
            moves.setdefault((status.value, after.value), []).append(event.__name__)
    moves[ExecutionStatus.RUNNING.value, ExecutionStatus.COMPLETED.value] = ["last atom accepted"]
    moves[ExecutionStatus.RUNNING.value, ExecutionStatus.FAILED.value] = ["an atom or the acceptance failed"]
    parts += [f"  {a} --> {b}: {', '.join(sorted(names))}" for (a, b), names in moves.items()]
    parts += ["```\n", "| state | events it takes | leads to |", "|---|---|---|"]
    for status in ExecutionStatus:
        by_target: dict[str, list[str]] = {}
        for (before, event), after in TRANSITIONS.items():
            if before is status:
                by_target.setdefault(after.value, []).append(event.__name__)
        parts += [f"| {status.value} | {', '.join(sorted(names))} | {after} |" for after, names in by_target.items()]
    parts += [
        "\n## An atom\n",
        "```mermaid",
        "stateDiagram-v2",
        "  [*] --> pending",
        "  pending --> ready: dependencies accepted",
    ]
    parts += [f"  {line}" for line in _atom_moves()]
    parts += ["```\n", "States: " + ", ".join(status.value for status in AtomStatus) + ".\n"]
    parts += ["`blocked`: something below it failed. Nothing that is not in these tables moves anything.\n"]
    return "\n".join(parts)


def _atom_moves() -> Iterable[str]:
    moves: dict[tuple[str, str], list[str]] = {}
    for (status, event), following in ATOM_TRANSITIONS.items():
        for after in following:
            moves.setdefault((status.value, after.value), []).append(event.__name__)
    return [f"{a} --> {b}: {', '.join(sorted(names))}" for (a, b), names in moves.items()]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES = {"cli.md": cli, "settings.md": settings, "states.md": states}


if __name__ == "__main__":
    made = {FOLDER / name: make() for name, make in PAGES.items()}
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
        sys.exit(f"stale in docs/reference: {', '.join(stale)}; run python tools/reference.py" if stale else 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in made.items():
        path.write_text(text, "utf-8")
