import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mge_ray.domain import events as e
from mge_ray.domain.concurrency import Pool
from mge_ray.domain.generation import Billing, CallFailure, FailureKind, Generation, StopReason, Usage
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.domain.validation import Level, Severity, ValidationIssue, ValidationResult
from tests.builders import settings
from tests.properties import bounded

texts = st.text(max_size=30)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, 1e9)
counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts)
generations = st.builds(
    Generation,
    text=texts,
    code=st.none() | texts,
    usage=usages,
    cost_usd=positive,
    stop_reason=st.sampled_from(StopReason),
    model=texts,
    latency_s=positive,
    request_id=texts,
    rate_limits=st.dictionaries(texts, texts, max_size=3),
)
failures = st.builds(
    CallFailure,
    kind=st.sampled_from(FailureKind),
    message=texts,
    billing=st.sampled_from(Billing),
    cost_usd=positive,
    usage=usages,
    retry_after_s=st.none() | positive,
    latency_s=positive,
    request_id=texts,
)
issues = st.builds(
    ValidationIssue,
    severity=st.sampled_from(Severity),
    level=st.sampled_from(Level),
    message=texts,
    rule=texts,
    line=st.none() | counts,
)
verdicts = st.builds(
    ValidationResult,
    issues=st.lists(issues, max_size=3).map(tuple),
    level=st.sampled_from(Level),
    tests_run=counts,
    seconds=st.dictionaries(texts, positive, max_size=3),
)
policies = st.builds(
    AttemptPolicy,
    model=texts,
    escalation_model=st.none() | texts,
    accepts_sampling=st.booleans(),
    max_attempts=st.integers(1, 4),
    backoff_base_s=positive,
)
run_settings = st.builds(e.ExecutionSettings, policy=policies, budget_usd=st.none() | positive, simulated=st.booleans())
FIELDS = {
    "at": numbers,
    "settings": run_settings,
    "pool": st.sampled_from(Pool),
    "atom_id": texts,
    "call_id": texts,
    "lease_id": texts,
    "reserved_usd": positive,
    "dearest_call_usd": positive,
    "limit_usd": positive,
    "next_call_usd": positive,
    "gateway": texts,
    "generation": generations,
    "failure": failures,
    "result": verdicts,
    "code": texts,
    "key": texts,
    "source": texts,
    "saved_usd": positive,
    "by": texts,
    "reason": texts,
    "atom_ids": st.lists(texts, max_size=3).map(tuple),
    "limit": st.integers(1, 100_000),
    "note": texts,
    "live_gateways": st.lists(texts, max_size=3).map(tuple),
}


def events_of(event_type):
    names = [field.name for field in dataclasses.fields(event_type) if field.name != "kind"]
    return st.builds(event_type, **{name: FIELDS[name] for name in names})


@pytest.mark.parametrize("event_type", e.EVENT_TYPES, ids=lambda event_type: event_type.__name__)
@bounded
@given(data=st.data())
def test_every_event_is_read_back_as_it_was(event_type, data):
    event = data.draw(events_of(event_type))
    payload = e.encode(event)
    assert e.decode(payload) == event
    assert "\n" not in payload


def test_kinds_are_the_names_in_the_past_tense():
    kinds = [event_type.__dataclass_fields__["kind"].default for event_type in e.EVENT_TYPES]
    assert len(set(kinds)) == len(kinds) == 22


def refusal(payload, **version):
    with pytest.raises(e.UnreadableEventError) as refused:
        e.decode(payload, **version)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{}",
        '{"kind": "unheard_of", "at": 1}',
        '{"kind": ["resume_requested"]}',
        '{"kind": "resume_requested"}',
        '{"kind": "resume_requested", "at": "noon"}',
        '{"kind": "lease_granted", "at": 1, "pool": "swimming", "atom_id": "a", "lease_id": "l"}',
        '{"kind": "resume_requested", "at": 1',
        "[" * 100_000,
    ],
)
def test_garbage_is_refused_in_one_line(payload):
    assert refusal(payload).startswith("a journalled event cannot be read: ")


@bounded
@given(st.text())
def test_any_text_is_refused_or_read(text):
    assert refusal(text)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_version_is_refused_with_advice(version):
    assert refusal(e.encode(e.ResumeRequested(1.0)), version=version) == (
        f"event version {version} is not 1; use a matching mge-ray"
    )


def test_what_the_journal_holds_is_json_with_a_kind():
    assert json.loads(e.encode(e.PauseRequested(2.5, "lunch"))) == {
        "at": 2.5,
        "reason": "lunch",
        "kind": "pause_requested",
    }


@pytest.mark.parametrize("event", [e.WorkerLost(1.0, "a", "call", "\udcff"), e.AcceptanceLost(1.0, "half \ud83d")])
def test_a_lost_workers_last_words_can_be_journalled(event):
    assert e.decode(e.encode(event)) == event


@pytest.mark.parametrize(
    "event",
    [
        e.CodeEdited(1.0, "a", "x = '\ud83d'", "me\udcff", ValidationResult()),
        e.FailureAccepted(1.0, "a", "me\udcff", "half \ud83d"),
        e.AtomApproved(1.0, "a", "me\udcff", "half \ud83d"),
    ],
)
def test_what_a_person_says_can_be_journalled(event):
    assert e.decode(e.encode(event)) == event


def test_events_of_the_first_version_are_read_as_they_were_written():
    """Stored by a version that knew no control by hand; what it meant has not changed."""
    paused = '{"at": 2.5, "reason": "lunch", "kind": "pause_requested"}'
    assert e.decode(paused, version=1) == e.PauseRequested(2.5, "lunch")


@pytest.mark.parametrize("field", ["budget_usd", "atom_timeout_s", "call_timeout_s"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_settings_that_the_journal_could_not_keep_are_refused(field, value):
    with pytest.raises(ValidationError):
        settings(**{field: value})
