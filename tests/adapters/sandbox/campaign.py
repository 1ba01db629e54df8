"""Runs attacks side by side, each host against a world of its own, because most of them wait."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mge_ray.adapters.sandbox import SandboxRecord
from tests.adapters.sandbox.attacks import Attack, Seen, judge_died
from tests.adapters.sandbox.hosts import HERE, Host, host_environment
from tests.adapters.sandbox.world import IS_ROOT, World

OUTPUT_BYTES = 64 << 10
MESSAGE_CHARS = 4000
CONTROL_S = 15.0
HANG_S = 1.2
CALLER = "from candidate import attack\n\n\ndef test_attack():\n    attack()\n    assert False, 'the attack is over'\n"
HONEST = {
    "sol.py": "def add(a, b):\n    return a + b\n",
    "test_sol.py": "import sol\n\n\ndef test_right():\n    assert sol.add(1, 2) == 3\n\n\n"
    "def test_wrong():\n    assert sol.add(1, 2) == 4\n",
}
RIGHT, WRONG = "test_sol.py::test_right", "test_sol.py::test_wrong"


@dataclass(frozen=True)
class Attempt:
    seen: Seen
    wall_s: float = 0.0
    record: SandboxRecord | None = None
    following: SandboxRecord | None = None


class Campaigns:
    """`wanted`: (user, level) -> attacks, (None, None) for the control; all of them start with the first question."""

    def __init__(self, wanted):
        self._wanted = wanted
        self._pool = None
        self._attempts = {(key, attack.name): Future() for key, attacks in wanted.items() for attack in attacks}

    def attempt(self, attack, user=None, level=None):
        if self._pool is None:
            self._pool = ThreadPoolExecutor(3)
            for key, attacks in self._wanted.items():
                self._pool.submit(self._run, key, attacks)
        return self._attempts[(user, level), attack.name].result(timeout=240)

    def close(self):
        if self._pool is not None:
            self._pool.shutdown()

    def _run(self, key, attacks):
        try:
            with contextlib.closing(World()) as world, contextlib.ExitStack() as stack:
                host = (
                    None if key == (None, None) else stack.enter_context(contextlib.closing(Host(*key, world.secret)))
                )
                for attack in attacks:
                    attempt = without_sandbox(attack, world) if host is None else in_sandbox(host, attack, world)
                    self._attempts[key, attack.name].set_result(attempt)
        except BaseException as error:  # noqa: BLE001 - the tests that wait for it raise it
            for attack in attacks:
                if not self._attempts[key, attack.name].done():
                    self._attempts[key, attack.name].set_exception(error)


def without_sandbox(attack: Attack, world: World) -> Attempt:
    folder = Path(tempfile.mkdtemp(prefix="mge-control-"))
    (folder / "candidate.py").write_text(attack.source({**world.values(control=True), **attack.control}))
    mode = "same" if attack.same_process else "fork"
    command = [sys.executable, str(HERE / "control.py"), mode, str(folder)]
    if attack.needs_root and not IS_ROOT:
        command = ["unshare", "--map-root-user", "--net", "--mount", "--uts", *command]
    environment = host_environment(world.secret)
    control = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    try:
        output = control.communicate(timeout=patience_s(attack))[0].decode(errors="replace")
        died = "naive judge: done" not in output or control.returncode != 0
    except subprocess.TimeoutExpired as error:
        output, died = (error.output or b"").decode(errors="replace"), True
    finally:
        damage = world.damage()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(control.pid, signal.SIGKILL)
        control.communicate()
        shutil.rmtree(folder)
    return Attempt(Seen(output, damage, "naive judge: pass" in output, died, len(output) > 1 << 20))


def patience_s(attack):
    if attack.succeeded is not judge_died:
        return CONTROL_S
    return HANG_S + 1.5 * attack.same_process  # what hangs, hangs for ever


def in_sandbox(host: Host, attack: Attack, world: World) -> Attempt:
    files = {"candidate.py": attack.source({**world.values(control=False), **attack.sandbox})}
    files["test_candidate.py"] = CALLER
    limits = {"wall_s": 10.0, "output_bytes": OUTPUT_BYTES, **attack.limits}
    record = host.check(files, "test_candidate.py::test_attack", limits=limits)
    said = [record.detail, *(text for o in record.outcomes for text in (o.message, o.node_id))]
    unbounded = len(record.output) > OUTPUT_BYTES or any(len(text) > MESSAGE_CHARS for text in said)
    seen = Seen(record.output, world.damage(), record.status == "ok", record.status == "crashed", unbounded)
    return Attempt(seen, limits["wall_s"], record, host.check(HONEST, RIGHT, WRONG))
