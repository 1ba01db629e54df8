"""The engine on a real local Ray: real actors and tasks, the real SDK, the simulated server, the real sandbox."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
import uuid
from contextlib import suppress

import pytest
import ray

from mge_ray.adapters.journal import load_events, load_execution
from mge_ray.cluster.session import GATEWAY, NAMESPACE
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.execution.recovery import replay
from mge_ray.execution.requests import EditRefusedError
from mge_ray.pipeline.observed import observe
from mge_ray.pipeline.report import build_report
from tests.cluster.conftest import PATIENCE_S, numbered_plan, processes_titled
from tests.counts import expect_the_reports_counts, total


def test_a_plan_becomes_accepted_code_and_a_report(engine):
    plan = numbered_plan("whole", 6, 2)
    before = engine.call("metrics_text").decode()
    execution_id = engine.start(plan)
    state = engine.call("wait", execution_id)
    assert state.status is ExecutionStatus.COMPLETED
    assert set(engine.call("accepted_codes", execution_id)) == {atom.id for atom in plan.atoms}
    report = engine.call("report", execution_id)
    assert (report.precision_percent, report.acceptance_passed, report.attempts) == (100.0, True, 6)
    assert report.total_cost_usd > 0
    assert all(attempt.check_s > 0 for atom in report.atoms for attempt in atom.attempts)
    seen = observe(execution_id, plan, load_events(engine.config.db_url, execution_id))
    text = engine.call("metrics_text").decode()
    expect_the_reports_counts(text, before, build_report(seen.machine, seen))
    assert total(text, "mge_ray_throttle_limit") == 10
    assert total(text, "mge_ray_build_info") == total(text, "mge_ray_sandbox_info") == 1


def test_a_killed_coordinator_replays_to_an_equal_state_and_buys_nothing_twice(engine):
    plan = numbered_plan("killed", 24, 2)
    damaged_id = engine.start(numbered_plan("plain", 4, 1), max_concurrency=1)
    engine.call("pause", damaged_id)
    engine.until(damaged_id, lambda state: not state.atoms_in_flight)
    execution_id = engine.start(plan)
    engine.until(execution_id, lambda state: state.atoms_succeeded >= 3 and state.atoms_in_flight)
    damage(engine.config.db_url, damaged_id)
    handled, snapshot = engine.call("snapshot", execution_id)
    pid = engine.call("pid")
    os.kill(pid, signal.SIGKILL)
    state = engine.until(execution_id, lambda state: state.status is not ExecutionStatus.RUNNING)
    assert engine.call("pid") != pid
    assert state.status is ExecutionStatus.COMPLETED
    written = load_events(engine.config.db_url, execution_id)
    assert any(event.kind == "coordinator_restarted" for event in written)
    assert replay(execution_id, plan, written[:handled]).snapshot() == snapshot
    bought = {atom_id: of["billed_answers"] for atom_id, of in engine.stats()["atoms"].items() if "killed" in atom_id}
    assert bought == {f"killed{number}": 1 for number in range(24)}
    stored = load_execution(engine.config.db_url, execution_id)
    assert (stored.state.atoms_succeeded, stored.control_address) == (24, f"engine:{engine.config.engine_id}")
    aside = load_execution(engine.config.db_url, damaged_id)
    assert (aside.set_aside, aside.control_address) == (True, None), "set aside alone; the other one went on"
    assert "cannot be replayed" in aside.reason


def damage(url, execution_id):
    """Exchange an execution's first two events: nothing can be leased before it has started."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        for before, after in ((1, -1), (2, 1), (-1, 2)):
            connection.execute(
                "UPDATE events SET seq = ? WHERE execution_id = ? AND seq = ?", (after, str(execution_id), before)
            )
    connection.close()


def test_a_killed_gateway_costs_unknown_spend_and_no_atom(engine):
    plan = numbered_plan("lost", 6, 1)
    execution_id = engine.start(plan)
    engine.until(execution_id, lambda state: state.atoms_in_flight == 6)
    (pid,) = processes_titled("ray::LLMGateway")
    os.kill(pid, signal.SIGKILL)
    assert engine.call("wait", execution_id).status is ExecutionStatus.COMPLETED
    report = engine.call("report", execution_id)
    assert report.calls.by_kind == {"gateway_lost:unknown": 6}
    assert report.unknown_cost_usd > 0
    bought = sum(of["billed_answers"] for atom_id, of in engine.stats()["atoms"].items() if "lost" in atom_id)
    assert report.calls.answers <= bought <= report.calls.answers + report.calls.unknown_spend


