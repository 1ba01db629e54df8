import asyncio
from collections import Counter

import pytest

from mge_ray.adapters.prometheus_metrics import PrometheusMetrics
from mge_ray.domain import commands as c
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.errors import PlanError
from mge_ray.domain.events import CancelRequested, CoordinatorRestarted
from mge_ray.domain.generation import FailureKind
from mge_ray.domain.plan import ExecutionWave
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from mge_ray.execution.memory_journal import MemoryJournal
from mge_ray.execution.ports import JournalUnavailableError, StaleEpochError
from mge_ray.execution.wave_executor import TURN_S
from tests.builders import CALL_USD, EXECUTION_ID, PASSED, atom, atoms, failed, failure, many, plan, settings
from tests.engines import begun, driven_run, engine, until
from tests.fakes.clock import ManualClock
from tests.fakes.journals import Diary, DiaryJournal, FlakyJournal
from tests.fakes.leases import CountedLeases
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.metrics import RecordedMetrics
from tests.fakes.validator import RuleValidator
from tests.fakes.work import InstantWork

GOOD = "good = True\n"


def by_id(listed):
    return {unit.id: unit for unit in listed}


def waves(text):
    return [ExecutionWave(wave_id=n, atom_ids=tuple(ids.split())) for n, ids in enumerate(text.split("|"), 1)]


# ---- one wave --------------------------------------------------------------------------------------------------------


async def test_a_wave_gives_a_result_for_each_atom_in_its_order():
    listed = atoms("z, a, m")
    results = await engine().execute_wave(listed, by_id(listed))
    assert list(results) == ["z", "a", "m"]
    assert all(one.success and one.code == GOOD and one.attempts == 1 and one.error is None for one in results.values())


async def test_an_empty_wave_has_no_results():
    assert await engine().execute_wave([], {}) == {}


async def test_results_carry_cost_time_and_verdict():
    (result,) = (await engine().execute_wave(atoms("a"), {})).values()
    assert (result.status, result.cost_usd) == (AtomStatus.SUCCEEDED, CALL_USD)
    assert result.validation.passed
    assert result.time_seconds >= 0


@pytest.mark.parametrize("fault", [RuntimeError("boom"), failure(FailureKind.REQUEST_REFUSED), "bad\n"])
async def test_one_atoms_failure_is_that_atoms_alone(fault):
    client = ScriptedClient({"b": [fault]})
    results = await engine(client).execute_wave(atoms("a, b, c"), {})
    assert [one.success for one in results.values()] == [True, False, True]
    assert results["b"].error


async def test_a_validator_that_breaks_on_one_atom_fails_that_atom_alone():
    def rule(candidate):
        if candidate.atom.id == "b":
            raise OSError("no space left")
        return failed() if "good" not in candidate.code else failed(severity="warning")

    results = await engine(validator=RuleValidator(rule=rule)).execute_wave(atoms("a, b"), {})
    assert (results["a"].success, results["b"].success) == (True, False)
    assert "no space left" in results["b"].validation.failures[0].message


async def test_the_code_of_earlier_waves_reaches_the_model():
    client = ScriptedClient()
    listed = by_id(atoms("a -> b, b -> c"))
    await engine(client).execute_wave([listed["c"]], listed, {"a": "A = 1\n", "b": "B = 2\n"})
    assert client.asked[0].dependencies == {"b": "B = 2\n", "a": "A = 1\n"}


async def test_a_dependency_that_nobody_knows_fails_its_atom_before_anything_is_bought():
    client = ScriptedClient()
    listed = [atom("a"), atom("b", "ghost"), atom("c", "d")]
    results = await engine(client).execute_wave(listed, {"d": atom("d", "phantom")})
    assert results["b"].error == "atom 'b' rests on 'ghost', which is unknown"
    assert results["c"].error == "atom 'c' rests on 'phantom', which is unknown"
    assert results["a"].success
    assert client.atom_ids == ["a"]


async def test_a_wave_of_unknown_dependencies_alone_buys_nothing():
    client = ScriptedClient()
    assert not (await engine(client).execute_wave([atom("b", "ghost")], {}))["b"].success
    assert client.asked == []


