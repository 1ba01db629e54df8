import pickle

import pytest

from mge_ray.adapters.prometheus_metrics import PrometheusMetrics
from mge_ray.domain.atom import AcceptedAtom
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, StopReason
from mge_ray.domain.validation import Level
from mge_ray.execution.ports import CallContext, CallFailedError, PlanContext
from mge_ray.execution.retry_orchestrator import ExecutionStoppedError, RetryOrchestrator, as_accepted
from tests.builders import CALL_USD, PASSED, atom, driven, failed, failure, generation, policy
from tests.fakes.llm import QuotingClient, ScriptedClient
from tests.fakes.metrics import RecordedMetrics
from tests.fakes.validator import RuleValidator


def orchestrated(*steps, validator=None, client=None, **options):
    """An orchestrator whose model answers for atom `a` with these steps."""
    client = client or ScriptedClient({"a": steps} if steps else {})
    options.setdefault("policy", policy())
    return RetryOrchestrator(client, validator or RuleValidator(), **options)


# ---- how many attempts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needed", [1, 2, 3, 4])
async def test_the_first_attempt_that_passes_is_the_last_one_made(needed):
    made = orchestrated(*["bad\n"] * (needed - 1), "good\n")
    code, verdict, attempts = await made.execute_with_retry(atom("a"))
    assert (code, verdict.passed, attempts) == ("good\n", True, needed)
    assert len(made.llm_client.asked) == needed


async def test_four_failed_attempts_are_all_there_are():
    made = orchestrated("bad\n")
    code, verdict, attempts = await made.execute_with_retry(atom("a"))
    assert (code, verdict.passed, attempts) == ("bad\n", False, 4)
    assert len(made.llm_client.asked) == 4


async def test_the_best_attempt_is_returned_when_none_passes():
    worse = {"1\n": 3, "2\n": 1, "3\n": 2, "4\n": 4}
    validator = RuleValidator(rule=lambda candidate: failed(*map(str, range(worse[candidate.code]))))
    code, verdict, _ = await orchestrated(*worse, validator=validator).execute_with_retry(atom("a"))
    assert (code, len(verdict.failures)) == ("2\n", 1)


async def test_fewer_attempts_can_be_asked_for():
    made = orchestrated("bad\n", policy=policy(max_attempts=2))
    assert (await made.execute_with_retry(atom("a")))[2] == 2


# ---- how attempts differ ---------------------------------------------------------------------------------------------


async def test_attempts_cool_down():
    made = orchestrated("bad\n")
    await made.execute_with_retry(atom("a"))
    assert [asked.temperature for asked in made.llm_client.asked] == [0.7, 0.5, 0.3, 0.3]


async def test_without_a_policy_the_seeds_temperatures_are_used():
    made = RetryOrchestrator(ScriptedClient(default="bad\n"), RuleValidator())
    await made.execute_with_retry(atom("a"))
    assert [asked.temperature for asked in made.llm_client.asked] == RetryOrchestrator.TEMPERATURE_SCHEDULE


async def test_effort_rises_where_no_temperature_is_taken():
    made = orchestrated("bad\n", policy=policy(accepts_sampling=False, escalation_model="large"))
    await made.execute_with_retry(atom("a"))
    asked = [(one.temperature, one.call.settings.effort, one.call.settings.model) for one in made.llm_client.asked]
    assert asked == [(None, "medium", "m"), (None, "high", "m"), (None, "high", "m"), (None, "high", "large")]


# ---- what goes back to the model -------------------------------------------------------------------------------------


async def test_the_first_attempt_is_told_no_errors():
    made = orchestrated("good\n")
    await made.execute_with_retry(atom("a"))
    assert made.llm_client.asked[0].previous_errors is None
    assert made.llm_client.asked[0].call.previous_code is None


async def test_a_retry_is_told_the_errors_of_the_attempt_before_and_its_code():
    made = orchestrated("first\n", "second\n", "good\n")
    await made.execute_with_retry(atom("a"))
    _, second, third = made.llm_client.asked
    assert second.previous_errors == ["[tests] not good: first"]
    assert third.previous_errors == ["[tests] not good: second"]
    assert [one.call.previous_code for one in (second, third)] == ["first\n", "second\n"]


