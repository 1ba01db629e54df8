"""The answers the simulated model knows, and the ways it spoils them.

Owns reading them, the prose around the code, and answer faults; which fault an answer gets is drawn in `faults`.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mge_ray.simulator.config import SimulatorConfig, SimulatorConfigError
from mge_ray.simulator.documents import document_of, wrong_documents
from mge_ray.simulator.faults import AnswerFault, draw_mutation
from mge_ray.simulator.messages import BYTES_PER_TOKEN, Reply, tokens_of
from mge_ray.simulator.mutations import compiles, destructive, mutants

_FENCE_RUN = re.compile("`{3,}")


class AnswerBook:
    """Code by atom id, from files that are read once."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._answers = _read_answers(config.answers)
        self._wrong = _read_wrong_answers(config.wrong_answers)

    def code(self, atom_id: str) -> str | None:
        """Find the right answer, the synthetic one where that is wanted, or None."""
        known = self._answers.get(atom_id)
        if known is None and self._config.synthetic is not None and atom_id:
            return self._config.synthetic.replace("{symbol}", _symbol(atom_id))
        return known

    def reply(self, atom_id: str, fault: AnswerFault | None, answer_index: int, *, max_tokens: int) -> Reply:
        """Give the model's answer with its fault, cut where `max_tokens` ends it."""
        if fault is AnswerFault.REFUSAL:
            return Reply("", "refusal")
        text = self._text(atom_id, fault, answer_index)
        if fault is AnswerFault.CUT:
            return Reply(text[: len(text) // 2], "max_tokens")
        if tokens_of(text) > max_tokens:
            return Reply(_cut(text, max_tokens), "max_tokens")
        return Reply(text, "end_turn")

    def _text(self, atom_id: str, fault: AnswerFault | None, answer_index: int) -> str:
        code = self.code(atom_id)
        if code is None:
            return f"I have no answer for the atom {atom_id!r}." if atom_id else "The prompt names no atom."
        if fault is AnswerFault.NO_CODE:
            return (
                f"For `{atom_id}` I would first settle what its inputs are, then walk over them once and collect the "
                "result. The edge cases deserve a second look. Shall I write it down?"
            )
        if fault is AnswerFault.SYNTAX:
            options = broken(code)
            code = options[draw_mutation(self._config, atom_id, answer_index, len(options))]
        elif fault is AnswerFault.WRONG:
            options = tuple(self._wrong.get(atom_id, ())) or wrong(code)
            code = options[draw_mutation(self._config, atom_id, answer_index, len(options))]
        fence = "`" * max((len(run) + 1 for run in _FENCE_RUN.findall(code)), default=3)
        language = "json" if document_of(self._answers.get(atom_id, "")) is not None else "python"
        return f"Here is the implementation of `{atom_id}`.\n\n{fence}{language}\n{code.rstrip()}\n{fence}\n"


@lru_cache(maxsize=4096)
def wrong(code: str) -> tuple[str, ...]:
    """Wrong versions that any test noticing the code at all should catch; the server cannot run the tests itself.

    Failing functions come first; code without functions is mutated, and what cannot be mutated fails on import.
    """
    document = document_of(code)
    if document is not None:
        return wrong_documents(document)
    found = destructive(code) or mutants(code)
    if found:
        return tuple(mutant.code for mutant in found)
    return (f"{code.rstrip()}\n\nif __name__:\n    raise RuntimeError\n",)


@lru_cache(maxsize=4096)
def broken(code: str) -> tuple[str, ...]:
    """Versions that do not compile: a bracket or a colon is missing, or the text ends early."""
    lines = code.rstrip().splitlines(keepends=True)
    found: list[str] = []
    for number, line in enumerate(lines):
        stripped = line.rstrip()
        if stripped.endswith((":", ")", "]", "}")):
            candidate = "".join([*lines[:number], stripped[:-1] + "\n", *lines[number + 1 :]])
            if not compiles(candidate):
                found.append(candidate)
    return tuple(found) or (f"{code.rstrip()}\n(\n",)


def _cut(text: str, max_tokens: int) -> str:
    return text.encode(errors="surrogatepass")[: max_tokens * BYTES_PER_TOKEN].decode(errors="ignore")


def _symbol(atom_id: str) -> str:
    name = re.sub(r"\W", "_", atom_id)
    return name if name.isidentifier() else f"_{name}"


def _read_answers(path: Path | None) -> Mapping[str, str]:
    if path is None:
        return {}
    if path.is_dir():
        return {file.stem: file.read_text(encoding="utf-8") for file in sorted(path.glob("*.py"))}
    answers = _read_object(path, "{atom id: code}, nor a folder of <atom id>.py files")
    for atom_id, code in answers.items():
        if not isinstance(code, str):
            raise SimulatorConfigError(f"{path}: the answer to atom {atom_id} is not a string of code")
    return answers


def _read_wrong_answers(path: Path | None) -> Mapping[str, list[str]]:
    if path is None:
        return {}
    answers = _read_object(path, "{atom id: [code, ...]}")
    for atom_id, options in answers.items():
        if not isinstance(options, list) or not all(isinstance(code, str) for code in options):
            raise SimulatorConfigError(f"{path}: the wrong answers to atom {atom_id} are not a list of strings")
    return answers


def _read_object(path: Path, form: str) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SimulatorConfigError(f"{path} is no JSON file {form}: {error}") from error
    if not isinstance(data, dict):
        raise SimulatorConfigError(f"{path} is no JSON file {form}")
    return data