async def test_a_diamond_below_an_atom_is_walked_once():
    client = ScriptedClient()
    listed = by_id(atoms("a -> b, a -> c, b -> d, c -> d"))
    await engine(client).execute_wave([listed["d"]], listed)
    assert list(client.asked[0].dependencies) == ["b", "c", "a"]


async def test_two_atoms_in_one_place_are_refused():
    with pytest.raises(PlanError, match="both define"):
        await engine().execute_wave([atom("a"), atom("b", symbol="f_a")], {})


# ---- concurrency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [50, 100, 150])
async def test_never_more_calls_in_flight_than_the_limit_and_as_many_as_it_allows(count):
    client = ScriptedClient()
    client.gate.clear()
    listed = many(count).atoms
    running = asyncio.ensure_future(engine(client).execute_wave(listed, {}))
    await until(lambda: client.in_flight == min(count, 100))
    client.gate.set()
    results = await running
    assert sum(one.success for one in results.values()) == count
    assert client.most_in_flight == min(count, 100)


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_smaller_limits_hold_too(limit):
    client = ScriptedClient()
    await engine(client, max_concurrency=limit).execute_wave(many(20).atoms, {})
    assert client.most_in_flight == limit


async def test_the_settings_limit_an_execution_below_the_executors_limit():
    client = ScriptedClient()
    await driven_run(engine(client), many(20), max_concurrency=3)
    assert client.most_in_flight == 3


async def test_work_waits_for_shared_leases():
    client, leases = ScriptedClient(), CountedLeases(limit=2)
    run = await driven_run(engine(client, leases=leases), many(9))
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert leases.most_out == {Pool.GENERATE: 2, Pool.EXECUTE: 2}
    assert leases.all_returned


async def test_every_lease_comes_back_whatever_happens():
    leases = CountedLeases()
    client = ScriptedClient({"a0": ["bad\n"], "a1": [failure(), GOOD], "a2": [RuntimeError("boom")]})
    await driven_run(engine(client, leases=leases), many(4))
    assert leases.all_returned


async def test_the_throttle_is_told_of_every_call_that_ended():
    leases = CountedLeases()
    client = ScriptedClient({"a0": ["bad\n", GOOD], "a1": [failure(FailureKind.OVERLOADED), GOOD]})
    await driven_run(engine(client, leases=leases), many(2))
    assert {one.model_class for one in leases.observed} == {"m"}
    assert Counter(one.failure for one in leases.observed) == {None: 3, FailureKind.OVERLOADED: 1}
    assert {one.output_tokens for one in leases.observed} == {0, 5}


async def test_leases_are_renewed_while_work_is_in_flight():
    clock, leases, client = ManualClock(), CountedLeases(), ScriptedClient()
    client.gate.clear()
    running = asyncio.ensure_future(driven_run(engine(client, leases=leases, clock=clock), plan("a")))
    await until(lambda: client.in_flight)
    clock.advance(6.0)
    await until(lambda: {Pool.GENERATE: [f"{EXECUTION_ID}:generate:5:m:a"], Pool.EXECUTE: []} in leases.renewals)
    client.gate.set()
    assert (await running).machine.status is ExecutionStatus.COMPLETED


# ---- plans -----------------------------------------------------------------------------------------------------------


async def test_a_plan_runs_wave_by_wave():
    client = ScriptedClient()
    results = await engine(client).execute_plan(waves("a b | c"), by_id(atoms("a, b, a -> c")))
    assert sorted(client.atom_ids[:2]) == ["a", "b"]
    assert client.atom_ids[2] == "c"
    assert all(one.success for one in results.values())


async def test_a_later_wave_waits_for_the_slowest_atom_of_the_one_before():
    client = ScriptedClient()
    client.gate.clear()
    running = asyncio.ensure_future(engine(client).execute_plan(waves("a b | c"), by_id(atoms("a, b, c"))))
    await until(lambda: client.in_flight == 2)
    assert "c" not in client.atom_ids
    client.gate.set()
    await running
    assert client.atom_ids[-1] == "c"


