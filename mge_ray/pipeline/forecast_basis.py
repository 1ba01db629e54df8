"""What a forecast rests on: each assumption with its value and its source, the best known one of three.

Pure. What earlier executions measured comes first; what a simulated server was told to do comes before even that, since
it is exact; the rest are guesses, said to be guesses, and given the doubt of guesses.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mge_ray.domain.forecast import Assumption
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.pipeline.forecast_draw import Assumptions, CostOf, Share, Spread
from mge_ray.pipeline.measured import Measured

GUESSED_REJECTED = Share(1 / 6, 12)
GUESSED_UNANSWERED = Share(0.02, 20)
GUESSED_CALL = Spread(2.0, 0.4, 0.4)
GUESSED_S_PER_TOKEN = 1 / 70
GUESSED_TOKENS_PER_BYTE = Spread(0.25, doubt=0.12)
GUESSED_TOKENS_AROUND, GUESSED_TOKENS_PER_LINE = 150.0, Spread(12.0, 0.3, 0.35)
SIMULATED_TOKENS_AROUND, SIMULATED_TOKENS_PER_LINE = 5.0, Spread(14.0, 0.4, 0.2)
GUESSED_CHECK = Spread(0.1, 0.4, 0.4)
GUESSED_ACCEPTANCE = Spread(3.0, 0.3, 0.5)
GUESSED_WORKER_START_S = 1.0
START_S = 0.2
CALL_OVERHEAD_S = 0.04
OTHER_LOAD = Spread(1.0, doubt=0.15)
"""What the model of a run left unexplained of the time's deviation (0.20, of the logarithm) over 15 runs."""

CACHED_FROM_TOKENS = 1024
ENOUGH = 8
BETWEEN_EXECUTIONS = 0.1
CHECKS_BETWEEN_EXECUTIONS = 0.35
"""Deviation of the logarithm of the mean check time over 15 runs of one plan on a shared machine of 2 cores (0.34)."""

GUESS = "a guess"


@dataclass(frozen=True, slots=True)
class Told:
    """What a simulated server was told to do, as shares and a log-normal latency in seconds; `text` names the flags."""

    rejected: float
    unanswered: float
    latency_median_s: float
    latency_sigma: float
    text: str


def assume(
    policy: AttemptPolicy,
    *,
    concurrency: int,
    cores: int,
    cost: CostOf | None,
    prices: str,
    measured: Measured | None = None,
    simulated: bool = False,
    told: Told | None = None,
) -> tuple[Assumptions, tuple[Assumption, ...]]:
    """Return the assumptions as numbers and in words. `prices` says where the prices are from."""
    basis = _Basis(measured or Measured(), simulated=simulated, told=told)
    rejected, unanswered = basis.rejected(), basis.unanswered()
    call_s, per_token = basis.call()
    per_byte, (around, per_line) = basis.tokens_per_byte(), basis.output()
    check, acceptance, worker_start = basis.check(), basis.acceptance(), basis.worker_start()
    when = "is answered" if simulated else "begins"
    basis.say(
        "prompt cache",
        f"a prefix of {CACHED_FROM_TOKENS:,} tokens is read by a call that {when} after "
        "the first answer, and written before",
        "the simulated server" if simulated else "the provider's rules",
    )
    basis.say("attempts", f"at most {policy.max_attempts} of an atom", "the policy")
    basis.say("limits", f"{concurrency} calls and {cores} checks at a time", "--concurrency and this machine's cores")
    basis.say("other load", f"time varies by {OTHER_LOAD.doubt:.0%} more", "measured over 15 runs on a shared machine")
    basis.say("prices", "unknown: no cost is forecast" if cost is None else policy.model, prices)
    basis.say("left out", "rate limits, holds, calls billed without an answer, pauses", "the model of a run")
    assumed = Assumptions(
        policy=policy,
        concurrency=concurrency,
        cores=cores,
        rejected=rejected,
        unanswered=unanswered,
        call_s=call_s,
        call_s_per_token=per_token,
        tokens_per_byte=per_byte,
        tokens_around=around,
        tokens_per_line=per_line,
        check_s=check,
        acceptance_s=acceptance,
        worker_start_s=worker_start,
        start_s=START_S,
        load=OTHER_LOAD,
        cached_from_tokens=CACHED_FROM_TOKENS,
        cache_read_by_answer=simulated,
        cost=cost,
    )
    return assumed, tuple(basis.stated)


