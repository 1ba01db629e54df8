"""JSON or YAML text becomes plain data: dicts, lists, strings, numbers, booleans and None.

Owns everything that can be wrong with a text *as text*, bounded in time and depth whatever it holds. What the data
means is left to `plan_file`. YAML is built from parser events, because composing it natively recurses in C without a
guard, and scalars follow YAML 1.2 (`no` and `1_000` are texts).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from mge_ray.domain.errors import PlanError

MAX_DEPTH = 64
MAX_ITEMS = 200_000  # of one YAML list or mapping: reading on would take a second for every 200,000 more
SHOWN_CHARS = 80
SHOWN_NUMBER = 1e30

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,100}$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,6})?$")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")
_CONSTANTS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_CLOSING = object()


class _BadTextError(PlanError):
    """What is wrong with the text, without the file's name."""


def shorten(text: str, limit: int = SHOWN_CHARS) -> str:
    """Return `text` on one line and no longer than `limit`."""
    flat = " ".join(text[: limit * 4].split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def kind(value: object) -> str:
    """Name what a value is, for people who wrote it in a file."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < SHOWN_NUMBER else "a very large number"
    if isinstance(value, str):
        return f"the text {shorten(value, 40)!r}"
    return "a list" if isinstance(value, list) else "a mapping"


def parse_plan_text(text: str, *, suffix: str = "") -> dict[str, Any]:
    """Return the mapping in `text`; raise PlanError with one line that says where it is wrong.

    `suffix` chooses the language (".json", ".yaml", ".yml"); anything else tries JSON, then YAML.
    """
    if not text.strip():
        raise PlanError("the plan is empty; it needs at least 'name' and 'atoms'")
    data = _parse(text, suffix)
    if not isinstance(data, dict):
        raise PlanError(f"the top level is {kind(data)}; a plan is a mapping with 'name' and 'atoms'")
    return data


def _parse(text: str, suffix: str) -> object:
    if suffix == ".json":
        return _parse_json(text)
    if suffix in {".yaml", ".yml"}:
        return _parse_yaml(text)
    try:
        return _parse_json(text)
    except _BadTextError as not_json:
        try:
            return _parse_yaml(text)
        except _BadTextError as not_yaml:
            if not text.lstrip().startswith("{"):
                raise
            raise PlanError(f"neither JSON ({not_json}) nor YAML ({not_yaml})") from None


def _parse_json(text: str) -> object:
    if re.match(r"\s*\[", text):
        return []  # never a plan: no need to read on
    try:
        return json.loads(text, object_pairs_hook=_mapping, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _BadTextError(f"invalid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _BadTextError("nested too deeply to be a plan") from None
    except PlanError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise _BadTextError(f"invalid JSON: {shorten(str(error))}") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _BadTextError(f"the key {shorten(key)!r} stands twice in one mapping; keep one of them")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _BadTextError(f"{name} is not a number a plan can use; write a finite one")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _BadTextError(f"{shorten(text)} is not a number a plan can use; write a finite one")
    return value


def _parse_yaml(text: str) -> object:
    try:
        return _build(yaml.parse(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        raise _BadTextError(f"invalid YAML{_place(error)}: {_problem(error)}") from None
    except yaml.YAMLError as error:
        raise _BadTextError(f"invalid YAML: {shorten(str(error), 200)}") from None
    except (RecursionError, MemoryError):
        raise _BadTextError("nested too deeply to be a plan") from None


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _problem(error: yaml.MarkedYAMLError) -> str:
    return shorten("; ".join(part for part in (error.context, error.problem) if part) or "unreadable", 200)


def _build(events: Iterator[Any]) -> object:
    """Fold parser events into data with a stack of our own; every container is (data, pending key)."""
    stack: list[tuple[dict[str, Any] | list[Any], list[str]]] = []
    root: list[Any] = []
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent) and root:
            _refuse(event, "a second document begins; a plan is one document")
        value = _value(event)
        if value is _CLOSING:
            stack.pop()
        elif value is not _BUILD_NOTHING:
            _attach(value, event, stack, root)
            if not isinstance(root[0], dict):
                return root[0]  # never a plan: no need to read on
            if isinstance(value, dict | list):
                stack.append((value, []))
                if len(stack) > MAX_DEPTH:
                    _refuse(event, f"nested more than {MAX_DEPTH} levels deep; a plan never is")
    return root[0] if root else None


_BUILD_NOTHING = object()


def _value(event: Any) -> object:  # noqa: ANN401 - PyYAML's events have no common typed base
    if isinstance(event, yaml.ScalarEvent):
        _refuse_extras(event)
        return event
    if isinstance(event, yaml.AliasEvent):
        _refuse(event, f"the alias *{shorten(str(event.anchor))} is not supported; write the value out")
    if isinstance(event, yaml.MappingStartEvent):
        _refuse_extras(event)
        return {}
    if isinstance(event, yaml.SequenceStartEvent):
        _refuse_extras(event)
        return []
    if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
        return _CLOSING
    return _BUILD_NOTHING


def _attach(
    value: Any,  # noqa: ANN401 - a container or a scalar event
    event: Any,  # noqa: ANN401 - PyYAML's events have no common typed base
    stack: list[tuple[dict[str, Any] | list[Any], list[str]]],
    root: list[Any],
) -> None:
    if not stack:
        root.append(_scalar(value) if value is event else value)
        return
    holder, pending = stack[-1]
    if len(holder) >= MAX_ITEMS:
        _refuse(event, f"more than {MAX_ITEMS} items in one list or mapping; a plan has fewer")
    if isinstance(holder, list):
        holder.append(_scalar(value) if value is event else value)
    elif pending:
        holder[pending.pop()] = _scalar(value) if value is event else value
    else:
        if value is not event:
            _refuse(event, "a key is a mapping or a list; keys are texts")
        if event.value in holder:
            _refuse(event, f"the key {shorten(event.value)!r} stands twice in one mapping; keep one of them")
        pending.append(event.value)


def _scalar(event: Any) -> object:  # noqa: ANN401 - the same
    text: str = event.value
    if event.style or not event.implicit[0] or len(text) > 2 * SHOWN_CHARS:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.match(text):
        return int(text)
    value = float(text) if _FLOAT.match(text) else None
    if _NOT_FINITE.match(text) or (value is not None and not math.isfinite(value)):
        _refuse(event, f"{shorten(text)} is not a number a plan can use; write a finite one")
    return text if value is None else value


def _refuse_extras(event: Any) -> None:  # noqa: ANN401 - the same
    if event.anchor is not None:
        _refuse(event, f"the anchor &{shorten(event.anchor)} is not supported; write the value out")
    if event.tag is not None and event.tag != "!":
        _refuse(event, f"the tag {shorten(event.tag)!r} is not supported; write a plain value")


def _refuse(event: Any, what: str) -> NoReturn:  # noqa: ANN401 - the same
    raise _BadTextError(f"line {event.start_mark.line + 1}: {what}")