async def test_the_code_of_the_whole_closure_reaches_the_model_and_the_validator():
    client, validator = ScriptedClient({"a": ["good = 'a'\n"], "b": ["good = 'b'\n"]}), RuleValidator()
    await engine(client, validator).execute_plan(waves("a | b | c"), by_id(atoms("a -> b, b -> c")))
    assert client.calls_for("c")[0].dependencies == {"b": "good = 'b'\n", "a": "good = 'a'\n"}
    assert [d.code for d in validator.judged[-1].dependencies] == ["good = 'b'\n", "good = 'a'\n"]


async def test_dependents_of_a_failed_atom_are_blocked_and_not_bought():
    client = ScriptedClient({"a": ["bad\n"]})
    results = await engine(client).execute_plan(waves("a b | c d"), by_id(atoms("a -> c, b -> d")))
    assert (results["c"].status, results["c"].error) == (AtomStatus.BLOCKED, "depends on a, which failed")
    assert results["d"].success
    assert "c" not in client.atom_ids


@pytest.mark.parametrize(
    ("text", "problem"), [("a b", "strictly earlier"), ("a", "'b' is in no wave"), ("a | b x", "names atom 'x'")]
)
async def test_a_plan_that_cannot_be_executed_is_refused_before_anything_is_bought(text, problem):
    client = ScriptedClient()
    with pytest.raises(PlanError, match=problem):
        await engine(client).execute_plan(waves(text), by_id(atoms("a -> b")))
    assert client.asked == []


async def test_an_atom_blamed_by_the_acceptance_tests_is_written_again_with_their_errors():
    """The model's first answer for `a` passes the atom's own check, but not the story it is part of."""

    def story(codes):
        return PASSED if "better" in codes["a"] else failed("the story fails").model_copy(update={"blamed": ("a",)})

    client = ScriptedClient({"a": ["good = 1\n", "good = 'better'\n"]})
    validator = RuleValidator(acceptance=story)
    wanted = plan("a -> b", files={"tests/t.py": ""}, acceptance_tests=("tests",))
    run = await driven_run(engine(client, validator), wanted)
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert [len(run.machine.atoms[atom_id].attempts) for atom_id in "ab"] == [2, 1]
    assert validator.gates == [0, 0]
    assert validator.accepted[0]["a"] != validator.accepted[1]["a"]


async def test_a_wrong_helper_that_nothing_tests_is_written_again_and_its_caller_s_answers_are_not_bought_twice():
    def judge(candidate):
        below = "".join(one.code for one in candidate.dependencies)
        wrong = candidate.atom.id == "caller" and "right" not in below
        return failed("3 != 4").model_copy(update={"blamed": ("helper",)}) if wrong else PASSED

    client = ScriptedClient({"helper": ["wrong = 1\n", "wrong = 2\n", "right = 1\n"]})
    run = await driven_run(engine(client, RuleValidator(judge)), plan("helper -> caller -> above"))
    assert run.machine.status is ExecutionStatus.COMPLETED
    attempts = {atom_id: len(record.attempts) for atom_id, record in run.machine.atoms.items()}
    assert attempts == {"helper": 3, "caller": 3, "above": 1}
    assert len(client.asked) == 7
    assert [one.verdict.passed for one in run.machine.atoms["caller"].attempts].count(True) == 1


async def test_acceptance_tests_see_all_accepted_code_and_decide():
    validator = RuleValidator(acceptance=failed("the story fails"))
    wanted = plan("a, b", files={"tests/t.py": ""}, acceptance_tests=("tests",))
    run = await driven_run(engine(validator=validator), wanted)
    assert validator.accepted == [{"a": GOOD, "b": GOOD}]
    assert run.machine.status is ExecutionStatus.FAILED
    assert run.machine.acceptance_result.failures[0].message == "the story fails"


async def test_a_run_that_stops_says_so_in_the_results():
    client = ScriptedClient({"a": [failure(FailureKind.SPEND_LIMIT)]})
    results = await engine(client).execute_plan(waves("a | b"), by_id(atoms("a -> b")))
    assert results["a"].error == "stopped while ready"
    assert results["b"].error == "stopped while pending"


# ---- time ------------------------------------------------------------------------------------------------------------


