"""Budgets as the engine keeps them: from the start over the pause and the raise to the end."""

import logging
from dataclasses import dataclass
from uuid import UUID

import pytest

from mge_ray.domain.cost import to_nano
from mge_ray.domain.errors import BudgetError, StateConflictError, UnknownPriceError
from mge_ray.domain.generation import Generation, StopReason, Usage
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.execution.memory_journal import MemoryJournal
from tests.builders import CALL_USD, generation, many, plan, policy, settings
from tests.domain.test_answer_sizes import forecast
from tests.engines import service
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.metrics import RecordedMetrics

BAD = "bad\n"


@dataclass
class PricedByLength(QuotingClient):
    """A model whose calls cost what they may answer at most, and whose answers are `tokens` long, some longer."""

    tokens: int = 300
    longer: frozenset[str] = frozenset()
    usd_per_token: float = 1e-5
    most_reserved_usd: float = 0.0
    billed_usd: float = 0.0

    def max_cost_usd(self, atom_spec, dependencies, previous_errors=None, *, call=None):
        return self.usd_per_token * call.settings.max_tokens

    def _answer(self, atom_id, number) -> Generation:
        asked = self.calls_for(atom_id)[number - 1].call.settings.max_tokens
        tokens = self.tokens * (10 if atom_id in self.longer else 1)
        cut = tokens > asked
        usd = self.usd_per_token * min(tokens, asked)
        self.billed_usd += usd
        made = generation(None if cut else "good = True\n", usd=usd)
        object.__setattr__(made, "usage", Usage(10, min(tokens, asked)))
        object.__setattr__(made, "stop_reason", StopReason.MAX_TOKENS if cut else StopReason.END_TURN)
        return made


def wishes(**fields):
    return settings(**{"policy": policy(learns_max_tokens=True), **fields})


async def paused_for_its_budget(made, count=10, **fields):
    execution_id = await made.start_plan(many(count), settings=settings(**fields))
    state = await made.wait(execution_id)
    assert state.status is ExecutionStatus.PAUSED
    assert state.reason.startswith("budget: the next call can cost up to")
    return execution_id


async def test_a_raise_and_a_resume_finish_what_the_budget_stopped():
    client = QuotingClient()
    made = service(client)
    execution_id = await paused_for_its_budget(made, budget_usd=0.055)
    state = await made.set_budget(execution_id, 1.0, by="ada", reason="agreed")
    assert (state.status, state.budget_usd) == (ExecutionStatus.PAUSED, 1.0)
    assert len(client.asked) == 5
    await made.resume_execution(execution_id)
    state = await made.wait(execution_id)
    assert (state.status, state.forecast_cost_usd) == (ExecutionStatus.COMPLETED, pytest.approx(10 * CALL_USD))
    assert made.wave_executor.journal.events_of(execution_id)[-1].kind != "budget_raised"
    raised = [one for one in made.wave_executor.journal.events_of(execution_id) if one.kind == "budget_raised"]
    assert [(one.by, one.reason, one.limit_usd) for one in raised] == [("ada", "agreed", 1.0)]


async def test_without_a_raise_a_resume_pauses_again_and_buys_nothing():
    client = QuotingClient()
    made = service(client)
    execution_id = await paused_for_its_budget(made, budget_usd=0.055)
    await made.resume_execution(execution_id)
    assert (await made.wait(execution_id)).reason.startswith("budget: ")
    assert len(client.asked) == 5


async def test_a_limit_below_what_is_committed_is_refused_in_one_line():
    made = service(QuotingClient())
    execution_id = await paused_for_its_budget(made, budget_usd=0.055)
    with pytest.raises(StateConflictError, match="below what is committed already"):
        await made.set_budget(execution_id, 0.01, by="ada", reason="less")


async def test_a_cancelled_execution_has_no_budget_any_more():
    made = service(QuotingClient())
    execution_id = await paused_for_its_budget(made, budget_usd=0.055)
    await made.cancel_execution(execution_id)
    with pytest.raises(StateConflictError, match="is cancelled; budget needs one that is not cancelled"):
        await made.set_budget(execution_id, 2.0, by="ada", reason="more")


async def test_a_limit_cannot_be_set_where_calls_cannot_be_priced():
    made = service(ScriptedClient())
    execution_id = await made.start_plan(plan("a"))
    with pytest.raises(StateConflictError, match="a client that can quote calls"):
        await made.set_budget(execution_id, 2.0, by="ada", reason="more")
    with pytest.raises(StateConflictError, match="a client that can quote calls"):
        await made.start_plan(plan("a"), settings=settings(atom_budget_usd=1.0))
    await made.close()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"budget_usd": 0.009}, r"the budget, \$0.009, is too small: one call alone can cost up to \$0.0100"),
        ({"budget_usd": 0.0}, "the budget, "),
        ({"budget_usd": 1.0, "atom_budget_usd": 0.005}, "the budget of a single atom, .0.005, is too small"),
        ({"atom_budget_usd": 0.005}, "the budget of a single atom, "),
    ],
)
async def test_a_budget_below_a_single_call_is_refused_before_anything_begins(limits, said):
    journal, client = MemoryJournal(), QuotingClient()
    made = service(client, journal=journal)
    with pytest.raises(BudgetError, match=said):
        await made.start_plan(many(3), settings=settings(**limits))
    assert (made.execution_ids, client.asked) == ((), [])


