"""`mge-ray plan SPEC` and `mge-ray run SPEC`: bad input in this process, the whole way as a program of its own."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mge_ray.adapters.journal import SqlJournal, default_url, list_executions
from mge_ray.pipeline.plan_file import load_plan
from tests.builders import PASSED, policy, settings
from tests.engines import service
from tests.fakes.llm import QuotingClient
from tests.fakes.validator import RuleValidator
from tests.specs import SPEC, answers, stages


@pytest.fixture
def scores(tmp_path):
    folder = tmp_path / "scores"
    folder.mkdir()
    (folder / "SPEC.md").write_text(SPEC)
    (folder / "answers.json").write_text(json.dumps(answers()))
    return folder


BAD = {
    "no file": ("missing.md", None, ["--simulate"], "cannot be read"),
    "empty": ("SPEC.md", b"\n", ["--simulate"], "is empty"),
    "10 MB": ("SPEC.md", b"x" * 10_000_000, ["--simulate"], "10,000,000 bytes"),
    "not UTF-8": ("SPEC.md", b"\xff\xfe", ["--simulate"], "is not UTF-8"),
    "a budget for nothing": (
        "SPEC.md",
        SPEC.encode(),
        ["--simulate", "--budget", "0.01"],
        "--budget 0.01 is too small",
    ),
    "no answers": ("other/SPEC.md", SPEC.encode(), ["--simulate"], "answers.json does not exist"),
    "no provider": ("SPEC.md", SPEC.encode(), [], "say --simulate"),
    "no price": ("SPEC.md", SPEC.encode(), ["--simulate", "--model", "claude-unheard-of"], "no price"),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(cli, scores, command, case):
    name, data, flags, told = BAD[case]
    path = scores / name
    if data is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    ran = cli(command, path, *flags)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert told in ran.err


def test_a_plan_file_that_is_a_folder_is_refused(cli, scores):
    ran = cli("plan", scores / "SPEC.md", "--simulate", "--out", scores)
    assert (ran.code, "is a folder" in ran.err) == (2, True)


def test_a_planning_left_half_way_is_taken_up_and_executed_in_one_command(scores, cluster):
    asyncio.run(_buy_planning(default_url(scores.parent), "requirements"))
    done = cluster.mge_ray(
        scores.parent, "run", "scores/SPEC.md", "--simulate", "--yes", "--fault=wrong=0.4", "--seed=4"
    )
    assert "stage requirements: 1 step, in the journal" in done.stdout
    assert "planning       3 steps bought for $" in done.stdout
    assert "wrong versions of the accepted code" in done.stdout
    out = scores.parent / "out"
    assert [atom.id for atom in load_plan(out / "scores.plan.yaml").atoms] == list(answers())[4:]
    rows = json.loads((out / "scores.plan.requirements.json").read_text())["requirements"]
    assert [(row["id"], row["line"], len(row["tests"])) for row in rows] == [("R1", 3, 1), ("R2", 4, 2), ("R3", 6, 1)]
    assert list_executions(default_url(scores.parent))[0].name == "scores"
    assert "R1 | MUST" in (out / "scores" / "REQUIREMENTS.md").read_text()
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=out / "scores", capture_output=True, check=False
    )
    assert tested.returncode == 0


@pytest.fixture
def planned(scores):
    """The specification's planning, finished in the journal of the test's folder."""
    asyncio.run(_buy_planning(default_url(scores.parent)))
    return scores


async def _buy_planning(url, *wanted):
    journal = SqlJournal(url)
    client = QuotingClient({unit: [answer] for unit, answer in answers().items()})
    engine = service(client, RuleValidator(lambda _: PASSED), journal=journal)
    wishes = settings(policy=policy(model="claude-sonnet-5-5"), simulated=True, budget_usd=1)
    for stage in (stage for name, stage in stages().items() if not wanted or name in wanted):
        execution_id = await engine.start_plan(stage.plan, settings=wishes)
        await engine.wait(execution_id)
    await engine.close()
    journal.close()


def test_what_was_planned_is_shown_without_ray_and_not_executed_unasked(cli, planned):
    ran = cli("run", planned / "SPEC.md", "--simulate", "--out", planned / "made")
    assert ran.code == 2
    assert ran.err == f"mge-ray: nothing was executed: look at {planned}/made.plan.yaml, then say --yes to execute it\n"
    assert "requirements   3: 2 MUST, 1 SHOULD; 3 covered by 4 tests" in ran.out
    assert "plan           scores: 4 atoms in 3 waves" in ran.out
    (calls,) = [line.split()[1:] for line in ran.out.splitlines() if line.startswith("calls ")]
    assert 4 <= int(calls[0]) <= int(calls[1]) <= int(calls[2]) <= 16
    assert load_plan(planned / "made.plan.yaml").name == "scores"
    assert not (planned / "made").exists()


def test_a_plan_is_written_as_its_name_says_and_told_to_machines(cli, planned):
    told = cli("plan", planned / "SPEC.md", "--simulate", "--out", "plan.json", "--json").json
    assert load_plan(Path("plan.json")).by_id.keys() == {
        "points.double",
        "points.show",
        "points._plural",
        "board.Board.line",
    }
    assert (told["waves"], told["planning"]["steps_from_journal"]) == ([2, 1, 1], 4)
    assert json.loads(Path("plan.requirements.json").read_text())["requirements"] == told["requirements"]
    assert cli("check", "plan.json").code == 0


@pytest.mark.parametrize(("said", "code"), [("n\n", 0), ("", 3)])
def test_a_person_who_does_not_say_yes_executes_nothing(cli, planned, monkeypatch, said, code):
    terminal = io.StringIO(said)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    ran = cli("run", planned / "SPEC.md", "--simulate")
    assert ran.code == code
    assert "Execute this plan?" in ran.out
    assert not (planned.parent / "out" / "scores").exists()