async def test_warnings_are_not_fed_back():
    made = orchestrated("bad\n", "good\n")
    await made.execute_with_retry(atom("a"))
    assert "never fed back" not in str(made.llm_client.asked[1].previous_errors)


async def test_at_most_five_errors_are_fed_back():
    validator = RuleValidator(rule=lambda candidate: failed(*map(str, range(9))))
    made = orchestrated("bad\n", validator=validator)
    await made.execute_with_retry(atom("a"))
    assert len(made.llm_client.asked[1].previous_errors) == 5


async def test_a_cut_answer_is_an_attempt_with_more_room_for_the_next():
    made = orchestrated(generation("x = ", stop_reason=StopReason.MAX_TOKENS), "good\n")
    _, _, attempts = await made.execute_with_retry(atom("a"))
    assert attempts == 2
    assert [one.call.settings.max_tokens for one in made.llm_client.asked] == [4_096, 8_192]
    assert len(made.validator.judged) == 1


async def test_an_answer_without_code_is_an_attempt_that_is_not_judged():
    made = orchestrated(generation(None), "good\n")
    assert (await made.execute_with_retry(atom("a")))[2] == 2
    assert "no fenced code block" in made.llm_client.asked[1].previous_errors[0]
    assert len(made.validator.judged) == 1


# ---- dependencies and files ------------------------------------------------------------------------------------------


async def test_the_code_of_dependencies_reaches_the_model_and_the_validator():
    made = orchestrated("good\n", files={"app/m.py": "# skeleton\n"})
    await made.execute_with_retry(atom("a", "b"), [AcceptedAtom(atom=atom("b"), code="def b(): ...\n")])
    assert made.llm_client.asked[0].dependencies == {"b": "def b(): ...\n"}
    (candidate,) = made.validator.judged
    assert candidate.dependencies[0].code == "def b(): ...\n"
    assert candidate.files == {"app/m.py": "# skeleton\n"}
    assert made.llm_client.asked[0].call.plan.files == {"app/m.py": "# skeleton\n"}


async def test_a_bare_atom_is_a_dependency_without_code():
    made = orchestrated("good\n")
    await made.execute_with_retry(atom("a", "b"), [atom("b")])
    assert made.llm_client.asked[0].dependencies == {"b": None}
    assert as_accepted(atom("b")) == AcceptedAtom(atom=atom("b"))


async def test_dependencies_that_nobody_handed_in_are_left_out():
    made = orchestrated("good\n")
    await made.execute_with_retry(atom("a", "b", "ghost"), [atom("b", "far")])
    assert made.llm_client.asked[0].dependencies == {"b": None}


async def test_an_atoms_own_tests_are_left_to_the_validator():
    made = orchestrated("good\n")
    await made.execute_with_retry(atom("a", tests=("tests/test_a.py",)))
    assert made.validator.judged[0].atom.tests == ("tests/test_a.py",)


# ---- failures that are no attempts -----------------------------------------------------------------------------------


async def test_transport_errors_are_no_attempts():
    made = orchestrated(failure(), failure(FailureKind.TIMEOUT), "good\n")
    assert (await made.execute_with_retry(atom("a")))[2] == 1
    assert len(made.llm_client.asked) == 3
    assert len({one.call.call_id for one in made.llm_client.asked}) == 3


async def test_a_provider_that_stops_the_run_raises():
    made = orchestrated(failure(FailureKind.SPEND_LIMIT))
    with pytest.raises(ExecutionStoppedError, match="atom 'a': spend_limit: a spend_limit in a test"):
        await made.execute_with_retry(atom("a"))


async def test_a_provider_that_never_answers_raises():
    made = orchestrated(failure())
    with pytest.raises(ExecutionStoppedError, match="the provider does not answer"):
        await made.execute_with_retry(atom("a"))
    assert len(made.llm_client.asked) == 12