async def test_a_model_without_a_price_is_refused_before_anything_begins_also_that_of_the_last_attempt():
    class Known(QuotingClient):
        def max_cost_usd(self, atom_spec, dependencies, previous_errors=None, *, call=None):
            if call.settings.model != "m":
                raise UnknownPriceError(f"no price is known for model {call.settings.model!r}")
            return CALL_USD

    made = service(Known())
    for model, last in (("x", None), ("m", "x")):
        wanted = settings(policy=policy(model=model, escalation_model=last), budget_usd=1.0)
        with pytest.raises(UnknownPriceError, match="'x'"):
            await made.start_plan(many(3), settings=wanted)
    assert made.execution_ids == ()


async def test_a_budget_of_few_calls_runs_with_few_in_flight_to_its_end():
    client = QuotingClient(quote_usd=0.5, usd=0.001)
    made = service(client)
    execution_id = await made.start_plan(many(20), settings=settings(budget_usd=1.0))
    state = await made.wait(execution_id)
    assert (state.status, client.most_in_flight) == (ExecutionStatus.COMPLETED, 2)


async def test_the_soft_limit_is_counted_logged_and_told_to_who_watches(caplog):
    metrics, seen = RecordedMetrics(), []
    made = service(QuotingClient(), metrics=metrics)
    with caplog.at_level(logging.WARNING):
        execution_id = await made.start_plan(many(9), settings=settings(budget_usd=0.1), watch=seen.append)
        state = await made.wait(execution_id)
    assert (state.status, state.soft_limit_reached) == (ExecutionStatus.COMPLETED, True)
    assert metrics.soft_limits == 1
    assert [type(notice).__name__ for notice in seen].count("SoftLimitReached") == 1
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"execution {execution_id}: soft limit reached: spent $0.0")


async def test_an_atom_that_costs_too_much_fails_and_the_others_go_on():
    client = QuotingClient({"a": [BAD]})
    made = service(client)
    execution_id = await made.start_plan(plan("a -> b, c -> d"), settings=settings(atom_budget_usd=0.025))
    state = await made.wait(execution_id)
    assert (state.atoms_succeeded, state.atoms_failed, state.atoms_blocked) == (2, 1, 1)
    assert len(client.calls_for("a")) == 2
    atom = await made.get_atom_status(execution_id, "a")
    assert atom.status is AtomStatus.FAILED
    assert atom.cause == "its budget of $0.025 is used up: spent $0.0200, and the next call can cost up to $0.0100"


async def test_a_price_that_has_fallen_meanwhile_is_no_reason_to_pause():
    class Cheaper(QuotingClient):
        def max_cost_usd(self, atom_spec, dependencies, previous_errors=None, *, call=None):
            self.quote_usd /= 2 if atom_spec.id == "b" else 1
            return self.quote_usd if atom_spec.id == "b" else CALL_USD

    made = service(Cheaper(quote_usd=0.06))
    execution_id = await made.start_plan(plan("a -> b"), settings=settings(budget_usd=0.03))
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED


async def test_a_limit_can_be_set_while_a_recovered_execution_is_about_to_start():
    journal, execution_id, wanted = MemoryJournal(), UUID(int=3), settings(budget_usd=0.015)
    await journal.create(execution_id, many(3), wanted)
    made = service(QuotingClient(), journal=journal)
    await made.recover_execution(execution_id, many(3), [], settings=wanted)
    await made.set_budget(execution_id, 1.0, by="ada", reason="more")
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED


# ---- what answers have needed ----------------------------------------------------------------------------------------


async def test_answers_lower_what_is_asked_for_and_more_calls_fit():
    learning, other = PricedByLength(), PricedByLength()
    for client, learns in ((learning, True), (other, False)):
        made = service(client)
        execution_id = await made.start_plan(
            many(40), settings=wishes(budget_usd=0.15, policy=policy(learns_max_tokens=learns))
        )
        await made.wait(execution_id)
        assert to_nano(client.billed_usd) <= to_nano(0.15)
    assert other.most_in_flight == 3
    assert learning.most_in_flight > 3
    assert len(learning.asked) > len(other.asked)


async def test_answers_that_are_longer_than_others_are_asked_for_again_and_cost_no_attempt():
    client = PricedByLength(longer=frozenset({"a38", "a39"}))
    made = service(client)
    execution_id = await made.start_plan(many(40), settings=wishes(budget_usd=0.3))
    state = await made.wait(execution_id)
    assert (state.status, state.attempts) == (ExecutionStatus.COMPLETED, 40)
    asked = [one.call.settings.max_tokens for one in client.calls_for("a38")]
    assert asked[-1] == 4_096
    assert len(asked) == 2
    assert len({one.call.call_id for one in client.asked}) == len(client.asked) == 42


async def test_a_budget_below_one_call_of_the_policys_own_length_begins_with_what_the_plan_should_need():
    client = PricedByLength()
    made = service(client)
    expected = forecast(calls=40, output_tokens=40 * 250)
    execution_id = await made.start_plan(many(40), settings=wishes(budget_usd=0.04, forecast=expected))
    state = await made.wait(execution_id)
    assert state.reason.startswith("budget: ")
    assert {one.call.settings.max_tokens for one in client.asked} == {1_024, 1_280, 640}
    assert state.atoms_succeeded >= 8
    await made.set_budget(execution_id, 1.0, by="ada", reason="more")
    await made.resume_execution(execution_id)
    assert (await made.wait(execution_id)).status is ExecutionStatus.COMPLETED
