"""Each attack first succeeds against a judge without a sandbox, then fails in it and leaves the next verdict right."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import pytest

from mge_ray.adapters.sandbox import SandboxLevel
from tests.adapters.sandbox.attacks import ATTACKS, Seen, judge_died
from tests.adapters.sandbox.hosts import HERE, host_environment
from tests.adapters.sandbox.world import IS_ROOT

OUTPUT_BYTES = 64 << 10
MESSAGE_CHARS = 4000
SLACK_S = 8.0
CONTROL_S = 15.0
HANG_S = 1.2
CALLER = "from candidate import attack\n\n\ndef test_attack():\n    attack()\n    assert False, 'the attack is over'\n"
HONEST = {
    "sol.py": "def add(a, b):\n    return a + b\n",
    "test_sol.py": "import sol\n\n\ndef test_right():\n    assert sol.add(1, 2) == 3\n\n\n"
    "def test_wrong():\n    assert sol.add(1, 2) == 4\n",
}
RIGHT, WRONG = "test_sol.py::test_right", "test_sol.py::test_wrong"

# what a weaker level promises as well
ELSEWHERE = {
    "changes_the_mode_of_a_file_of_the_host",
    "changes_the_time_of_a_file_of_the_host",
    "limits_its_parent",
    "slows_down_a_process_of_the_host",
    "reads_the_key_from_any_environment",
    "reads_the_ssh_key",
    "reads_memory_of_its_parent",
    "overwrites_a_file_of_the_host",
    "connects_to_a_port_of_the_host",
    "connects_to_a_named_socket_of_the_host",
    "forks_in_every_generation",
    "clears_its_death_signal_and_stays",
    "kills_everyone",
    "loops_with_every_signal_blocked",
    "fills_the_disk_with_large_files",
    "writes_a_record_to_every_descriptor",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_succeeds_without_a_sandbox(attack, world, tmp_path):
    if attack.name == "loads_a_bpf_map" and not IS_ROOT:
        pytest.skip("an ordinary user cannot even succeed without a sandbox")
    world.damage()
    values = {**world.values(control=True), **attack.control}
    (tmp_path / "candidate.py").write_text(attack.source(values))
    mode = "same" if attack.same_process else "fork"
    command = [sys.executable, str(HERE / "control.py"), mode, str(tmp_path)]
    if attack.needs_root and not IS_ROOT:
        command = ["unshare", "--map-root-user", "--net", "--mount", "--uts", *command]
    control = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=host_environment(world.secret),
        start_new_session=True,
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
        shutil.rmtree(tmp_path)
    judged_ok = "naive judge: pass" in output
    assert attack.succeeded(Seen(output, damage, judged_ok, died, len(output) > 1 << 20)), output[-3000:]


def patience_s(attack):
    if attack.succeeded is not judge_died:
        return CONTROL_S
    return HANG_S + 1.5 * attack.same_process  # what hangs, hangs for ever


def attempt(host, attack, world):
    values = {**world.values(control=False), **attack.sandbox}
    files = {"candidate.py": attack.source(values), "test_candidate.py": CALLER}
    limits = {"wall_s": 10.0, "output_bytes": OUTPUT_BYTES, **attack.limits}
    world.damage()
    record = host.check(files, "test_candidate.py::test_attack", limits=limits)
    said = [record.detail, *(text for o in record.outcomes for text in (o.message, o.node_id))]
    unbounded = len(record.output) > OUTPUT_BYTES or any(len(text) > MESSAGE_CHARS for text in said)
    seen = Seen(record.output, world.damage(), record.status == "ok", record.status == "crashed", unbounded)
    assert not attack.succeeded(seen), record
    assert not seen.damage, record
    assert record.status != "ok", record
    assert record.duration_s < limits["wall_s"] + SLACK_S
    following = host.check(HONEST, RIGHT, WRONG)
    assert following.status == "failed"
    verdicts = [(outcome.node_id, outcome.outcome, outcome.line) for outcome in following.outcomes]
    assert verdicts == [(RIGHT, "passed", None), (WRONG, "failed", 9)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_contained(attack, user, hosts, world):
    attempt(hosts(user), attack, world)


@pytest.mark.parametrize("level", [SandboxLevel.NAMESPACES, SandboxLevel.RESTRICTED], ids=lambda level: level.value)
@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.name in ELSEWHERE], ids=lambda attack: attack.name)
def test_attack_is_contained_at_a_weaker_level(attack, level, user, hosts, world):
    attempt(hosts(user, level), attack, world)
