"""The host's side of a test as a process of its own, so that it can be root or not.

host.py LEVEL     reads a JSON request a line and writes a record a line
"""

import json
import sys
from dataclasses import asdict

from mge_ray.adapters.sandbox import CheckRequest, Sandbox, SandboxLevel, SandboxLimits, probe_level


def main() -> None:
    with Sandbox(SandboxLevel[sys.argv[1]]) as sandbox:
        sandbox.start()
        answer({"ready": sandbox.level.value})
        for line in sys.stdin:
            asked = json.loads(line)
            if asked == "probe":
                answer({"level": probe_level().name})
                continue
            request = CheckRequest(
                asked["files"],
                tuple(asked["tests"]),
                SandboxLimits(**asked.get("limits", {})),
                tuple(asked.get("import_modules", ())),
            )
            answer(asdict(sandbox.check(request)))


def answer(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


main()
