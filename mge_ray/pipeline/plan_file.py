"""Plan files: a Masterplan as people write it, in JSON or YAML.

The format is Masterplan's fields plus two conveniences: `skeleton`, a folder of files, and waves as plain lists of ids.
Every problem is one line in a PlanError: the file, the place, what is wrong, what to do. `plan_text` owns syntax,
`skeleton_folder` the folder, `domain.plan` what a plan must satisfy.
"""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mge_ray.domain.atom import PLAN_LANGUAGE, AtomicUnit
from mge_ray.domain.errors import PlanError
from mge_ray.domain.plan import MAX_ATOMS, ExecutionWave, Masterplan, ValidationPlan
from mge_ray.pipeline.plan_schema import plan_schema
from mge_ray.pipeline.plan_text import kind, parse_plan_text, shorten
from mge_ray.pipeline.skeleton_folder import read_skeleton

__all__ = ["MAX_PLAN_BYTES", "dump_plan", "load_plan", "parse_plan", "plan_schema"]

Model = TypeVar("Model", bound=BaseModel)

MAX_PLAN_BYTES = 64 << 20
MAX_LIST = 10_000  # of one atom: longer lists are junk, and an error for each item would take minutes
PLAN_KEYS = frozenset({*Masterplan.model_fields, "skeleton"})
MESSAGE_CHARS = 400


def load_plan(path: Path) -> Masterplan:
    """Return the plan in `path`; raise PlanError with one line naming the file, the place and the remedy."""
    try:
        return parse_plan(_read(path), suffix=path.suffix.lower(), base=path)
    except PlanError as error:
        raise PlanError(f"{path}: {shorten(str(error), MESSAGE_CHARS)}") from None


def parse_plan(text: str, *, suffix: str = "", base: Path | None = None) -> Masterplan:
    """Return the plan written in `text`; `base` is its file, below which a `skeleton` may lie. Raises PlanError."""
    return parse_fields(parse_plan_text(text, suffix=suffix), base=base)


def parse_fields(data: Mapping[str, object], *, base: Path | None = None) -> Masterplan:
    """Return the plan that was read into `data`, as `parse_plan` does for a text."""
    _check_keys(data, PLAN_KEYS, "")
    fields = {key: value for key, value in data.items() if key not in {"skeleton", "files"}}
    for key in ("name", "atoms"):
        if key not in data:
            raise PlanError(f"'{key}' is missing; a plan needs 'name' and 'atoms'")
    fields["atoms"] = _atoms(data["atoms"])
    fields["files"] = _files(data, base)
    if "execution_plan" in data:
        fields["execution_plan"] = _waves(data["execution_plan"])
    if "acceptance_tests" in data:
        fields["acceptance_tests"] = _texts(data["acceptance_tests"], "acceptance_tests")
    if "validation" in data:
        fields["validation"] = _checked(ValidationPlan, data["validation"], "validation")
    return _checked(Masterplan, fields, "")


def dump_plan(plan: Masterplan) -> str:
    """Return the plan as JSON that `load_plan` reads back as an equal plan."""
    return plan.model_dump_json(exclude_defaults=True, indent=2) + "\n"


