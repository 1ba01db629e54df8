"""A plan run three times on one database: all, nothing, the cone of an edit. Counted by the provider."""

from __future__ import annotations

import pytest

from mge_ray.domain.plan import Masterplan
from mge_ray.wiring.build import reuse_settings
from tests.cluster.conftest import numbered_plan


def test_the_second_run_buys_nothing_and_an_edit_its_cone(engine):
    plan = numbered_plan("again", 4, 2)
    reuse = reuse_settings(engine.config)

    def run(made: Masterplan):
        before = engine.stats()["billed_answers"]
        execution_id = engine.start(made, reuse=reuse, prime_prompt_cache=True)
        engine.call("wait", execution_id)
        report = engine.call("report", execution_id)
        bought = engine.stats()["billed_answers"] - before
        assert (report.status, report.calls.answers) == ("completed", bought)
        return bought, report, engine.call("accepted_codes", execution_id)

    bought, first, codes = run(plan)
    assert (bought, first.reuse.atoms_reused) == (4, 0)
    bought, second, same = run(plan)
    assert (bought, second.total_cost_usd, second.attempts, second.acceptance_passed) == (0, 0.0, 0, True)
    assert same == codes
    assert second.reuse.atoms_reused == 4
    assert second.reuse.saved_usd == pytest.approx(first.total_cost_usd)
    atoms = tuple(
        one.model_copy(update={"imports": ("import os",)}) if one.id == "again0" else one for one in plan.atoms
    )
    bought, third, _ = run(Masterplan(name=plan.name, atoms=atoms, files=plan.files))
    assert bought == 2, "again0, and again2 which rests on it"
    assert {one.atom_id for one in third.atoms if not one.reused_from} == {"again0", "again2"}
