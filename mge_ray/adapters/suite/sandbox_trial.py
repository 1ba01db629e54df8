"""Which of a suite's passing tests also pass where atoms will be judged: in the sandbox, under its limits.

A test that starts two hundred threads or opens a socket passes for its author and never for an atom, so it must not
judge any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mge_ray.adapters.sandbox import Sandbox, SandboxUnavailableError
from mge_ray.adapters.suite.suite_run import SuiteError
from mge_ray.adapters.validator.trials import ChecksWorkspaces, request_for
from mge_ray.pipeline.atomize import ObservedTest, ProjectTree
from mge_ray.pipeline.atomize.judging import MOST_REPORTS

MOST_S = 3_600.0


def tried_in_sandbox(
    tree: ProjectTree, tests: Sequence[ObservedTest], *, wall_s: float, sandbox: ChecksWorkspaces | None = None
) -> tuple[tuple[ObservedTest, ...], tuple[str, ...]]:
    """Return the tests, those that fail in the sandbox as failed, and the ids of these.

    Tests with more reports than a check can hold are left as they are: they judge no atom. Raises SuiteError where no
    sandbox can be started.
    """
    if sandbox is None:
        try:
            with Sandbox() as own:
                return tried_in_sandbox(tree, tests, wall_s=wall_s, sandbox=own)
        except SandboxUnavailableError as error:
            raise SuiteError(f"the tests cannot be tried in the sandbox: {error}; see `mge-ray doctor`") from None
    refused: set[str] = set()
    for chunk in _chunks(tests):
        refused |= _refused(tree, chunk, wall_s, sandbox)
    changed = tuple(replace(one, outcome="failed") if one.base_id in refused else one for one in tests)
    return changed, tuple(sorted(refused))


def _refused(tree: ProjectTree, ids: Sequence[str], wall_s: float, sandbox: ChecksWorkspaces) -> set[str]:
    """Return which of these tests show no pass; a chunk that ends as a whole is halved until the cause is alone."""
    limit = min(MOST_S, max(wall_s, math.ceil(wall_s * len(ids) / 10)))
    record = sandbox.check(request_for(tree.files, tuple(ids), (), limit))
    if record.status not in {"ok", "failed"}:
        if len(ids) == 1:
            return set(ids)
        half = len(ids) // 2
        return _refused(tree, ids[:half], wall_s, sandbox) | _refused(tree, ids[half:], wall_s, sandbox)
    found: dict[str, set[str]] = {}
    for outcome in record.outcomes:
        found.setdefault(outcome.node_id.partition("[")[0], set()).add(outcome.outcome)
    return {one for one in ids if "passed" not in found.get(one, ()) or found[one] & {"failed", "error"}}


def _chunks(tests: Sequence[ObservedTest]) -> Iterator[list[str]]:
    reports: dict[str, int] = {}
    spoiled = {one.base_id for one in tests if one.outcome == "failed"}
    passing = {one.base_id for one in tests if one.outcome == "passed"} - spoiled
    for one in tests:
        if one.base_id in passing:
            reports[one.base_id] = reports.get(one.base_id, 0) + one.reports
    chunk: list[str] = []
    size = 0
    for node_id, count in reports.items():
        if count > MOST_REPORTS:
            continue
        if size + count > MOST_REPORTS:
            yield chunk
            chunk, size = [], 0
        chunk.append(node_id)
        size += count
    if chunk:
        yield chunk
