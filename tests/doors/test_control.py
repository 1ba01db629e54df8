"""Verbs on an execution that somebody else started, from the journal: no Ray, real journal, real sandbox for edits."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mge_ray.adapters.journal import SqlJournal, default_url, load_events, load_execution, load_plan_of
from mge_ray.cluster.request_desk import RequestDesk
from mge_ray.domain.state import ExecutionStatus
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from mge_ray.execution.recovery import replay
from mge_ray.pipeline.plan_file import load_plan
from mge_ray.pipeline.spec.steps import requirements_stage
from mge_ray.wiring.settings import DEFAULT_MODEL
from tests.builders import PASSED, failed, policy, settings
from tests.engines import engine, until
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.validator import RuleValidator

WRONG = "def to_celsius(value: float, unit: str) -> float:\n    return 0.0\n"


@dataclass
class Stored:
    """The starter's plan, executed by a service of this process into the journal that the commands look at."""

    folder: Path
    journal: SqlJournal
    service: ExecutionServiceV2
    client: ScriptedClient
    silent_for_s: float = 0.0

    @property
    def url(self) -> str:
        return default_url(self.folder)

    async def start(self, plan=None):
        plan = plan or load_plan(self.folder / "my-plan" / "plan.yaml")
        return await self.service.start_plan(
            plan, settings=settings(simulated=True, policy=policy(model=DEFAULT_MODEL))
        )

    def machine(self, execution_id):
        return replay(execution_id, load_plan_of(self.url, execution_id), load_events(self.url, execution_id))

    def status(self, execution_id):
        stored = load_execution(self.url, execution_id)
        assert stored.status is self.machine(execution_id).status
        return stored.status


@pytest.fixture
def stored(starter):
    """`to_celsius` fails whatever is tried, so `describe` is blocked."""
    folder = starter.parent
    answers = json.loads((starter / "answers.json").read_text())
    client = ScriptedClient({name: [code] for name, code in (answers | {"to_celsius": WRONG}).items()})
    validator = RuleValidator(lambda candidate: failed("wrong") if candidate.code == WRONG else PASSED)
    journal = SqlJournal(default_url(folder), clock=lambda: time.time() - made.silent_for_s)
    made = Stored(folder, journal, ExecutionServiceV2(engine(client, validator, journal=journal)), client)
    yield made
    journal.close()


async def has_failed(stored):
    execution_id = await stored.start()
    assert (await stored.service.wait(execution_id)).status is ExecutionStatus.FAILED
    return execution_id


async def is_driven(stored):
    """An execution whose call is in flight, and an owner that takes requests."""
    stored.client.gate.clear()
    execution_id = await stored.start()
    await until(lambda: stored.client.in_flight)
    return execution_id


async def asked(stored, cli, *arguments):
    """What the command says while the owner looks for requests."""
    desk = RequestDesk(stored.url, stored.service)
    command = asyncio.ensure_future(asyncio.to_thread(cli, *arguments))
    while not command.done():
        await desk.look()
        await asyncio.wait([command], timeout=0.05)
    return command.result()


def test_code_written_by_hand_must_pass_and_then_completes_what_was_blocked(stored, cli, tmp_path):
    async def story():
        execution_id = await has_failed(stored)
        short = str(execution_id)[:8]
        (tmp_path / "wrong.py").write_text(WRONG)
        ran = await asyncio.to_thread(cli, "edit", short, "to_celsius", "--code", "wrong.py")
        assert ran.code == 1
        assert "does not pass its check, so nothing was changed: [tests" in ran.err
        assert stored.status(execution_id) is ExecutionStatus.FAILED
        right = json.loads((stored.folder / "my-plan" / "answers.json").read_text())["to_celsius"]
        (tmp_path / "right.py").write_text(right)
        ran = await asyncio.to_thread(cli, "edit", short, "to_celsius", "--code", "right.py")
        assert ran.code == 0, ran.err
        assert f"go on with: mge-ray resume {short}" in ran.out
        assert stored.status(execution_id) is ExecutionStatus.PAUSED
        again = ExecutionServiceV2(stored.service.wave_executor)
        events = load_events(stored.url, execution_id)
        await again.recover_execution(execution_id, load_plan_of(stored.url, execution_id), events)
        await again.resume_execution(execution_id)
        assert (await again.wait(execution_id)).status is ExecutionStatus.COMPLETED
        return execution_id

    execution_id = asyncio.run(story())
    ran = cli("report", execution_id, "--out", "run.json")
    report = json.loads((tmp_path / "run.json").read_text())
    edited = next(atom for atom in report["atoms"] if atom["atom_id"] == "to_celsius")
    assert edited["edited_by"] == edited["attempts"][-1]["by"] != ""
    assert report["edited_atoms"] == 1
    assert ran.code == 0


