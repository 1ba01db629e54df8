"""`cache` and `explain` on a database that runs have filled; the engine is real, its model a script."""

from __future__ import annotations

import asyncio
import json

import pytest

from mge_ray.adapters.journal import SqlJournal, SqlReuseStore, default_url
from mge_ray.domain.events import ExecutionSettings
from mge_ray.domain.plan import Masterplan
from mge_ray.domain.reuse import ReuseSettings
from mge_ray.execution.execution_service_v2 import ExecutionServiceV2
from mge_ray.execution.reuse import CodeReuse
from mge_ray.pipeline.surroundings import atom_keys
from tests.builders import CALL_USD, plan, policy
from tests.engines import engine
from tests.fakes.llm import ScriptedClient

REUSE = ReuseSettings(provider="simulated", validator="1")
PLAN = plan("a -> b -> c, d -> e")


@pytest.fixture
def execute(tmp_path):
    """Run a plan on the folder's own database; return the execution's id."""

    def call(made: Masterplan, script=None, reuse=REUSE) -> str:
        async def go() -> str:
            url = default_url(tmp_path)
            journal, store = SqlJournal(url), SqlReuseStore(url)
            client = ScriptedClient(script or {})
            service = ExecutionServiceV2(engine(client, journal=journal, reuse=CodeReuse(store, atom_keys)))
            wishes = ExecutionSettings(policy=policy(), reuse=reuse, simulated=True)
            execution_id = await service.start_plan(made, settings=wishes)
            await service.wait(execution_id)
            await service.close()
            store.close()
            journal.close()
            return str(execution_id)

        return asyncio.run(go())

    return call


def edited(atom_id: str, **fields: object) -> Masterplan:
    atoms = tuple(one.model_copy(update=fields) if one.id == atom_id else one for one in PLAN.atoms)
    return Masterplan(name=PLAN.name, atoms=atoms)


def why(cli, execution_id: str, atom_id: str) -> tuple[str, str]:
    told = cli("explain", execution_id[:8], atom_id, "--json").json
    return told["verdict"], " / ".join(told["reasons"])


def test_explain_says_why_an_atom_was_bought_or_reused(cli, execute):
    first = execute(PLAN)
    assert why(cli, first, "a") == ("bought", "no earlier execution of this plan in the database had this atom")
    second = execute(PLAN)
    verdict, reason = why(cli, second, "b")
    assert verdict == "reused"
    assert f"passed the same check in execution {first}, which saved $0.0100" in reason
    third = execute(edited("a", description="anew"), {"a": ["good = 2\n"]})
    assert why(cli, third, "a") == ("bought", f"since execution {second} its specification changed")
    changed = f"since execution {second} the code of a, or of what that rests on, changed"
    assert why(cli, third, "b") == ("bought", changed)
    assert why(cli, third, "e")[0] == "reused"
    said = cli("explain", third, "e").out
    assert "atom       e (succeeded)" in said
    assert "what       reused" in said


def test_explain_says_what_blocks_an_atom_and_when_reuse_was_off(cli, execute):
    failed = execute(PLAN, {"a": ["bad\n"]})
    verdict, reason = why(cli, failed, "c")
    assert verdict == "blocked"
    assert "depends on a, which failed" in reason
    assert "a failed: all 4 attempts failed" in reason
    alone = execute(PLAN, reuse=None)
    assert why(cli, alone, "a") == ("bought", "this execution was started without reuse")
    after = execute(edited("e", description="anew"))
    assert why(cli, after, "b")[1].startswith(f"execution {alone} ran without reuse")
    assert why(cli, after, "e")[1] == f"since execution {failed} its specification changed"


def test_explain_says_when_code_was_no_longer_kept(cli, execute):
    first = execute(PLAN)
    assert cli("cache", "clear").out == "5 entries forgotten\n"
    second = execute(PLAN)
    verdict, reason = why(cli, second, "a")
    assert verdict == "bought"
    assert reason.startswith(f"nothing changed since execution {first}, but its code was no longer kept")


def test_an_unknown_atom_or_execution_is_one_line(cli, execute):
    execution_id = execute(PLAN)
    unknown = cli("explain", execution_id, "z")
    assert (unknown.code, unknown.err) == (2, "mge-ray: plan 'plan' has no atom 'z'\n")
    assert cli("explain", "00000000", "a").code == 2


def test_cache_shows_and_clears_what_is_kept(cli, execute):
    nothing = cli("cache", "stats")
    assert (nothing.code, "no executions yet" in nothing.err) == (2, True)
    execute(PLAN)
    (row,) = cli("cache", "stats", "--json").json
    assert (row["plan_name"], row["entries"], row["worth_usd"]) == ("plan", 5, pytest.approx(5 * CALL_USD))
    assert "plan" in cli("cache", "stats").out
    assert cli("cache", "clear", "--older-than", "1").out == "0 entries forgotten\n"
    assert cli("cache", "clear", "--plan", "other").out == "0 entries forgotten\n"
    assert cli("cache", "clear", "--plan", "plan", "--older-than", "0").out == "5 entries forgotten\n"
    assert cli("cache", "stats").out == "nothing is kept\n"
    assert cli("cache", "clear", "--older-than", "-1").code == 2


def test_the_report_says_what_was_taken_over(cli, execute, tmp_path):
    execute(PLAN)
    second = execute(PLAN)
    assert cli("report", second, "--out", "r.json", "--out", "r.html").code == 0

    report = json.loads((tmp_path / "r.json").read_text())
    assert report["reuse"] == {"atoms_reused": 5, "saved_usd": pytest.approx(5 * CALL_USD), "shared_answers": 0}
    assert report["prompt_cache"] == {"read_tokens": 0, "write_tokens": 0, "saved_usd": 0.0}
    assert (report["attempts"], report["calls"]["answers"], report["precision_percent"]) == (0, 0, 100.0)
    assert f'"reused_from":"{report["atoms"][0]["reused_from"]}"' in (tmp_path / "r.html").read_text().replace(" ", "")