class _Basis:
    """Chooses each assumption and says where it is from."""

    def __init__(self, measured: Measured, *, simulated: bool, told: Told | None) -> None:
        self.measured, self.simulated, self.told = measured, simulated, told
        self.stated: list[Assumption] = []
        kind = "simulated " if simulated else ""
        runs = f"{measured.executions} earlier {kind}{'execution' if measured.executions == 1 else 'executions'}"
        self.history = f"measured in {runs}"

    def say(self, name: str, value: str, source: str) -> None:
        self.stated.append(Assumption(name=name, value=value, source=source))

    def rejected(self) -> Share:
        found = self.measured
        if self.told:
            share, source = Share(self.told.rejected), self.told.text
        elif found.answers >= ENOUGH:
            share, source = _share(found.rejected, found.answers), f"{self.history}: {found.answers:,} answers"
        else:
            share, source = GUESSED_REJECTED, f"{GUESS} worth {GUESSED_REJECTED.weight:g} answers"
        self.say("answers rejected", f"{share.value:.1%}", source)
        return share

    def unanswered(self) -> Share:
        found = self.measured
        if self.told:
            share, source = Share(self.told.unanswered), self.told.text
        elif found.calls >= ENOUGH:
            share, source = _share(found.unanswered, found.calls), f"{self.history}: {found.calls:,} calls"
        else:
            share, source = GUESSED_UNANSWERED, f"{GUESS} worth {GUESSED_UNANSWERED.weight:g} calls"
        self.say("calls without answer", f"{share.value:.1%}, each made again after its back-off", source)
        return share

    def call(self) -> tuple[Spread, float]:
        if self.told:
            spread, per_token = Spread(self.told.latency_median_s + CALL_OVERHEAD_S, self.told.latency_sigma), 0.0
            source = self.told.text
        elif len(self.measured.call_s) >= ENOUGH:
            spread, per_token = self._fitted(self.measured.call_s), 0.0
            source = f"{self.history}: {len(self.measured.call_s):,} calls"
        else:
            spread, per_token, source = GUESSED_CALL, GUESSED_S_PER_TOKEN, GUESS
        more = f" and {1 / per_token:.0f} tokens a second" if per_token else ""
        self.say("a call", f"median {spread.median:.2f} s, sigma {spread.sigma:.2f}{more}", source)
        return spread, per_token

    def tokens_per_byte(self) -> Spread:
        found = self.measured
        if found.prompt_bytes and found.answers >= ENOUGH:
            doubt = 0.03 + BETWEEN_EXECUTIONS / (1 + found.executions)
            spread, source = Spread(found.input_tokens / found.prompt_bytes, doubt=doubt), self.history
        else:
            spread, source = GUESSED_TOKENS_PER_BYTE, GUESS
        self.say("prompts", f"{1 / spread.median:.2f} bytes a token, as rendered from the plan", source)
        return spread

    def output(self) -> tuple[float, Spread]:
        if len(self.measured.line_tokens) >= ENOUGH:
            fitted, around = self._fitted(self.measured.line_tokens), 0.0
            mean = self.measured.output_tokens / self.measured.planned_lines  # long atoms weigh more than short ones
            spread = replace(fitted, median=mean * math.exp(-(fitted.sigma**2) / 2))
            source = f"{self.history}: {len(self.measured.line_tokens):,} answers"
        elif self.simulated:
            spread, around = SIMULATED_TOKENS_PER_LINE, SIMULATED_TOKENS_AROUND
            source = "the simulated server answers with code alone"
        else:
            spread, around = GUESSED_TOKENS_PER_LINE, GUESSED_TOKENS_AROUND
            source = f"{GUESS}; thinking may be far more"
        more = f" and {around:g} around" if around else ""
        self.say("answers", f"{spread.median:.1f} tokens a planned line{more}", source)
        return around, spread

    def check(self) -> Spread:
        known = len(self.measured.check_s) >= ENOUGH
        spread = GUESSED_CHECK
        if known:
            fitted = self._fitted(self.measured.check_s)
            spread = replace(fitted, doubt=math.hypot(fitted.doubt, CHECKS_BETWEEN_EXECUTIONS))
        source = f"{self.history}: {len(self.measured.check_s):,} checks" if known else GUESS
        self.say("a check", f"median {spread.median:.2f} s of one core", source)
        return spread

    def acceptance(self) -> Spread:
        known = self.measured.acceptance_s
        spread = Spread(statistics.median(known), 0.2, 0.3) if known else GUESSED_ACCEPTANCE
        self.say("the acceptance run", f"{spread.median:.1f} s", self.history if known else GUESS)
        return spread

    def worker_start(self) -> float:
        known = self.measured.worker_start_s
        seconds = statistics.median(known) if known else GUESSED_WORKER_START_S
        self.say("a worker's start", f"{seconds:.1f} s, once for each core", self.history if known else GUESS)
        return seconds

    def _fitted(self, sample: Sequence[float]) -> Spread:
        """Return the log-normal with the sample's logarithmic mean and deviation."""
        logs = [math.log(max(1e-6, value)) for value in sample]
        mean, sigma = statistics.fmean(logs), statistics.stdev(logs)
        between = BETWEEN_EXECUTIONS / math.sqrt(max(1, self.measured.executions))
        return Spread(math.exp(mean), sigma, math.hypot(sigma / math.sqrt(len(logs)), between))


def _share(hits: int, count: int) -> Share:
    """Return the share with half an observation added on either side: nothing seen is not never."""
    return Share((hits + 0.5) / (count + 1), count + 1)