async def test_a_refused_request_ends_without_an_attempt():
    made = orchestrated(failure(FailureKind.REQUEST_REFUSED))
    code, verdict, attempts = await made.execute_with_retry(atom("a"))
    assert (code, attempts, verdict.level) == ("", 0, Level.ANSWER)
    assert verdict.failures[0].message == "request_refused: a request_refused in a test"


async def test_a_client_that_breaks_fails_the_atom_with_the_reason():
    _, verdict, _ = await orchestrated(RuntimeError("no socket")).execute_with_retry(atom("a"))
    assert verdict.failures[0].message == "internal: the client failed: RuntimeError: no socket"


async def test_a_client_that_returns_bare_code_is_told_what_to_return():
    made = orchestrated()
    answer = await made.generate(*call(), plan=PlanContext(), timeout_s=1.0)
    assert answer.code == "good = True\n"

    class SeedClient:
        async def generate(self, **asked):
            return "good = True\n"

    made = orchestrated(client=SeedClient())
    _, verdict, _ = await made.execute_with_retry(atom("a"))
    assert verdict.failures[0].message == "internal: the client returned str; generate() returns a Generation"


def call():

    return driven("a").call("a"), atom("a"), ()


async def test_a_validator_that_breaks_fails_the_candidate_with_the_reason():
    def broken(candidate):
        raise OSError("no space left")

    made = orchestrated("good\n", validator=RuleValidator(rule=broken))
    _, verdict, attempts = await made.execute_with_retry(atom("a"))
    assert attempts == 4
    assert verdict.failures[0].message == "the validator failed: OSError: no space left"


# ---- money and metrics -----------------------------------------------------------------------------------------------


def test_a_client_that_can_quote_is_asked_what_a_call_costs_at_most():
    asked = call()
    assert orchestrated(client=QuotingClient(quote_usd=0.5)).quote_usd(*asked) == 0.5
    assert orchestrated().quote_usd(*asked) == 0.0


async def test_every_attempt_is_counted():
    metrics = RecordedMetrics()
    await orchestrated("bad\n", "bad\n", "good\n", metrics=metrics).execute_with_retry(atom("a"))
    assert metrics.attempts == [(1, False, False), (2, False, True), (3, True, True)]
    assert metrics.atoms == [(True, 3)]
    assert sum(metrics.costs_usd) == pytest.approx(3 * CALL_USD)


async def test_the_seeds_metrics_are_exposed_to_prometheus():
    metrics = PrometheusMetrics()
    await orchestrated("bad\n", "good\n", metrics=metrics.for_plan("p")).execute_with_retry(atom("a"))
    text = metrics.text().decode()
    assert 'v2_retry_attempts_total{attempt="2"} 1.0' in text
    assert "v2_retry_success_rate 1.0" in text
    assert "v2_retry_temperature_changes_total 1.0" in text


# ---- small parts -----------------------------------------------------------------------------------------------------


def test_a_failed_call_survives_being_sent_to_another_process():
    error = CallFailedError(CallFailure(FailureKind.TIMEOUT, "slow", Billing.UNKNOWN))
    assert pickle.loads(pickle.dumps(error)).failure == error.failure  # noqa: S301  # our own bytes
    assert str(error) == "timeout: slow"


async def test_the_fake_client_serves_its_script_outside_the_engine_too():
    client = ScriptedClient({"a": ["one\n", failure()]})
    assert (await client.generate(atom("a"), ())).code == "one\n"
    with pytest.raises(CallFailedError):
        await client.generate(atom("a"), (), call=CallContext())


async def test_acceptance_tests_are_run_by_the_validator_and_its_faults_fail_them():
    made = orchestrated(validator=RuleValidator(acceptance=PASSED))
    assert (await made.accept(None, {})).passed
    made = orchestrated(validator=RuleValidator(acceptance=OSError("disk")))
    assert (await made.accept(None, {})).failures[0].message == "the validator failed: OSError: disk"
