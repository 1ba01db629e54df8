"""What accepted code is kept under: a key of everything that its verdict rests on (ADR 14).

Pure. What of a plan's files a check can see is worked out by the pipeline and arrives as two digests; entries are kept
by a store behind a port.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from pydantic import BaseModel, ConfigDict

from mge_ray.domain.atom import AtomicUnit
from mge_ray.domain.plan import Masterplan

ONLY_HOW_IT_IS_ASKED = {"complexity", "estimated_loc"}
"""Fields of an atom that set a prompt's effort and length, and say nothing about the code that is wanted."""


class ReuseSettings(BaseModel):
    """Whose answers (`provider`) and whose verdicts (`validator`, with its tools' versions) an execution may reuse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    validator: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Digests of what a check sees besides code: the text of the atom's tests, and the files they and it reach."""

    tests: str
    files: str


@dataclass(frozen=True, slots=True)
class AtomKey:
    """Everything a verdict rests on, part by part. `dependencies` are the direct ones, each with all below it."""

    spec: str
    tests: str
    files: str
    validation: str
    validator: str
    provider: str
    dependencies: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """The key itself: equal parts have equal digests, in any process."""
        return digest_of(asdict(self))


@dataclass(slots=True)
class AtomKeys:
    """The keys of one execution's atoms, given the code that is accepted."""

    plan: Masterplan
    settings: ReuseSettings
    surroundings: Callable[[AtomicUnit], Surroundings]
    _validation: str = field(init=False)
    _known: tuple[object, Mapping[str, str], dict[str, str]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._validation = digest_of(self.plan.validation.model_dump(mode="json"))

    def key(self, atom_id: str, version: object, codes: Callable[[], Mapping[str, str]]) -> AtomKey:
        """Return the key of an atom on top of `codes`, which are asked for once per `version`."""
        if self._known is None or self._known[0] != version:
            self._known = version, codes(), {}
        _, accepted, known = self._known
        atom = self.plan.by_id[atom_id]
        around = self.surroundings(atom)
        return AtomKey(
            spec=digest_of(atom.model_dump(mode="json", exclude=ONLY_HOW_IT_IS_ASKED)),
            tests=around.tests,
            files=around.files,
            validation=self._validation,
            validator=self.settings.validator,
            provider=self.settings.provider,
            dependencies=tuple((one, self._code(one, accepted, known)) for one in sorted(set(atom.depends_on))),
        )

    def _code(self, atom_id: str, accepted: Mapping[str, str], known: dict[str, str]) -> str:
        """Return the digest of an atom's code, its place, and of the same for everything below it."""
        stack = [atom_id]
        while stack:
            current = stack[-1]
            atom = self.plan.by_id[current]
            below = sorted(set(atom.depends_on))
            missing = [one for one in below if one not in known]
            if missing:
                stack += missing
                continue
            place = [current, atom.file, atom.symbol, atom.imports, atom.defines]
            known[current] = digest_of([*place, accepted.get(current), [known[one] for one in below]])
            stack.pop()
        return known[atom_id]


def differences(before: AtomKey, after: AtomKey) -> list[str]:
    """Return what of a key changed, in words that follow "because"."""
    told = {
        "spec": "its specification changed",
        "tests": "its tests changed",
        "files": "a file that its code or its tests reach changed",
        "validation": "the plan's validation settings changed",
        "validator": "the validator or one of its tools has another version",
        "provider": "another provider answers",
    }
    found = [text for name, text in told.items() if getattr(before, name) != getattr(after, name)]
    old, new = dict(before.dependencies), dict(after.dependencies)
    found += [f"it rests on {one} now" for one in new if one not in old]
    found += [f"it rests on {one} no longer" for one in old if one not in new]
    found += [
        f"the code of {one}, or of what that rests on, changed" for one in new if one in old and old[one] != new[one]
    ]
    return found


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value as canonical JSON: keys sorted, text as it is."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
