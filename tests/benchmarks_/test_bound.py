import pytest

from benchmarks.bound import makespan, waves_makespan


def test_calls_beyond_the_leases_wait_for_the_first_that_is_free():
    assert makespan([[(5.0, 0.0)], [(2.0, 0.0)], [(4.0, 0.0)]], leases=2) == 6.0


def test_an_atoms_second_call_waits_for_its_first():
    assert makespan([[(3.0, 0.0), (4.0, 0.0)], [(1.0, 0.0)]], leases=10) == 7.0


def test_a_retry_queues_behind_first_calls_that_wait():
    assert makespan([[(1.0, 0.0), (1.0, 0.0)], [(5.0, 0.0)]], leases=1) == 7.0
    assert makespan([[(1.0, 0.0), (9.0, 0.0)], [(2.0, 0.0)], [(3.0, 0.0)]], leases=2) == 11.0


@pytest.mark.parametrize(("cores", "expected"), [(1, 8.0), (2, 5.0), (None, 2.0)])
def test_checks_share_the_cores_once_their_answers_are_there(cores, expected):
    assert makespan([[(2.0, 3.0)], [(2.0, 3.0)]], leases=2, cores=cores) == expected


def test_checks_take_cores_while_other_calls_take_leases():
    assert makespan([[(2.0, 2.0)], [(2.0, 2.0)]], leases=1, cores=1) == 6.0


def test_a_wave_begins_when_the_one_before_is_done_and_an_atom_without_calls_takes_no_time():
    assert waves_makespan([[[(5.0, 0.0)], []], [[(2.0, 0.0)]]], leases=9) == 7.0
    assert waves_makespan([], leases=1) == 0
