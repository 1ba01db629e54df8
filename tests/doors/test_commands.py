"""Commands that start nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import time
import uuid

import pytest

from mge_ray.adapters.journal import SqlJournal, default_url
from mge_ray.cli.exits import exit_code
from mge_ray.domain.machine import ExecutionMachine
from mge_ray.domain.progress import execution_state
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.state import ExecutionStatus
from mge_ray.pipeline.plan_file import load_plan
from tests.builders import Driven, many

ATOM = {"id": "a", "file": "a.py", "symbol": "a"}

BAD_PLANS = {
    "cycle": (
        {
            "name": "p",
            "atoms": [{**ATOM, "depends_on": ["b"]}, {**ATOM, "id": "b", "symbol": "b", "depends_on": ["a"]}],
        },
        "cycle",
    ),
    "unknown": ({"name": "p", "atoms": [{**ATOM, "depends_on": ["zz"]}]}, "'zz'"),
    "duplicate": ({"name": "p", "atoms": [ATOM, ATOM]}, "used twice"),
    "outside": ({"name": "p", "atoms": [{**ATOM, "file": "../x.py"}]}, "../x.py"),
    "absolute": ({"name": "p", "atoms": [{**ATOM, "file": "/etc/x.py"}]}, "/etc/x.py"),
    "empty": ({"name": "p", "atoms": []}, "no atoms"),
    "nothing": ({}, "'name'"),
    "language": ({"name": "p", "atoms": [{**ATOM, "language": "cobol"}]}, "cobol"),
    "waves": ({"name": "p", "atoms": [ATOM], "execution_plan": [["a"], ["a"]]}, "waves 1 and 2"),
}


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_bad_plan_is_one_line_and_exit_2_and_starts_nothing(cli, tmp_path, name, command):
    plan, said = BAD_PLANS[name]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    ran = cli(command, "plan.json", *(["--simulate"] if command == "run" else []))
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]


@pytest.mark.parametrize(
    "junk", [b"\x00\xff" * 5_000_000, b"[" * 10_000_000, b"a" * 10_000_000], ids=["bytes", "brackets", "line"]
)
def test_ten_megabytes_of_junk_are_one_line_and_exit_2(cli, tmp_path, junk):
    (tmp_path / "plan.yaml").write_bytes(junk)
    ran = cli("check", "plan.yaml")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert len(ran.err) < 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "missing.yaml", "--simulate"], "missing.yaml"),
        (["run", "my-plan/plan.yaml"], "--simulate"),
        (["run", "my-plan/plan.yaml", "--simulate", "--live"], "--live"),
        (["run", "my-plan/plan.yaml", "--live"], "ANTHROPIC_API_KEY"),
        (["run", "my-plan/plan.yaml", "--simulate", "--model", "gpt-17"], "gpt-17"),
        (["run", "my-plan/plan.yaml", "--simulate", "--fault", "wrong"], "NAME=RATE"),
        (["run", "my-plan/plan.yaml", "--simulate", "--fault", "wrong=2"], "rate_wrong"),
        (["run", "my-plan/plan.yaml", "--simulate", "--fault", "nonsense=0.1"], "nonsense"),
        (["run", "my-plan/plan.yaml", "--simulate", "--latency", "often"], "often"),
        (["run", "my-plan/plan.yaml", "--simulate", "--answers", "none.json"], "none.json"),
        (["run", "my-plan/plan.yaml", "--simulate", "--price", "x"], "x"),
        (["run", "my-plan/plan.yaml", "--simulate", "--sandbox", "cardboard"], "cardboard"),
        (["run", "my-plan/plan.yaml", "--simulate", "--db", "mysql://h/d"], "mysql"),
        (["run", "my-plan/plan.yaml", "--simulate", "--concurrency", "0"], "concurrency"),
        (["run", "my-plan/plan.yaml", "--simulate", "--budget", "-1"], "budget"),
        (["run", "my-plan/plan.yaml", "--simulate", "--budget", "nan"], "budget"),
        (["run", "my-plan/plan.yaml", "--simulate", "--out", "my-plan"], "my-plan"),
        (["run", "my-plan/plan.yaml", "--simulate", "--report", "my-plan"], "my-plan"),
        (["run", "my-plan/plan.yaml", "--simulate", "--budget", "inf"], "budget"),
        (["run", "my-plan/plan.yaml", "--simulate", "--call-timeout", "inf"], "call_timeout"),
        (["run", "my-plan/plan.yaml", "--simulate", "--out", "/proc/x/y"], "/proc"),
        (["run", "my-plan/plan.yaml", "--simulate", "--fault", "port=x"], "port"),
        (["run", "my-plan/plan.yaml", "--simulate", "--address", "foo"], "HOST:PORT"),
        (["run", "my-plan/plan.yaml", "--simulate", "--address", "127.0.0.1:1"], "127.0.0.1:1"),
        (["run", "my-plan/plan.yaml", "--no-such-flag"], "--no-such-flag"),
        (["init", "my-plan"], "not an empty folder"),
        (["status", "abcd"], "no executions yet"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_a_bad_wish_is_one_line_and_exit_2(cli, starter, arguments, said):
    ran = cli(*arguments)
    assert ran.code == 2, ran
    assert said in ran.err
    assert ran.err.count("\n") == 1, ran.err
    assert not (starter.parent / ".mge").exists()


def test_check_names_waves_path_and_cost(cli, starter):
    ran = cli("check", "my-plan/plan.yaml")
    assert ran.code == 0
    assert "3 atoms in 2 waves" in ran.out
    assert "parse -> describe" in ran.out
    told = cli("check", "my-plan/plan.yaml", "--json").json
    assert (told["waves"], told["critical_path"]) == ([2, 1], ["parse", "describe"])
    assert 3 <= told["calls"]["p10"] <= told["calls"]["p50"] <= told["calls"]["p90"] <= 12
    assert 0 < told["cost_usd"]["p10"] < told["cost_usd"]["p90"] < 0.1
    assert {"answers rejected", "prices", "left out"} <= {one["name"] for one in told["assumptions"]}


def test_check_without_a_price_says_so_and_forecasts_the_rest(cli, starter):
    ran = cli("check", "my-plan/plan.yaml", "--model", "local-model")
    assert ran.code == 0
    assert "no price known" in ran.out
    assert cli("check", "my-plan/plan.yaml", "--model", "local-model", "--json").json["cost_usd"] is None


def test_schema_accepts_what_init_writes(cli, starter):
    schema = cli("schema").json
    assert {"name", "atoms", "skeleton"} <= set(schema["properties"])


def test_list_says_when_there_is_nothing(cli):
    assert "no executions yet" in cli("list").err


def write_execution(tmp_path, plan, *, at: float, simulated: bool = False, attempts: int = 0) -> str:
    """Write an execution that was left while it ran, with `attempts` accepted answers a ready atom."""
    run = Driven(ExecutionMachine(uuid.uuid4(), plan), now=at)
    run.start(policy=AttemptPolicy(model="claude-sonnet-5-5"), simulated=simulated)
    for atom_id in run.ready() if attempts else ():
        run.attempt(atom_id)

    async def write() -> None:
        journal = SqlJournal(default_url(tmp_path), clock=lambda: at)
        execution_id = run.machine.execution_id
        epoch = await journal.create(execution_id, plan, run.machine.settings)
        await journal.append(execution_id, epoch, run.events, execution_state(run.machine))
        journal.close()

    asyncio.run(write())
    return str(run.machine.execution_id)


def test_list_and_status_need_no_ray_and_tell_an_interrupted_run(cli, starter, tmp_path):
    execution_id = write_execution(tmp_path, load_plan(starter / "plan.yaml"), at=time.time() - 3600)
    assert "interrupted (last heartbeat" in cli("list").out
    assert "interrupted" in cli("status", str(execution_id)[:8]).out
    told = cli("status", str(execution_id), "--json").json
    assert (told["interrupted"], told["report"]["atoms_total"]) == (True, 3)
    assert "pending" in cli("status", str(execution_id), "--atom", "describe").out
    assert cli("status", str(execution_id), "--atom", "nobody").code == 2
    assert [one["execution_id"] for one in cli("list", "--json").json] == [str(execution_id)]


def test_an_execution_that_cannot_be_replayed_is_shown_with_its_reason_and_hides_no_other(cli, starter, tmp_path):
    plan = load_plan(starter / "plan.yaml")
    bad, good = (write_execution(tmp_path, plan, at=time.time() - 3600, attempts=1) for _ in range(2))
    with sqlite3.connect(tmp_path / ".mge" / "journal.db") as connection:
        connection.execute("UPDATE events SET version = 99 WHERE execution_id = ? AND seq = 2", (bad,))
    connection.close()

    async def set_aside() -> None:
        journal = SqlJournal(default_url(tmp_path))
        await journal.set_aside(uuid.UUID(bad), "event version 99")
        journal.close()

    asyncio.run(set_aside())
    told = cli("status", bad)
    assert (told.code, "set aside: event version 99 is not 1" in told.out) == (2, True), told
    assert f"mge-ray resume {bad[:8]}" in told.out
    assert "event version 99" in cli("status", bad, "--json").json["unreadable"]
    listed = {one["execution_id"]: one for one in cli("list", "--json").json}
    assert [(listed[one]["set_aside"], listed[one]["interrupted"]) for one in (bad, good)] == [
        (True, False),
        (False, True),
    ]
    assert "set aside (see `status`)" in cli("list").out
    assert cli("status", good).code == 0


def test_report_makes_a_page_and_data_of_any_execution(cli, starter, tmp_path):
    execution_id = write_execution(tmp_path, load_plan(starter / "plan.yaml"), at=time.time() - 3600, attempts=1)
    ran = cli("report", execution_id[:8], "--out", "r/run.html", "--out", "r/run.json")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (told["status"], told["attempts"], told["tokens"]["input"]) == ("interrupted", 2, 20)
    assert execution_id in (tmp_path / "r" / "run.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "abcd"], "no executions yet"),
        (["report", "abcd", "--out", "x.txt"], ".html"),
        (["report", "abcd", "--out", "x.html"], "no executions yet"),
        (["report", "abcd", "--out", "my-plan"], "folder"),
        (["report", "abcd", "--out", "/proc/x/y.html"], "/proc"),
    ],
)
def test_a_report_that_cannot_be_made_is_one_line(cli, starter, arguments, said):
    ran = cli(*arguments)
    assert ran.code == 2, ran
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_check_takes_live_history_or_simulated_history_and_never_both(cli, tmp_path):
    plan = many(12)
    (tmp_path / "plan.json").write_text(plan.model_dump_json(exclude={"masterplan_id", "execution_plan"}))
    write_execution(tmp_path, plan, at=time.time() - 60, simulated=True, attempts=1)

    def source(*flags: str) -> str:
        told = cli("check", "plan.json", "--json", *flags).json
        return next(one["source"] for one in told["assumptions"] if one["name"] == "a call")

    assert source() == "a guess"
    assert source("--simulate") == "measured in 1 earlier simulated execution: 12 calls"
    assert source("--simulate", "--model", "claude-opus-5-5") == "a guess"


def test_doctor_tells_what_works(cli):
    ran = cli("doctor", "--json")
    found = {finding["what"]: finding for finding in ran.json}
    assert set(found) == {"python", "sandbox", "database", "ray", "key"}
    assert found["python"]["ok"]
    assert found["key"]["ok"] is None
    assert "ok" in cli("doctor").out


def test_doctor_live_makes_one_bounded_call_and_prints_its_cost(cli, tmp_path, monkeypatch):
    from mge_ray.cli.simulate import configuration, server  # noqa: PLC0415

    (tmp_path / "answers.json").write_text("{}")
    with server(configuration([f"--answers={tmp_path / 'answers.json'}"])) as url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "invented")
        ran = cli("doctor", "--live")
    assert "live call" in ran.out
    assert "answered in" in ran.out
    assert "$" in ran.out
    assert "invented" not in ran.out


def test_doctor_live_says_when_nobody_answers(cli, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "invented")
        ran = cli("doctor", "--live")
    assert ran.code == 1
    assert "connection" in ran.out


def test_every_status_has_its_exit_code():
    codes = {status: exit_code(status) for status in ExecutionStatus}
    assert (codes[ExecutionStatus.COMPLETED], codes[ExecutionStatus.FAILED]) == (0, 1)
    assert {code for status, code in codes.items() if not status.ended or status is ExecutionStatus.CANCELLED} == {3}


def test_help_lists_every_command(cli):
    out = cli("--help").out
    assert all(name in out for name in ("run", "check", "simulate", "schema", "status", "list", "init", "doctor"))
