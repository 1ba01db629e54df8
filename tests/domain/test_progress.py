from datetime import datetime, timezone

import pytest

from mge_ray.domain.errors import UnknownExecutionError
from mge_ray.domain.progress import atom_state, execution_state, wave_state
from mge_ray.domain.state import AtomStatus, ExecutionStatus
from tests.builders import MAYBE_BILLED, driven, failed


def moment(at):
    return datetime.fromtimestamp(at, tz=timezone.utc)


def test_before_the_start_there_is_nothing_to_tell():
    seen = execution_state(driven("a, b", started=False).machine)
    assert (seen.status, seen.atoms_total, seen.total_time_seconds) == (ExecutionStatus.PENDING, 2, 0.0)
    assert (seen.started_at, seen.completed_at, seen.budget_usd) == (None, None, None)


def test_a_running_execution_shows_counts_costs_and_settings():
    run = driven("a, b, a -> c", budget_usd=1.0, simulated=True)
    run.attempt("a")
    run.call("b", usd=0.02)
    seen = execution_state(run.machine)
    assert (seen.atoms_completed, seen.atoms_succeeded, seen.atoms_in_flight) == (1, 1, 1)
    assert (seen.total_cost_usd, seen.reserved_cost_usd, seen.budget_usd) == (0.01, 0.02, 1.0)
    assert (seen.current_wave, seen.total_waves, seen.simulated) == (1, 2, True)
    assert seen.started_at == moment(1_001.0)


def test_time_goes_on_only_if_somebody_says_so():
    run = driven("a")
    assert execution_state(run.machine).total_time_seconds == 0.0
    assert execution_state(run.machine, now=run.now + 30).total_time_seconds == 30.0


def test_a_pause_is_not_counted_as_time():
    run = driven("a")
    run.pause()
    assert execution_state(run.machine, now=run.now + 100).total_time_seconds == 1.0
    run.now += 100
    run.resume()
    assert execution_state(run.machine).total_time_seconds == 1.0


def test_the_end_stops_the_clock():
    run = driven("a")
    run.attempt("a")
    seen = execution_state(run.machine, now=run.now + 100)
    assert seen.total_time_seconds == 4.0
    assert seen.completed_at == moment(run.now)


def test_a_wave_adds_up_its_atoms():
    run = driven("a, b, a -> c", policy={"model": "m", "max_attempts": 2})
    run.attempt("a", failed())
    run.attempt("a", failed())
    run.attempt("b")
    first, second = wave_state(run.machine, 1), wave_state(run.machine, 2)
    assert (first.atoms_succeeded, first.atoms_failed, first.attempts) == (1, 1, 3)
    assert first.cost_usd == pytest.approx(0.03)
    assert first.time_seconds == 12.0
    assert (second.atoms_blocked, second.completion_percent) == (1, 100.0)


def test_a_wave_that_has_not_begun_has_no_time():
    assert wave_state(driven("a -> b").machine, 2).time_seconds == 0.0


def test_an_open_waves_time_runs_to_the_last_event():
    run = driven("a")
    run.call("a")
    assert wave_state(run.machine, 1).time_seconds == 1.0


@pytest.mark.parametrize("wave_id", [0, 3, -1])
def test_a_wave_that_does_not_exist_is_named_with_those_that_do(wave_id):
    with pytest.raises(UnknownExecutionError, match=f"wave {wave_id} does not exist; waves are 1 to 2"):
        wave_state(driven("a -> b").machine, wave_id)


def test_an_atom_shows_its_attempts_code_errors_and_time():
    run = driven("a")
    run.attempt("a", failed("first"))
    run.attempt("a", failed("second"))
    seen = atom_state(run.machine, "a")
    assert (seen.status, seen.attempts, seen.errors) == (AtomStatus.READY, 2, ("[tests] second",))
    assert (seen.code, seen.cost_usd, seen.time_seconds) == (None, 0.02, 4.0)
    run.attempt("a")
    assert atom_state(run.machine, "a").code == "x = 1\n"


def test_an_atom_shows_what_it_may_have_cost():
    run = driven("a")
    run.call("a", usd=0.5)
    run.fail("a", MAYBE_BILLED)
    seen = atom_state(run.machine, "a")
    assert (seen.cost_usd, seen.unknown_cost_usd, seen.transport_errors, seen.errors) == (0.0, 0.5, 1, ())


def test_an_unknown_atom_is_named():
    with pytest.raises(UnknownExecutionError, match="no atom 'ghost'"):
        atom_state(driven("a").machine, "ghost")


def test_the_retry_rate_is_never_above_one():
    run = driven("a, b")
    run.attempt("a", failed())
    run.attempt("a", failed())
    run.attempt("b")
    assert execution_state(run.machine).retry_rate == 0.0
    run.attempt("a")
    assert execution_state(run.machine).retry_rate == 0.5