def test_the_bound_of_calls_in_flight_is_changed_while_it_runs_and_shown(stored, cli):
    async def story():
        execution_id = await is_driven(stored)
        ran = await asked(stored, cli, "concurrency", execution_id, "--limit", "7")
        assert (ran.code, ran.err) == (0, "")
        assert "in flight, limit 7 (at most 7), doubling; never pushed back" in ran.out
        assert stored.service.machine(execution_id).settings.max_concurrency == 7
        await asked(stored, cli, "pause", execution_id, "--now")
        await stored.service.wait(execution_id)
        ran = await asyncio.to_thread(cli, "concurrency", execution_id, "--limit", "9")
        assert "at most 9 calls in flight from its resume on" in ran.out
        assert "makes no calls" in (await asyncio.to_thread(cli, "concurrency", execution_id)).out
        assert stored.machine(execution_id).settings.max_concurrency == 9

    asyncio.run(story())


def test_a_failed_atom_can_be_tried_again_or_used_as_it_is(stored, cli):
    execution_id = asyncio.run(has_failed(stored))
    refused = cli("approve", execution_id, "to_celsius")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "edit or retry it, or approve it despite its failures" in refused.err
    assert cli("approve", execution_id, "parse", "--note", "read").code == 0
    assert cli("approve", execution_id, "to_celsius", "--despite-failures").code == 0
    machine = stored.machine(execution_id)
    assert machine.atoms["parse"].approved.note == "read"
    assert machine.atoms["to_celsius"].waived
    assert machine.atoms["describe"].status.value == "pending"
    assert "used in spite of its failure" in cli("retry", execution_id, "--atom", "to_celsius").err


def test_the_report_ends_with_the_commands_that_act_on_what_is_to_be_reviewed(stored, cli):
    execution_id = asyncio.run(has_failed(stored))
    short = str(execution_id)[:8]
    assert cli("report", short).out.splitlines()[-2:] == [
        f"mge-ray approve {short} to_celsius --despite-failures",
        f"mge-ray edit {short} to_celsius --code FILE",
    ]
    cli("approve", short, "to_celsius", "--despite-failures", "--note", "the test is wrong")
    told = cli("report", short, "--out", "run.html").out
    assert "used despite its failures, as decided by" in told
    assert "mge-ray" not in told
    assert "used despite its failures, as decided by" in (stored.folder / "run.html").read_text()
    assert "the test is wrong" in cli("status", short, "--atom", "to_celsius").out


async def is_paused_for_its_budget(stored, client):
    service = ExecutionServiceV2(engine(client, journal=stored.journal))
    plan = load_plan(stored.folder / "my-plan" / "plan.yaml")
    wishes = settings(simulated=True, budget_usd=0.015, policy=policy(model=DEFAULT_MODEL))
    execution_id = await service.start_plan(plan, settings=wishes)
    assert (await service.wait(execution_id)).reason.startswith("budget: ")
    return execution_id


def test_another_limit_is_journalled_with_who_and_why_and_a_resume_goes_on(stored, cli):
    client = QuotingClient()
    execution_id = asyncio.run(is_paused_for_its_budget(stored, client))
    short = str(execution_id)[:8]
    told = cli("budget", short)
    assert told.out.splitlines() == [
        "spent      $0.0100 (simulated)",
        "reserved   $0.0000",
        "unknown    $0.0000",
        "limit      $0.0150",
        "forecast   $0.0300 at completion",
        f"go on with: mge-ray resume {short}",
    ]
    less = cli("budget", short, "--limit", "0.001", "--reason", "less")
    assert (less.code, less.err.count("\n")) == (2, 1)
    assert "a limit of $0.0010 is below what is committed already" in less.err
    raised = cli("budget", short, "--limit", "1.5", "--reason", "the customer\nagreed")
    assert (raised.code, stored.status(execution_id)) == (0, ExecutionStatus.PAUSED)
    assert "limit      $1.5000" in raised.out
    assert raised.out.splitlines()[-2].endswith(": the customer agreed")
    (change,) = cli("budget", short, "--json").json["changes"]
    assert (change["before_usd"], change["limit_usd"], change["reason"]) == (0.015, 1.5, "the customer\nagreed")
    assert "limit $1.5000, forecast at completion $0.0300" in cli("status", short).out

    async def go_on():
        service = ExecutionServiceV2(engine(client, journal=stored.journal))
        events = load_events(stored.url, execution_id)
        await service.recover_execution(execution_id, load_plan_of(stored.url, execution_id), events)
        await service.resume_execution(execution_id)
        return await service.wait(execution_id)

    assert asyncio.run(go_on()).status is ExecutionStatus.COMPLETED