def _read(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(error) from None
    except ValueError as error:  # a NUL in the path
        raise PlanError(f"is not a usable path: {error}") from None
    if stat.S_ISDIR(found.st_mode):
        raise PlanError("is a folder; name the plan file in it")
    if not stat.S_ISREG(found.st_mode):
        raise PlanError("is not a regular file")
    if found.st_size > MAX_PLAN_BYTES:
        raise PlanError(f"is larger than {MAX_PLAN_BYTES >> 20} MiB; move file contents into a 'skeleton' folder")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(error) from None
    except UnicodeDecodeError as error:
        raise PlanError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _unreadable(error: OSError) -> PlanError:
    if isinstance(error, FileNotFoundError):
        return PlanError("there is no such file")
    return PlanError(f"cannot be read: {error.strerror or error}")


def _atoms(value: object) -> list[AtomicUnit]:
    if not isinstance(value, list):
        raise PlanError(f"atoms: expected a list of atoms, got {kind(value)}")
    if len(value) > MAX_ATOMS:
        raise PlanError(f"atoms: {len(value)} entries; {MAX_ATOMS} is the most")
    atoms = [_checked(AtomicUnit, raw, _atom_place(index, raw)) for index, raw in enumerate(value)]
    for index, atom in enumerate(atoms):
        if atom.language == PLAN_LANGUAGE:
            raise PlanError(f"atoms[{index}] ({atom.id!r}): planning steps are made by `mge-ray plan`, not written")
    return atoms


def _atom_place(index: int, raw: object) -> str:
    name = raw.get("id") if isinstance(raw, dict) else None
    return f"atoms[{index}] ({shorten(name, 60)!r})" if isinstance(name, str) else f"atoms[{index}]"


def _files(data: Mapping[str, object], base: Path | None) -> dict[str, str]:
    inline = data.get("files", {})
    if not isinstance(inline, dict):
        raise PlanError(f"files: expected a mapping from path to text, got {kind(inline)}")
    for path, text in inline.items():
        if not isinstance(text, str):
            raise PlanError(f"files: {shorten(path)!r}: expected the file's text, got {kind(text)}")
    files = {**_skeleton(data["skeleton"], base), **inline} if "skeleton" in data else dict(inline)
    _check_folders(files)
    return files


def _skeleton(value: object, base: Path | None) -> dict[str, str]:
    if not isinstance(value, str) or not value or "\0" in value:
        raise PlanError(f"skeleton: expected the name of a folder, got {kind(value)}")
    if base is None:
        raise PlanError("skeleton: only a plan in a file can name a folder; put the texts under 'files'")
    root = base.resolve().parent
    folder = root / value
    if not folder.resolve().is_relative_to(root):
        raise PlanError(f"skeleton: {shorten(value)!r} lies outside the plan's folder; move it below {str(root)!r}")
    if not folder.is_dir():
        raise PlanError(f"skeleton: there is no folder {str(folder)!r}")
    return read_skeleton(folder, skip=base.resolve())


def _check_folders(files: Iterable[str]) -> None:
    names = set(files)
    for name in names:
        for parent in PurePosixPath(name).parents:
            if str(parent) in names:
                raise PlanError(f"files: {str(parent)!r} is a file and the folder of {name!r}; rename one")


def _waves(value: object) -> list[ExecutionWave]:
    if not isinstance(value, list):
        raise PlanError(f"execution_plan: expected a list of waves, got {kind(value)}")
    if len(value) > MAX_ATOMS:
        raise PlanError(f"execution_plan: {len(value)} waves; {MAX_ATOMS} is the most")
    waves = []
    for number, raw in enumerate(value, start=1):
        place = f"execution_plan[{number - 1}]"
        if isinstance(raw, list):
            waves.append(ExecutionWave(wave_id=number, atom_ids=tuple(_texts(raw, place))))
        elif isinstance(raw, dict):
            if "atom_ids" in raw:
                _texts(raw["atom_ids"], f"{place}.atom_ids")
            waves.append(_checked(ExecutionWave, raw, place, long_lists=True))
        else:
            raise PlanError(f"{place}: expected a list of atom ids, got {kind(raw)}")
    return waves


def _texts(value: object, place: str) -> list[str]:
    if not isinstance(value, list):
        raise PlanError(f"{place}: expected a list of texts, got {kind(value)}")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise PlanError(f"{place}[{index}]: expected a text, got {kind(item)}{_quote_advice(item)}")
    return value


def _checked(model: type[Model], raw: object, place: str, *, long_lists: bool = False) -> Model:
    """Build `model` from `raw`, or raise PlanError naming the first problem and its place."""
    if not isinstance(raw, dict):
        raise PlanError(f"{place}: expected a mapping, got {kind(raw)}")
    if model is not Masterplan:
        _check_keys(raw, model.model_fields, place)
        for key, value in raw.items():
            if isinstance(value, list) and len(value) > MAX_LIST and not long_lists:
                raise PlanError(f"{_join(place, (key,))}: {len(value)} entries; {MAX_LIST} is the most")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise PlanError(_one_line(error.errors(include_url=False)[0], place)) from None


def _one_line(problem: ErrorDetails, place: str) -> str:
    where = _join(place, problem["loc"])
    found = problem.get("input")
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "string_type":
        return f"{where}: expected a text, got {kind(found)}{_quote_advice(found)}"
    if problem["type"] == "tuple_type":
        return f"{where}: expected a list, got {kind(found)}"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if not problem["type"].startswith("value_error"):
        message += f", got {kind(found)}"
    return f"{where}: {message}" if where else message


def _check_keys(data: Mapping[str, object], allowed: Iterable[str], place: str) -> None:
    known = sorted(allowed)
    for key in data:
        if key in known:
            continue
        close = difflib.get_close_matches(str(key)[:40], known, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        raise PlanError(f"{place + ': ' if place else ''}unknown key {shorten(str(key))!r}; {advice}")


def _join(place: str, location: Iterable[int | str]) -> str:
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return place


def _quote_advice(value: object) -> str:
    return "; put it in quotes" if isinstance(value, bool | int | float) else ""
