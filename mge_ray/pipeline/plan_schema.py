"""The JSON schema of a plan file, for editors and for people.

Derived from `Masterplan`; adds what only files have (`skeleton`, the short form of `execution_plan`) and a description
of every field.
"""

from __future__ import annotations

from typing import Any

from mge_ray.domain.plan import Masterplan

SKELETON = {
    "type": "string",
    "description": "Folder below the plan file; its text files join `files`, which win where both have a path.",
}

_DESCRIPTIONS = {
    "Masterplan": {
        "masterplan_id": "Identity of the plan; derived from its content when left out.",
        "name": "What the plan is called.",
        "description": "What is to be built; part of every prompt.",
        "atoms": "The units of code to be generated.",
        "files": "Text of the skeleton by relative path: stubs, finished modules, tests.",
        "execution_plan": "Waves of atom ids, run one after the other; computed from depends_on when left out.",
        "acceptance_tests": "pytest node ids, files or folders that judge the assembled project.",
        "validation": "Which levels check the atoms, and for how long.",
    },
    "AtomicUnit": {
        "id": "Unique name of the atom within the plan.",
        "name": "What to call it where people read.",
        "description": "What the code has to do.",
        "file": "Module the code is placed into, relative to the workspace.",
        "symbol": "Name the code defines: `parse`, or `Ledger.post` for a method.",
        "signature": "The def or class line the answer must have.",
        "language": "Only python can be checked.",
        "depends_on": "Ids of the atoms whose accepted code this one rests on.",
        "imports": "Import statements the atom may add to its module.",
        "defines": "Further names the atom may define at module level.",
        "preconditions": "What callers guarantee; part of the prompt.",
        "postconditions": "What the code guarantees; part of the prompt.",
        "tests": "pytest node ids or files that judge the atom.",
        "complexity": "How hard it is expected to be; sets the effort of the first attempt.",
        "estimated_loc": "Expected lines of code.",
    },
    "ExecutionWave": {
        "wave_id": "Place of the wave, from 1.",
        "atom_ids": "The atoms that run in it.",
        "tests": "pytest node ids that no single atom is judged by; they run before the next wave opens.",
    },
    "ValidationPlan": {
        "types": "Run mypy on each candidate.",
        "check_timeout_s": "Seconds one candidate's tests may take.",
    },
}


def plan_schema() -> dict[str, Any]:
    """Return the JSON schema of a plan file, in JSON Schema 2020-12."""
    schema = Masterplan.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "mge-ray plan"
    for name, descriptions in _DESCRIPTIONS.items():
        described = schema if name == "Masterplan" else schema["$defs"][name]
        for key, text in descriptions.items():
            described["properties"][key]["description"] = text
    properties = schema["properties"]
    properties["skeleton"] = dict(SKELETON)
    wave = {"$ref": "#/$defs/ExecutionWave"}
    short = {"type": "array", "items": {"type": "string"}}
    properties["execution_plan"]["items"] = {"anyOf": [short, wave]}
    return schema