async def test_an_atom_that_takes_too_long_fails_and_its_call_is_given_up():
    clock, client = ManualClock(), ScriptedClient()
    client.gate.clear()
    running = asyncio.ensure_future(driven_run(engine(client, clock=clock), plan("a"), atom_timeout_s=5.0))
    await until(lambda: client.in_flight)
    clock.advance(5.0)
    run = await running
    assert run.machine.atoms["a"].cause == "not done after 5 s in flight"
    await until(lambda: client.in_flight == 0)


async def test_the_calls_time_limit_reaches_the_client():
    client = ScriptedClient()
    await driven_run(engine(client), plan("a"), call_timeout_s=33.0)
    assert client.asked[0].call.timeout_s == 33.0


async def test_a_call_that_backs_off_is_made_again_when_its_time_has_come():
    clock = ManualClock()
    work = InstantWork(clock, answers=[failure(retry_after_s=7.25)])
    run = await driven_run(engine(clock=clock, work=lambda machine: work), plan("a"))
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert 7.25 <= clock.now() - 1_000.0 < 8.5
    assert len(work.timeouts_s) < 8.5 / TURN_S + 10


async def test_what_is_awake_and_waits_for_a_lease_is_not_looked_at_a_thousand_times_a_second():
    clock = ManualClock()
    slow_down = failure(FailureKind.RATE_LIMITED, retry_after_s=0.0)
    work = InstantWork(clock, answers=[slow_down], delay=5)
    run = await driven_run(engine(clock=clock, work=lambda machine: work), plan("a, b"), max_concurrency=1)
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert min(work.timeouts_s) == TURN_S


# ---- money -----------------------------------------------------------------------------------------------------------


async def test_a_call_that_does_not_fit_the_budget_is_not_made_and_the_run_pauses_with_the_reason():
    client = QuotingClient(quote_usd=0.01)
    run = await driven_run(engine(client), many(10), budget_usd=0.055)
    assert run.machine.status is ExecutionStatus.PAUSED
    assert run.machine.reason.startswith("budget: the next call can cost up to $0.0100; spent $0.0500")
    assert len(client.asked) == 5
    assert run.machine.money.spent_usd <= 0.055


async def test_calls_in_flight_are_reserved_at_their_most_and_what_they_leave_is_used():
    client = QuotingClient(quote_usd=0.5, usd=0.1)
    run = await driven_run(engine(client), many(6), budget_usd=1.0)
    assert client.most_in_flight == 2
    assert run.machine.status is ExecutionStatus.COMPLETED
    assert run.machine.money.spent_usd == pytest.approx(0.6)


async def test_quotes_with_fractions_of_nano_dollars_share_a_budget_without_an_error():
    client = QuotingClient(quote_usd=1 / 3, usd=1 / 3)
    run = await driven_run(engine(client), many(3), budget_usd=1.0)
    assert run.machine.status is ExecutionStatus.PAUSED
    assert len(client.asked) == 2


# ---- the journal -----------------------------------------------------------------------------------------------------


async def test_the_intent_is_kept_before_the_call_is_made_and_the_answer_before_it_is_checked():
    diary = Diary()

    def rule(candidate):
        diary.lines.append(f"judged {candidate.atom.id}")
        return failed() if "good" not in candidate.code else failed(severity="info")

    client = ScriptedClient({"b": ["bad\n", GOOD]}, on_call=lambda asked: diary.lines.append(f"called {asked.atom_id}"))
    run = await driven_run(engine(client, RuleValidator(rule=rule), journal=DiaryJournal(diary)), plan("a, b -> c"))
    assert run.machine.status is ExecutionStatus.COMPLETED
    for line, before in (("called", "kept lease_granted"), ("judged", "kept generation_arrived")):
        for atom_id in "abc":
            acted = [i for i, told in enumerate(diary.lines) if told == f"{line} {atom_id}"]
            kept = [i for i, told in enumerate(diary.lines) if told == f"{before} {atom_id}"]
            assert len(acted) == (2 if atom_id == "b" else 1)
            assert all(sum(k < i for k in kept) >= number for number, i in enumerate(acted, 1))


