"""What is shown of one execution, made from a machine alone."""

from __future__ import annotations

from mge_ray.domain import events as e
from mge_ray.pipeline.views import atom_rows
from tests.builders import driven, failed


def test_a_row_says_who_approved_the_code_that_the_atom_has():
    run = driven("a, b")
    run.attempt("a")
    run.handle(e.AtomApproved(at=run.now, atom_id="a", by="ann", note="read it"))
    (first, second), following = atom_rows(run.machine, None, 0, 10)
    assert (first.approved_by, first.approval_note, second.approved_by, following) == ("ann", "read it", "", None)


def test_a_row_says_that_failing_code_is_used():
    run = driven("a")
    for _ in range(4):
        run.attempt("a", failed("no"))
    run.handle(e.FailureAccepted(at=run.now, atom_id="a", by="bob", note="the test is wrong"))
    ((row,), _) = atom_rows(run.machine, ["a", "unknown"], 0, 10)
    assert (row.used_despite_failure, row.status.value) == (True, "failed")
