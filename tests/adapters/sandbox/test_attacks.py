"""Each attack first succeeds against a judge without a sandbox, then fails in it and leaves the next verdict right."""

import pytest

from mge_ray.adapters.sandbox import SandboxLevel
from tests.adapters.sandbox.attacks import ATTACKS
from tests.adapters.sandbox.campaign import RIGHT, WRONG
from tests.adapters.sandbox.hosts import needs
from tests.adapters.sandbox.world import IS_ROOT

SLACK_S = 8.0

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
def test_attack_succeeds_without_a_sandbox(attack, campaigns):
    if attack.name == "loads_a_bpf_map" and not IS_ROOT:
        pytest.skip("an ordinary user cannot even succeed without a sandbox")
    attempt = campaigns.attempt(attack)
    assert attack.succeeded(attempt.seen), attempt.seen.output[-3000:]


def assert_contained(attack, attempt):
    record, following = attempt.record, attempt.following
    assert not attack.succeeded(attempt.seen), record
    assert not attempt.seen.damage, record
    assert record.status != "ok", record
    assert record.duration_s < attempt.wall_s + SLACK_S
    verdicts = [(outcome.node_id, outcome.outcome, outcome.line) for outcome in following.outcomes]
    assert verdicts == [(RIGHT, "passed", None), (WRONG, "failed", 9)]
    assert following.status == "failed"


@pytest.mark.parametrize("level", [SandboxLevel.FULL], ids=lambda level: level.value)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_contained(attack, level, user, campaigns):
    needs(level)
    assert_contained(attack, campaigns.attempt(attack, user, level))


@pytest.mark.parametrize("level", [SandboxLevel.NAMESPACES, SandboxLevel.RESTRICTED], ids=lambda level: level.value)
@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.name in ELSEWHERE], ids=lambda attack: attack.name)
def test_attack_is_contained_at_a_weaker_level(attack, level, user, campaigns):
    needs(level)
    assert_contained(attack, campaigns.attempt(attack, user, level))
