"""What a record keeps when not all has room, and what the host makes of one."""

import itertools
import json

import pytest

from mge_ray.adapters.sandbox import CheckRequest
from mge_ray.adapters.sandbox.inside.kept_outcomes import OUTCOMES_BYTES, TOO_MANY, KeptOutcomes
from mge_ray.adapters.sandbox.inside.node_ids import Requested, covers
from mge_ray.adapters.sandbox.record import Reply, read_record

NAMES = ["a", "a/", "a/b.py", "a/b.py::T", "a/b.py::T::t", "a/b.py::T::t[1/2::x]", "a/b.py::T::t[1]", "a/b.py::Tx", "."]
PASS = {"node_id": "t.py::t", "outcome": "passed"}


def test_tests_around_a_node_are_those_that_cover_it():
    for test, node in itertools.product(NAMES, NAMES):
        assert Requested([test]).around(node) == [test] * covers(test, node), (test, node)
        assert Requested([test]).touches(node) is (covers(test, node) or covers(node, test)), (test, node)


def test_passes_of_requested_tests_come_before_messages_of_failures():
    tests = [f"t.py::test_{number:05}" for number in range(12_000)]
    kept = KeptOutcomes(tests)
    for number, test in enumerate(tests):
        failed = number % 2
        kept.add(test, "failed" if failed else "passed", "\U0001f40d" * 2_000 * failed, None, None, ran=True)
    record = kept.record()
    assert len([one for one in record["outcomes"] if one["outcome"] == "passed"]) == 6_000
    assert record["outcomes"][0]["outcome"] == "failed"
    assert record["counts"]["failed"] == 6_000
    assert len(json.dumps(record["outcomes"])) <= OUTCOMES_BYTES


def test_record_without_room_for_every_requested_test_says_so():
    tests = [f"t.py::{'x' * 200}_{number}" for number in range(8_000)]
    kept = KeptOutcomes(tests)
    for test in tests:
        kept.add(test, "passed", "", None, None, ran=True)
    assert kept.record()["note"] == TOO_MANY


def read(**record):
    data = json.dumps({"nonce": "n", **record}).encode()
    reply = Reply(exit_status=0, timed_out=False, overrun="", cpu_s=0.0, verdict=data, output="")
    return read_record(reply, CheckRequest({}, ("t.py",)), "n", 0.1)


def test_counts_say_what_was_dropped():
    counts = {"passed": 700, "failed": 0, "error": 0, "skipped": 3}
    record = read(outcomes=[PASS], counts=counts, tests_run=650)
    assert (record.status, record.detail) == ("ok", "700 passed")
    assert (record.tests_run, record.dropped) == (650, 702)


def test_failure_that_was_only_counted_is_a_failure():
    record = read(outcomes=[PASS], counts={"passed": 1, "error": 1})
    assert (record.status, record.detail) == ("failed", "1 of 2 failed")


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": {"passed": 0}},
        {"counts": {"passed": True}},
        {"counts": {"passed": 10**9}},
        {"counts": {"passed": "many"}},
        {"counts": [1]},
        {"tests_run": -1},
        {"tests_run": 0.5},
    ],
    ids=str,
)
def test_counts_that_no_judge_writes_make_the_record_a_forgery(wrong):
    assert read(outcomes=[PASS], **wrong).status == "forged"
