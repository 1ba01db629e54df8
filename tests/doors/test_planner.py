"""The stages of planning over the real engine, journal and judge, with a scripted model and without Ray."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mge_ray.adapters.atomic_validator import AtomicValidator
from mge_ray.adapters.journal import SqlJournal, default_url, list_executions
from mge_ray.adapters.sandbox import Sandbox
from mge_ray.cli.plan_output import Outlook, plan_text, plan_yaml
from mge_ray.cli.planner import Planner, PlanningStoppedError
from mge_ray.domain.generation import CallFailure, FailureKind
from mge_ray.pipeline.plan_file import parse_plan
from mge_ray.pipeline.report import build_report
from mge_ray.pipeline.spec.spec_file import Spec, SpecError
from tests.builders import policy, settings
from tests.engines import service
from tests.fakes.llm import QuotingClient
from tests.specs import DETAILS, INTERFACE, REQUIREMENTS, SPEC, answers, changed, text

SCORES = Spec("scores", SPEC)
PLAN_FILE = Path("plan.yaml")
WEAK = "def test_double():\n    double(1, 6)\n"
WEAKER = changed(DETAILS["points"], "tests", 0, "code", to=WEAK)


class OnceValidator:
    """The real judge, asked once for each answer: a verdict depends on the candidate alone."""

    def __init__(self, judge):
        self.judge = judge
        self.verdicts = {}

    async def validate(self, candidate):
        key = (candidate.atom.id, candidate.code, tuple(sorted(candidate.files.items())))
        if key not in self.verdicts:
            self.verdicts[key] = await self.judge.validate(candidate)
        return self.verdicts[key]


@pytest.fixture(scope="module")
def validator():
    with Sandbox() as sandbox:
        yield OnceValidator(AtomicValidator(sandbox))


@pytest.fixture
def planning(tmp_path, validator):
    """Plan with a model that answers as recorded, but for what is given; returns plan and client."""

    def plan(*, model: str = "m", fresh: bool = False, budget: float = 10.0, **spoilt):
        script = {unit: [answer] for unit, answer in answers().items()}
        script |= {unit.replace("__", ":"): steps for unit, steps in spoilt.items()}
        client = QuotingClient(script)
        wishes = settings(policy=policy(model=model), budget_usd=budget)

        def follow(stage, its):
            async def run():
                journal = SqlJournal(default_url(tmp_path))
                engine = service(client, validator, journal=journal)
                execution_id = await engine.start_plan(stage, settings=its)
                await engine.wait(execution_id)
                state = await engine.get_execution_state(execution_id)
                report = build_report(engine.machine(execution_id))
                await engine.close()
                journal.close()
                return state, report

            return asyncio.run(run())

        planner = Planner(default_url(tmp_path), wishes, follow, said.append, fresh=fresh)
        return client, planner

    said: list[str] = []
    plan.said = said
    return plan


def test_three_stages_make_a_plan(planning):
    client, planner = planning()
    planned = planner.plan(SCORES)
    assert client.atom_ids == ["plan:requirements", "plan:interface", "plan:details:points", "plan:details:board"]
    assert [len(wave.atom_ids) for wave in planned.plan.waves] == [2, 1, 1]
    assert (planned.steps_bought, planned.steps_known, round(planned.cost_usd, 6)) == (4, 0, 0.04)
    assert planned.table.weak_tests == ()


def test_the_same_specification_is_not_bought_twice(planning):
    planning()[1].plan(SCORES)
    client, planner = planning()
    planned = planner.plan(SCORES)
    assert (client.atom_ids, planned.steps_known, planned.cost_usd) == ([], 4, 0)
    assert all("in the journal" in line for line in planning.said[-3:])


@pytest.mark.parametrize(
    ("wishes", "spec"), [({"model": "other"}, SPEC), ({"fresh": True}, SPEC), ({}, SPEC + "\nMore.\n")]
)
def test_another_model_or_specification_is_asked_again(planning, wishes, spec):
    planning()[1].plan(SCORES)
    client, planner = planning(**wishes)
    planner.plan(Spec("scores", spec))
    assert len(client.atom_ids) == 4


def test_errors_go_back_to_the_step_that_made_them(planning):
    bad = text(changed(INTERFACE, "modules", 0, "requirements", to=["R2"]))
    client, planner = planning(plan__interface=[bad, answers()["plan:interface"]])
    planner.plan(SCORES)
    first, second = client.calls_for("plan:interface")
    assert first.previous_errors in ([], None)
    assert "no module has the requirements R1" in second.previous_errors[0]
    assert second.call.previous_code == bad


def test_a_stage_that_fails_is_told_and_what_was_accepted_is_kept(planning):
    client, planner = planning(plan__details__board=["{}"])
    with pytest.raises(PlanningStoppedError) as stopped:
        planner.plan(SCORES)
    assert stopped.value.code == 1
    assert "plan:details:board: module: is missing" in str(stopped.value)
    assert len(client.calls_for("plan:details:board")) == 4
    again, planner = planning()
    planner.plan(SCORES)
    assert again.atom_ids == ["plan:details:board"]


def test_a_budget_covers_all_stages_and_stops_before_it_is_exceeded(planning):
    client, planner = planning(budget=0.025)
    with pytest.raises(PlanningStoppedError, match=r"stopped before the stage details: .* up to \$0.0100") as stopped:
        planner.plan(SCORES)
    assert stopped.value.code == 3
    assert planner.spent_usd <= 0.025
    assert client.atom_ids == ["plan:requirements", "plan:interface"]
    with pytest.raises(PlanningStoppedError, match="paused in the stage details: budget"):
        planning(budget=0.015)[1].plan(SCORES)  # room for one of its two steps


def test_a_provider_that_stops_pauses_the_planning(planning):
    refused = CallFailure(FailureKind.AUTHENTICATION, "no such key")
    with pytest.raises(PlanningStoppedError, match="no such key; the same command goes on from there"):
        planning(plan__interface=[refused])[1].plan(SCORES)
    client, planner = planning()
    planner.plan(SCORES)
    assert "plan:requirements" not in client.atom_ids


def test_a_specification_without_requirements_is_one_line(planning):
    none = text({"title": "x", "requirements": [], "note": "It is a poem."})
    client, planner = planning(plan__requirements=[none])
    with pytest.raises(SpecError, match=r"^scores: the model finds no requirement in it: It is a poem\.$"):
        planner.plan(SCORES)
    assert client.atom_ids == ["plan:requirements"]


def test_weak_tests_are_asked_for_once_more_and_replaced(planning):
    strong = answers()["plan:details:points"]
    client, planner = planning(plan__details__points=[text(WEAKER)], plan__strengthen__points=[strong])
    planned = planner.plan(SCORES)
    assert client.atom_ids[-1] == "plan:strengthen:points"
    assert planned.table.weak_tests == ()
    assert "[6, 3]" in planned.plan.files["tests/test_points.py"]


@pytest.mark.parametrize("second", [text(WEAKER), "{}"])
def test_tests_that_stay_weak_are_flagged_and_asked_for_only_once(planning, second):
    client, planner = planning(plan__details__points=[text(WEAKER)], plan__strengthen__points=[second])
    planned = planner.plan(SCORES)
    (weak,) = planned.table.weak_tests
    assert weak.test == "tests/test_points.py::test_double"
    assert "return None and on functions that return True" in weak.why
    assert len({asked.atom_id for asked in client.asked if "strengthen" in asked.atom_id}) == 1
    shown = plan_text(planned, PLAN_FILE, Outlook(["execution      5 calls"], {}), simulated=True)
    assert "weak tests     1, asked for once more:" in shown
    again, planner = planning()
    planner.plan(SCORES)
    assert [unit for unit in again.atom_ids if "details" in unit] == []


def test_a_plan_is_written_as_yaml_that_reads_as_the_same_plan(planning):
    planned = planning()[1].plan(SCORES)
    written = plan_yaml(planned.plan)
    assert parse_plan(written, suffix=".yaml") == planned.plan
    assert "  scores/points.py: |\n" in written


def test_what_a_model_wrote_cannot_steer_the_terminal(planning):
    sly = changed(REQUIREMENTS, "requirements", 0, "text", to="twice\x1b[2J on Sundays")
    planned = planning(plan__requirements=[text(sly)])[1].plan(SCORES)
    shown = plan_text(planned, PLAN_FILE, Outlook(["execution      5 calls"], {}), simulated=True)
    assert "\x1b" not in shown
    assert "R1   MUST   line 3" in shown


def test_planning_is_in_the_journal_like_everything_else(planning, tmp_path):
    planning()[1].plan(SCORES)
    names = [stored.name for stored in list_executions(default_url(tmp_path))]
    assert [name.split(" ")[2] for name in reversed(names)] == ["requirements", "interface", "details"]
