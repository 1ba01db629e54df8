"""Drawn requests against the OpenAPI document, by schemathesis: no 5xx, and each answer as the document says.

    python -m tests.api.fuzz --examples 100        # `make fuzz-api`: thousands of cases against a service of its own

Half of the cases are about one execution that exists, the other half about drawn ids. Left out are two checks that ask
for what is no fault here: that what fits the schema be accepted (a plan may fit it and make no sense), and that GET on
`/start` be a 405 (it is the status of an execution of that name: 422).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.api.fuzz_hooks import KNOWN_IDS
from tests.api.service import Service, ended, numbered, serving, started, until

NOT_FAULTS = "positive_data_acceptance,unsupported_method"
_CASES = re.compile(r"(\d+) generated")


@dataclass(frozen=True)
class Fuzzed:
    """How many cases were sent, whether all was as it should be, and what schemathesis says."""

    cases: int
    passed: bool
    text: str


def fuzz(service: Service, folder: Path, *, examples: int, seed: int, phases: str, known: bool) -> Fuzzed:
    """Send drawn requests as an administrator of a tenant; with `known`, about an execution that exists."""
    token = service.token("fuzzed", "admin")
    config = 'hooks = "tests.api.fuzz_hooks"\n'
    if known:
        client = service.client("fuzzed", "admin")
        execution_id = started(client, numbered("plain", 2))
        until(client, execution_id, ended)
        config += f"[parameters]\nexecution_id = {json.dumps(execution_id)}\natom_id = 'plain0'\n"
    (folder / "st.toml").write_text(config, encoding="utf-8")
    program = Path(sys.executable).with_name("schemathesis")
    flags = {"phases": phases, "max-examples": examples, "seed": seed, "exclude-checks": NOT_FAULTS, "workers": 1}
    command = [
        str(program),
        "--config-file",
        str(folder / "st.toml"),
        "run",
        f"{service.url}/openapi.json",
        "-H",
        f"Authorization: Bearer {token}",
    ]
    command += ["--no-color", "--continue-on-failure", "--warnings=off", "--request-timeout=60"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | ({KNOWN_IDS: "1"} if known else {})
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    found = _CASES.search(done.stdout)
    return Fuzzed(
        int(found[1]) if found else 0, done.returncode == 0, _short(done.stdout)[-8_000:] + done.stderr[-2_000:]
    )


def _short(text: str) -> str:
    return "\n".join(line[:500] for line in text.splitlines())


def main() -> int:
    """Start a service and send what was asked for; 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="drawn cases per operation and half")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as name, serving(Path(name), latency="fixed:0.05") as service:
        for known in (True, False):
            told = fuzz(
                service,
                Path(name),
                examples=arguments.examples,
                seed=arguments.seed,
                phases="examples,coverage,fuzzing",
                known=known,
            )
            passed = passed and told.passed
            what = "an execution that exists" if known else "drawn ids"
            sys.stdout.write(f"{what}: {told.cases} cases, {'no fault' if told.passed else told.text}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
