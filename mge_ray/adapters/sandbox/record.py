"""Turns a supervisor's reply into a SandboxRecord; everything the candidate could have written is read as hostile."""

import json
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mge_ray.adapters.sandbox.inside.node_ids import Requested
from mge_ray.adapters.sandbox.inside.supervisor import REPLY, VERDICT_BYTES
from mge_ray.adapters.sandbox.model import (
    CheckRequest,
    FunctionRun,
    Outcome,
    SandboxLimits,
    SandboxRecord,
    Status,
    TestOutcome,
)

_TEXT_CHARS = 4000
_MOST_REPORTS = 10_000_000
_OUTCOMES = get_args(Outcome)
_GOOD = {"passed", "skipped"}


class BrokenIsolationError(RuntimeError):
    """The supervisor could not isolate the check, so the candidate never ran."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the supervisor, which never runs candidate code, saw of the test process."""

    exit_status: int
    timed_out: bool
    overrun: str
    cpu_s: float
    verdict: bytes
    output: str


def parse_reply(data: bytes) -> Reply | None:
    """Return None for a reply cut short, which means that supervisor or runner died."""
    if len(data) < REPLY.size:
        return None
    lengths = REPLY.unpack_from(data)
    if len(data) != REPLY.size + sum(lengths):
        return None
    head_end = REPLY.size + lengths[0]
    header = json.loads(data[REPLY.size : head_end])
    if "broken" in header:
        raise BrokenIsolationError(str(header["broken"]))
    verdict = data[head_end : head_end + lengths[1]]
    output = data[head_end + lengths[1] :].decode(errors="replace")
    return Reply(header["status"], header["timed_out"], header["overrun"], header["cpu_s"], verdict, output)


def read_record(reply: Reply, request: CheckRequest, nonce: str, duration_s: float) -> SandboxRecord:
    """Only a complete record with this check's nonce, from a process that ended as the judge ends it, can be "ok"."""
    record = replace(_judge(reply, request, nonce), output=reply.output, duration_s=duration_s)
    if request.trace and record.status in {"ok", "failed"}:
        return replace(record, functions=_functions(reply.verdict))
    return record


def _functions(verdict: bytes) -> tuple[FunctionRun, ...]:
    """Return what was traced; a trace that cannot be read is none, since it decides nothing."""
    rows = json.loads(verdict).get("functions", [])
    try:
        return tuple(FunctionRun(_text(path), int(line), int(bad), int(good)) for path, line, bad, good in rows)
    except (ValueError, TypeError, OverflowError):
        return ()


def _judge(reply: Reply, request: CheckRequest, nonce: str) -> SandboxRecord:
    early = _ended_early(reply, request.limits)
    if early is not None:
        return _without_outcomes(*early)
    code = os.waitstatus_to_exitcode(reply.exit_status)
    try:
        record = _parse_verdict(reply.verdict, nonce)
        outcomes = tuple(_outcome(raw) for raw in record.get("outcomes", ()))
        counts, tests_run = _counts(record, outcomes)
        note = _text(record.get("note", ""))
        broken = _text(record.get("broken", ""))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return _without_outcomes("forged", f"the verdict is not one the judge wrote: {str(error)[:200]}")
    if broken:
        return _without_outcomes("crashed", f"the test process could not be isolated: {broken}")
    if code != 0:
        return _without_outcomes("forged", f"a verdict was written, yet the test process exited with code {code}")
    status, detail = _weigh(outcomes, counts, request.tests, note)
    dropped = sum(counts.values()) - len(outcomes)
    return SandboxRecord(status, outcomes, "", 0.0, detail, tests_run=tests_run, dropped=dropped)


def _without_outcomes(status: Status, detail: str) -> SandboxRecord:
    return SandboxRecord(status, (), "", 0.0, detail)


def _ended_early(reply: Reply, limits: SandboxLimits) -> tuple[Status, str] | None:
    if reply.timed_out:
        return "timeout", f"the tests did not end within {limits.wall_s:g} s"
    if reply.overrun:
        return "killed", f"the tests were ended because {reply.overrun}"
    code = os.waitstatus_to_exitcode(reply.exit_status)
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        cause = f", having used its {limits.cpu_s} s of CPU time" if reply.cpu_s >= limits.cpu_s else ""
        return "killed", f"the test process was ended by {name}{cause}"
    if not reply.verdict:
        return "no-verdict", f"the test process exited with code {code} and left no verdict"
    return None


def _parse_verdict(data: bytes, nonce: str) -> Mapping[str, Any]:
    if len(data) > VERDICT_BYTES:
        raise ValueError(f"longer than {VERDICT_BYTES} bytes")
    record = json.loads(data)
    if not isinstance(record, dict):
        raise TypeError("no object")
    if record.get("nonce") != nonce:
        raise ValueError("without this check's nonce")
    if not isinstance(record.get("outcomes", []), list):
        raise TypeError("outcomes are no list")
    return record


def _outcome(raw: Mapping[str, Any]) -> TestOutcome:
    if raw["outcome"] not in _OUTCOMES:
        raise ValueError(f"{str(raw['outcome'])[:50]!r} is no outcome")
    line, path = raw.get("line"), raw.get("path")
    if not (line is None or (isinstance(line, int) and not isinstance(line, bool))):
        raise TypeError("a line is no number")
    if not (path is None or isinstance(path, str)):
        raise TypeError("a path is no text")
    place = None if path is None else _text(path)
    return TestOutcome(_text(raw["node_id"]), raw["outcome"], _text(raw.get("message", "")), line, place)


def _counts(record: Mapping[str, Any], outcomes: Sequence[TestOutcome]) -> tuple[Counter[str], int]:
    """Return how many reports of each outcome there were, kept or not, and how many tests ran."""
    kept = Counter[str](outcome.outcome for outcome in outcomes)
    said = record.get("counts", dict(kept))
    if not isinstance(said, dict):
        raise TypeError("counts are no object")
    counts = Counter({name: _number(said.get(name, 0), least=kept[name]) for name in _OUTCOMES})
    ran = {outcome.node_id for outcome in outcomes if outcome.outcome == "passed"}
    return counts, _number(record.get("tests_run", len(ran)), least=len(ran))


def _number(raw: object, *, least: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not least <= raw <= _MOST_REPORTS:
        raise ValueError(f"a count is no number from {least} to {_MOST_REPORTS}")
    return raw


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise TypeError("a text is no text")
    return raw[:_TEXT_CHARS].encode(errors="replace").decode()


def _weigh(
    outcomes: Sequence[TestOutcome], counts: Counter[str], tests: Sequence[str], note: str
) -> tuple[Status, str]:
    bad = sum(count for name, count in counts.items() if name not in _GOOD)
    if bad:
        first = next((f", first {one.node_id}" for one in outcomes if one.outcome not in _GOOD), "")
        return "failed", f"{bad} of {sum(counts.values())} failed{first}"
    if note:
        return "failed", note
    if not tests:
        return "ok", "nothing was to be run"
    requested = Requested(tests)
    shown = {test for one in outcomes if one.outcome == "passed" for test in requested.around(one.node_id)}
    for test in tests:
        if test not in shown:
            return "failed", f"{test} was skipped or not run, so it showed nothing"
    return "ok", f"{counts['passed']} passed"
