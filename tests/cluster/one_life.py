"""One life of an engine with a name, in a process of its own: python one_life.py FOLDER start|stay EXECUTION_ID.

`start` starts the plan and pauses a second execution; `stay` does nothing but wait for the first to end, and prints
how both stand.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from pathlib import Path

from mge_ray.cluster.engine import open_engine
from mge_ray.cluster.session import SessionError, local_session
from mge_ray.domain.errors import UnknownExecutionError
from mge_ray.domain.events import ExecutionSettings
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.wiring.build import attempt_policy
from mge_ray.wiring.settings import DEFAULT_MODEL, EngineConfig

PATIENCE_S = 90


def main() -> None:
    """Live."""
    folder, what, first = Path(sys.argv[1]), sys.argv[2], uuid.UUID(sys.argv[3])
    second = uuid.UUID(int=first.int ^ 1)
    config = EngineConfig(
        engine_id="a name of its own",
        db_url=f"sqlite:///{folder / 'journal.db'}",
        simulated=True,
        base_url=os.environ["SIMULATOR"],
        generate_limit=2,
        takes_up=True,
    )
    with local_session(num_cpus=2):
        engine = open_engine(config)
        if what == "start":
            settings = ExecutionSettings(policy=attempt_policy(config, DEFAULT_MODEL, None), max_concurrency=1)
            plan = load_plan(folder / "plan.json")
            engine.start(plan, settings, second)
            engine.pause(second, now=True)
            engine.start(plan, settings, first)
            time.sleep(PATIENCE_S)  # until somebody kills this process
        deadline = time.monotonic() + PATIENCE_S
        states = {}
        while time.monotonic() < deadline:
            try:
                states = {str(one): engine.state(one).status.value for one in (first, second)}
            except UnknownExecutionError:
                states = {}
            if states.get(str(first)) in {"completed", "failed"}:
                break
            time.sleep(0.1)
        engine.resume(second)
        states["resumed"] = engine.wait(second).status.value
        try:  # it is idle now, and all the same not another's to replace
            open_engine(config.model_copy(update={"takes_up": False, "engine_id": "a job", "generate_limit": 3}))
        except SessionError as error:
            states["a job"] = str(error)
        sys.stdout.write(json.dumps(states))


if __name__ == "__main__":
    main()