async def test_an_answer_is_acknowledged_after_it_is_kept():
    clock, diary = ManualClock(), Diary()
    work = InstantWork(clock)
    executor = engine(clock=clock, journal=DiaryJournal(diary), work=lambda machine: work)
    run = await driven_run(executor, plan("a"))
    acknowledged = [command for command in work.submitted if isinstance(command, c.Acknowledge)]
    assert acknowledged == [c.Acknowledge(run.machine.atoms["a"].attempts[0].call_id, "g1")]
    assert "kept generation_arrived a" in diary.lines


async def test_nothing_is_bought_while_the_journal_is_away_and_all_goes_on_when_it_is_back():
    journal, client = FlakyJournal(appends_away=2), ScriptedClient()
    executor = engine(client, journal=journal)
    run = await begun(executor, plan("a, b"))
    driving = asyncio.ensure_future(executor.drive(run))
    await until(lambda: run.trouble)
    assert run.trouble == "the journal's disk is full"
    assert client.asked == []
    await driving
    assert (run.trouble, run.machine.status) == ("", ExecutionStatus.COMPLETED)
    assert sorted(client.atom_ids) == ["a", "b"]


async def test_the_executor_gives_up_when_the_journal_stays_away():
    client = ScriptedClient()
    executor = engine(client, journal=FlakyJournal(appends_away=10_000), clock=ManualClock(step_s=5.0))
    with pytest.raises(JournalUnavailableError, match="disk is full"):
        await driven_run(executor, plan("a"))
    assert client.asked == []


async def test_what_is_in_flight_is_waited_for_before_giving_up():
    clock, journal, client = ManualClock(), FlakyJournal(), ScriptedClient({"a": ["bad\n"]})
    client.gate.clear()
    executor = engine(client, journal=journal, clock=clock)
    run = await begun(executor, plan("a, b -> c"))
    driving = asyncio.ensure_future(executor.drive(run))
    await until(lambda: client.in_flight == 2)
    journal.appends_away = journal.heartbeats_away = 10_000
    clock.advance(10.0)
    await until(lambda: run.trouble)
    clock.advance(60.0)
    await asyncio.sleep(2 * TURN_S)
    assert not driving.done()
    client.gate.set()
    with pytest.raises(JournalUnavailableError):
        await driving
    assert [event.kind for event in run.unwritten] == ["generation_arrived", "generation_arrived"]
    assert len(client.asked) == 2


async def test_a_heartbeat_that_failed_is_tried_again_and_the_run_goes_on():
    clock, journal = ManualClock(), FlakyJournal()
    client = ScriptedClient({"a": [failure(retry_after_s=30.0), GOOD]})
    executor = engine(client, journal=journal, clock=clock)
    run = await begun(executor, plan("a"))
    driving = asyncio.ensure_future(executor.drive(run))
    await until(lambda: run.machine.transport_errors)
    journal.heartbeats_away = 1
    clock.advance(3.0)
    await until(lambda: run.trouble)
    clock.advance(40.0)
    await driving
    assert (run.trouble, run.machine.status) == ("", ExecutionStatus.COMPLETED)


async def test_another_owner_stops_this_one_before_it_buys_anything():
    journal, client = MemoryJournal(), ScriptedClient()
    executor = engine(client, journal=journal)
    run = await begun(executor, plan("a"))
    await journal.take_over(EXECUTION_ID)
    with pytest.raises(StaleEpochError, match="was taken over"):
        await executor.drive(run)
    assert client.asked == []


async def test_a_verdict_that_comes_after_a_cancel_the_journal_has_not_kept_does_no_harm():
    journal, validator = FlakyJournal(), RuleValidator()
    validator.gate.clear()
    executor = engine(validator=validator, journal=journal)
    run = await begun(executor, plan("a"))
    driving = asyncio.ensure_future(executor.drive(run))
    await until(lambda: validator.judged)
    journal.appends_away = 3
    run.request(CancelRequested(executor.clock.now()))
    await until(lambda: run.trouble)
    validator.gate.set()
    await driving
    assert (run.machine.status, run.trouble) == (ExecutionStatus.CANCELLED, "")
    assert journal.state_of(EXECUTION_ID).status is ExecutionStatus.CANCELLED