def test_a_check_that_loses_three_workers_fails_its_atom_alone(engine):
    plan = numbered_plan("worker", 2, 1, test_body="time.sleep(5)")
    execution_id = engine.start(plan)
    deadline = time.monotonic() + PATIENCE_S
    while engine.call("state", execution_id).status is ExecutionStatus.RUNNING and time.monotonic() < deadline:
        for pid in processes_titled("ray::check wave"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    state = engine.call("wait", execution_id)
    assert (state.status, state.atoms_failed) == (ExecutionStatus.FAILED, 2)
    atom = engine.call("atom", execution_id, "worker0")
    assert atom.status is AtomStatus.FAILED
    assert "ended 3 workers" in atom.cause


def test_pause_dispatches_nothing_and_resume_goes_on(engine):
    execution_id = engine.start(numbered_plan("paused", 12, 2), max_concurrency=2)
    engine.until(execution_id, lambda state: state.atoms_succeeded >= 1)
    assert engine.call("pause", execution_id).status is ExecutionStatus.PAUSED
    engine.until(execution_id, lambda state: not state.atoms_in_flight)
    requests = engine.stats()["requests"]
    time.sleep(1)
    assert engine.stats()["requests"] == requests
    assert engine.call("resume", execution_id).status is ExecutionStatus.RUNNING
    assert engine.call("wait", execution_id).status is ExecutionStatus.COMPLETED
    assert engine.call("wave", execution_id, 2).atoms_succeeded == 6


def test_code_written_by_hand_is_checked_on_the_cluster_and_ends_what_the_model_could_not(engine):
    policy = engine.settings().policy.model_copy(update={"max_attempts": 1})
    execution_id = engine.start(numbered_plan("mended", 1, 1), policy=policy)
    assert engine.call("wait", execution_id).status is ExecutionStatus.FAILED
    with pytest.raises(EditRefusedError, match="does not pass its check"):
        engine.client.edit(execution_id, "mended0", "def mended0() -> int:\n    return 405\n", "ann")
    assert engine.client.retry(execution_id).status is ExecutionStatus.PAUSED
    assert engine.client.resume(execution_id).status is ExecutionStatus.RUNNING
    assert engine.call("wait", execution_id).status is ExecutionStatus.FAILED
    state = engine.client.edit(execution_id, "mended0", "def mended0() -> int:\n    return 0\n", "ann")
    assert state.status is ExecutionStatus.PAUSED
    engine.client.approve(execution_id, "mended0", "ben", "read")
    engine.client.take_up(execution_id)
    assert engine.call("wait", execution_id).status is ExecutionStatus.COMPLETED
    (atom,) = engine.call("report", execution_id).atoms
    assert [attempt.by for attempt in atom.attempts] == ["", "", "ann"]
    assert (atom.edited_by, atom.approved_by) == ("ann", "ben")


def test_a_start_that_is_asked_for_again_is_the_same_execution(engine):
    plan, wanted = numbered_plan("twice", 2, 1), uuid.uuid4()
    again = [engine.client.start(plan, engine.settings(), wanted) for _ in range(2)]
    assert engine.call("wait", wanted).status is ExecutionStatus.COMPLETED
    assert [*again, engine.client.start(plan, engine.settings(), wanted)] == [wanted] * 3
    assert engine.call("report", wanted).calls.answers == 2


def test_cancel_ends_the_execution_and_gives_up_what_is_in_flight(engine):
    execution_id = engine.start(numbered_plan("cancelled", 6, 1), max_concurrency=2)
    engine.until(execution_id, lambda state: state.atoms_in_flight)
    state = engine.call("cancel", execution_id)
    assert (state.status, state.atoms_in_flight) == (ExecutionStatus.CANCELLED, 0)
    gateway = ray.get_actor(f"{GATEWAY}_0", NAMESPACE)
    deadline = time.monotonic() + 20
    while ray.get(gateway.held.remote()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ray.get(gateway.held.remote()) == 0


def test_an_atom_times_out_while_its_check_runs(engine):
    execution_id = engine.start(numbered_plan("timeout", 1, 1, test_body="time.sleep(20)"), atom_timeout_s=3.0)
    assert engine.call("wait", execution_id).status is ExecutionStatus.FAILED
    assert "3 s in flight" in engine.call("atom", execution_id, "timeout0").cause


def test_an_engine_of_other_code_that_executes_something_is_told_and_not_replaced(engine, monkeypatch):
    from mge_ray.cluster import engine as module  # noqa: PLC0415
    from mge_ray.cluster.session import SessionError  # noqa: PLC0415

    execution_id = engine.start(numbered_plan("plain", 4, 4), max_concurrency=1)
    pid = engine.call("pid")
    monkeypatch.setattr(module, "code_version", lambda: "0.0+newer")
    with pytest.raises(SessionError, match=f"is 0.0\\+newer, and executes {execution_id}; let its executions"):
        module.open_engine(engine.config)
    assert engine.call("wait", execution_id).status is ExecutionStatus.COMPLETED
    assert engine.call("pid") == pid


def test_an_engine_with_other_settings_that_executes_something_is_refused(engine):
    from mge_ray.cluster.engine import open_engine  # noqa: PLC0415
    from mge_ray.cluster.session import SessionError  # noqa: PLC0415

    execution_id = engine.start(numbered_plan("plain", 4, 4), max_concurrency=1)
    with pytest.raises(SessionError, match=f"generate_limit.*executes {execution_id}"):
        open_engine(engine.config.model_copy(update={"generate_limit": 11}))
    assert engine.call("wait", execution_id).status is ExecutionStatus.COMPLETED