def test_the_owner_of_a_driven_execution_sets_another_limit(stored, cli):
    client = QuotingClient(quote_usd=0.01)
    stored.service = ExecutionServiceV2(engine(client, journal=stored.journal))
    stored.client = client

    async def story():
        execution_id = await is_driven(stored)
        ran = await asked(stored, cli, "budget", execution_id, "--limit", "2", "--reason", "a limit after all")
        assert ran.code == 0, ran.err
        assert stored.service.machine(execution_id).money.limit_usd == stored.machine(execution_id).money.limit_usd == 2
        refused = await asked(stored, cli, "budget", execution_id, "--limit", "0.001", "--reason", "none")
        assert (refused.code, "below what is committed" in refused.err) == (2, True)
        client.gate.set()
        assert (await stored.service.wait(execution_id)).status is ExecutionStatus.COMPLETED

    asyncio.run(story())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--limit", "1"), "needs both --limit USD and --reason TEXT"),
        (("--reason", "x"), "needs both --limit USD and --reason TEXT"),
        (("--limit", "1", "--reason", " "), "--reason is empty"),
        (("--limit", "-1", "--reason", "x"), "--limit"),
        (("--limit", "nan", "--reason", "x"), "--limit"),
        (("--limit", "inf", "--reason", "x"), "finite number"),
    ],
)
def test_a_limit_that_is_none_or_has_no_reason_is_one_line(stored, cli, flags, said):
    execution_id = asyncio.run(has_failed(stored))
    before = load_execution(stored.url, execution_id)
    ran = cli("budget", execution_id, *flags)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert said in ran.err
    assert load_execution(stored.url, execution_id) == before


def test_a_retry_is_journalled_and_told_how_it_goes_on(stored, cli):
    execution_id = asyncio.run(has_failed(stored))
    ran = cli("retry", execution_id, "--atom", "to_celsius")
    assert (ran.code, stored.status(execution_id)) == (0, ExecutionStatus.PAUSED)
    assert f"mge-ray resume {str(execution_id)[:8]}" in ran.out
    assert stored.machine(execution_id).atoms["to_celsius"].attempt_of_round == 1
    assert f"go on      mge-ray resume {str(execution_id)[:8]}" in cli("status", execution_id).out


def test_each_verb_in_a_wrong_state_is_one_line_and_exit_2(stored, cli, tmp_path):
    execution_id = asyncio.run(has_failed(stored))
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "empty.py").write_text(" \n")
    (tmp_path / "latin.py").write_bytes(b"\xff")
    edit = ("edit", execution_id, "parse", "--code")
    refusals = {
        ("pause", execution_id): "is failed; pause needs one that is running",
        ("pause", execution_id, "--now"): "is failed; pause needs one that is running",
        ("resume", execution_id): "is failed; resume needs one that is paused",
        ("cancel", execution_id): "is failed; cancel needs one that is running or paused",
        ("retry", execution_id, "--atom", "parse"): "atom 'parse' is succeeded; retry needs one that has failed",
        ("retry", execution_id, "--atom", "describe"): "is blocked (depends on to_celsius, which failed): edit, retry",
        ("approve", execution_id, "nobody"): "has no atom 'nobody'",
        ("edit", execution_id, "describe", "--code", "code.py"): "atom 'describe' is blocked",
        (*edit, "missing.py"): "missing.py cannot be read",
        (*edit, "empty.py"): "is empty",
        (*edit, "latin.py"): "not UTF-8",
        (*edit, "code.py", "--sandbox", "moat"): "'moat' is none of",
        ("pause", "ffffffff"): "no execution 'ffffffff'",
    }
    before = load_execution(stored.url, execution_id)
    for arguments, said in refusals.items():
        ran = cli(*arguments)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran
        assert said in ran.err
    assert load_execution(stored.url, execution_id) == before