async def test_a_request_that_comes_with_the_last_write_is_still_heard():
    class Slow(MemoryJournal):
        async def append(self, execution_id, epoch, events, state):
            await super().append(execution_id, epoch, events, state)
            if state.status is ExecutionStatus.PAUSED and not asked:
                asked.append(run.request(CancelRequested(2_000.0)))

    asked = []
    executor = engine(ScriptedClient(default=failure(FailureKind.SPEND_LIMIT)), journal=Slow())
    run = await begun(executor, plan("a"))
    await executor.drive(run)
    assert asked[0].done()
    assert run.machine.status is ExecutionStatus.CANCELLED


async def test_a_request_taken_back_is_not_carried_out():
    executor = engine()
    run = await begun(executor, plan("a"))
    run.request(CancelRequested(2_000.0)).cancel()
    await executor.drive(run)
    assert run.machine.status is ExecutionStatus.COMPLETED


async def test_a_request_that_was_heard_is_carried_out_though_nobody_waits_for_it_any_more():
    journal = FlakyJournal(appends_away=2)
    executor = engine(journal=journal)
    run = await begun(executor, plan("a"))
    request = run.request(CancelRequested(2_000.0))
    driving = asyncio.ensure_future(executor.drive(run))
    await until(lambda: run.trouble)
    request.cancel()
    await driving
    assert journal.state_of(EXECUTION_ID).status is ExecutionStatus.CANCELLED


async def test_a_request_that_is_refused_says_why():
    executor = engine()
    run = await begun(executor, plan("a"))
    refused = run.request(CoordinatorRestarted(2_000.0))
    run.feed([CancelRequested(1_000.0)])
    await executor.drive(run)
    assert "not possible while the execution is cancelled" in str(refused.exception())


# ---- what is told ----------------------------------------------------------------------------------------------------


async def test_metrics_tell_of_attempts_atoms_waves_money_and_the_end():
    metrics = RecordedMetrics()
    client = ScriptedClient({"a": ["bad\n", GOOD], "b": ["bad\n"]})
    await driven_run(engine(client, metrics=metrics), plan("a, b, a -> c"))
    assert len(metrics.attempts) == 2 + 4 + 1
    assert sorted(metrics.atoms) == [(False, 4), (True, 1), (True, 2)]
    assert [told for told in metrics.waves if told[-1]] == [(1, 2, 2, True), (2, 1, 1, True)]
    assert sum(metrics.costs_usd) == pytest.approx(7 * CALL_USD)
    assert metrics.precisions == [pytest.approx(100 * 2 / 3)]


async def test_metrics_tell_how_far_an_open_wave_is():
    metrics, client = RecordedMetrics(), ScriptedClient()
    await driven_run(engine(client, metrics=metrics, max_concurrency=1), plan("a, b, a -> c"))
    assert metrics.waves == [(1, 1, 2, False), (1, 2, 2, True), (2, 0, 1, False), (2, 1, 1, True)]


async def test_the_seeds_metrics_are_exposed_per_wave_and_execution():
    prometheus = PrometheusMetrics()
    executor = engine(metrics_for=lambda machine: prometheus.for_plan(str(machine.plan.masterplan_id)))
    run = await driven_run(executor, plan("a -> b"))
    told, plan_id = prometheus.text().decode(), str(run.machine.plan.masterplan_id)
    assert f'v2_wave_completion_percent{{masterplan_id="{plan_id}",wave_id="2"}} 100.0' in told
    assert f'v2_wave_time_seconds_count{{masterplan_id="{plan_id}",wave_id="1"}} 1.0' in told
    assert f'v2_execution_precision_percent{{masterplan_id="{plan_id}"}} 100.0' in told
    assert f'v2_execution_cost_usd_total{{masterplan_id="{plan_id}"}} 0.02' in told
    assert "v2_atoms_succeeded_total 2.0" in told


async def test_who_watches_is_told_what_finished_in_order():
    told, executor = [], engine()
    run = await begun(executor, plan("a -> b"))
    run.watch = told.append
    await executor.drive(run)
    kinds = [type(notice).__name__ for notice in told]
    assert kinds == [*["AttemptMade", "AtomFinished", "WaveFinished"] * 2, "ExecutionFinished"]


async def test_settings_of_an_execution_that_names_none_are_the_executors():
    executor = engine(max_concurrency=5)
    assert executor.settings() == settings(max_concurrency=5)