def test_the_owner_of_a_driven_execution_is_asked_and_answers(stored, cli):
    async def story():
        execution_id = await is_driven(stored)
        resumed = await asyncio.to_thread(cli, "resume", execution_id, "--answers", "my-plan/answers.json")
        assert resumed.code == 2
        assert f"is running under {load_execution(stored.url, execution_id).owner}, which is alive" in resumed.err
        refused = await asked(stored, cli, "approve", execution_id, "parse")
        assert (refused.code, "approve needs one that has succeeded" in refused.err) == (2, True)
        paused = await asked(stored, cli, "pause", execution_id)
        assert (paused.code, "in flight finish first" in paused.out) == (0, True)
        busy = await asyncio.to_thread(cli, "retry", execution_id)
        assert (busy.code, "waits for 2 in flight" in busy.err) == (2, True)
        again = await asked(stored, cli, "pause", execution_id)
        assert again.out == paused.out
        now = await asked(stored, cli, "pause", execution_id, "--now")
        assert (now.code, stored.machine(execution_id).in_flight) == (0, 0)
        assert "paused by " in cli("pause", execution_id).out
        cancelled = await asyncio.to_thread(cli, "cancel", execution_id)
        assert (cancelled.code, stored.status(execution_id)) == (0, ExecutionStatus.CANCELLED)
        assert "is cancelled: cancelled by " in cli("cancel", execution_id).out
        assert stored.service.epoch(execution_id) < load_execution(stored.url, execution_id).epoch
        await stored.service.close()

    asyncio.run(story())


@pytest.mark.parametrize(("verb", "status"), [("pause", ExecutionStatus.PAUSED), ("cancel", ExecutionStatus.CANCELLED)])
def test_an_execution_whose_owner_is_dead_is_changed_in_the_journal(stored, cli, verb, status):
    async def die():
        execution_id = await is_driven(stored)
        await stored.service.close()
        return execution_id

    stored.silent_for_s = 60.0
    execution_id = asyncio.run(die())
    ran = cli(verb, execution_id)
    assert ran.code == 0, ran.err
    assert stored.status(execution_id) is status
    assert load_execution(stored.url, execution_id).state.atoms_in_flight == 0
    assert not load_execution(stored.url, execution_id).driven(time.time())


def test_a_resume_needs_what_was_not_kept_and_refuses_what_does_not_fit(stored, cli):
    async def pause():
        execution_id = await is_driven(stored)
        await stored.service.pause_execution(execution_id, now=True)
        planning = await stored.start(requirements_stage("Title", "The thing must work.").plan)
        await stored.service.pause_execution(planning, now=True)
        await stored.service.wait(planning)
        return execution_id, planning

    execution_id, planning = asyncio.run(pause())
    for arguments, said in {
        ("resume", execution_id): "what its server was told is not known; name it: --answers",
        ("resume", execution_id, "--live"): "is a simulated one; resume it as that",
        ("resume", execution_id, "--answers", "my-plan/answers.json", "--fault", "x"): "is not NAME=RATE",
        ("resume", execution_id, "--answers", "my-plan/answers.json", "--sandbox", "moat"): "'moat' is none of",
        ("resume", planning): "is a stage of planning",
    }.items():
        ran = cli(*arguments)
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran
        assert said in ran.err


def test_an_owner_that_does_not_answer_is_told_and_the_request_is_withdrawn(stored, cli, monkeypatch):
    monkeypatch.setattr("mge_ray.cli.change.PATIENCE_S", 0.3)

    async def story():
        execution_id = await is_driven(stored)
        ran = await asyncio.to_thread(cli, "cancel", execution_id)
        assert (ran.code, "does not answer; nothing was changed" in ran.err) == (3, True)
        await RequestDesk(stored.url, stored.service).look()
        assert stored.status(execution_id) is ExecutionStatus.RUNNING
        await stored.service.close()

    asyncio.run(story())


def test_an_owner_that_dies_while_it_is_asked_is_not_needed(stored, cli, monkeypatch):
    monkeypatch.setattr("mge_ray.cli.change.PATIENCE_S", 1.0)
    monkeypatch.setattr("mge_ray.adapters.journal.readers.HEARTBEAT_TIMEOUT_S", 0.8)

    async def die():
        execution_id = await is_driven(stored)
        await stored.service.close()
        return execution_id

    execution_id = asyncio.run(die())
    assert cli("cancel", execution_id).code == 0
    assert stored.status(execution_id) is ExecutionStatus.CANCELLED
