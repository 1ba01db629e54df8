"""draw_run: one imagined execution of a plan, from stated assumptions and a source of chance.

Pure: equal seeds give equal runs. What is imagined is what the engine does: waves in order, list scheduling of calls on
the leases and of checks on the cores, rejected answers asked again with a larger prompt, up to the policy's attempts
and its last model, failed atoms blocking what rests on them, calls without answer waiting out their back-off, the
prompt's prefix written to the provider's cache until the first answer and read after it, the acceptance run at the end.

What is left out: rate limits and holds shared by all callers, calls that are billed without an answer, pauses.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from mge_ray.domain.generation import Usage
from mge_ray.domain.retry import AttemptPolicy
from mge_ray.pipeline.plan_sizes import PlanShape

CostOf = Callable[[str, Usage], float]
FAILED_CALL_S = 0.05
MOST_DELAYS = 12


@dataclass(frozen=True, slots=True)
class Share:
    """A probability, known as well as `weight` observations would make it; infinite: exactly."""

    value: float
    weight: float = math.inf

    def drawn(self, rng: Random) -> float:
        """Return the probability in one imagined world."""
        if not 0 < self.value < 1 or math.isinf(self.weight):
            return self.value
        return rng.betavariate(self.value * self.weight, (1 - self.value) * self.weight)


@dataclass(frozen=True, slots=True)
class Spread:
    """A log-normal quantity: `sigma` is between one case and the next, `doubt` between the median and the truth."""

    median: float
    sigma: float = 0.0
    doubt: float = 0.0

    def drawn_median(self, rng: Random) -> float:
        """Return the median in one imagined world."""
        return self.median * math.exp(rng.gauss(0, self.doubt)) if self.doubt else self.median


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Everything a forecast rests on. Seconds, tokens; `cost` is None where the model has no price.

    An answer has `tokens_around` and `tokens_per_line` tokens; a call takes `call_s` and `call_s_per_token` of answer.
    `load` is the factor on all time that other work on the machine makes. A prefix of at least `cached_from_tokens` is
    read from the cache by calls that begin after the first answer, or, with `cache_read_by_answer`, are answered then.
    """

    policy: AttemptPolicy
    concurrency: int
    cores: int
    rejected: Share
    unanswered: Share
    call_s: Spread
    call_s_per_token: float
    tokens_per_byte: Spread
    tokens_around: float
    tokens_per_line: Spread
    check_s: Spread
    acceptance_s: Spread
    worker_start_s: float
    start_s: float
    load: Spread
    cached_from_tokens: float
    cache_read_by_answer: bool
    cost: CostOf | None


@dataclass(slots=True)
class Drawn:
    """What one imagined execution took."""

    calls: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_usd: float = 0.0
    wall_s: float = 0.0
    failed_atoms: int = 0


def draw_run(shape: PlanShape, assumed: Assumptions, rng: Random) -> Drawn:
    """Return one imagined execution."""
    return _Run(shape, assumed, rng).execute()


_READY, _LOST, _ANSWERED, _CHECKED = range(4)


@dataclass(slots=True)
class _Run:
    shape: PlanShape
    assumed: Assumptions
    rng: Random
    took: Drawn = field(default_factory=Drawn)
    now: float = 0.0
    flying: int = 0
    checking: int = 0
    checks_begun: int = 0
    warm_at: float = math.inf
    order: int = 0
    heap: list[tuple[float, int, int, int]] = field(default_factory=list)
    ready: deque[int] = field(default_factory=deque)
    to_check: deque[int] = field(default_factory=deque)
    blocked: set[int] = field(default_factory=set)
    attempt: list[int] = field(default_factory=list)
    tries: list[int] = field(default_factory=list)
    call: dict[int, tuple[float, float]] = field(default_factory=dict)
    rejected: float = 0.0
    unanswered: float = 0.0
    call_s: float = 0.0
    tokens_per_byte: float = 0.0
    tokens_per_line: float = 0.0
    check_s: float = 0.0

    def execute(self) -> Drawn:
        """Draw this world's parameters, then go through the waves."""
        assumed, rng = self.assumed, self.rng
        self.rejected, self.unanswered = assumed.rejected.drawn(rng), min(0.9, assumed.unanswered.drawn(rng))
        self.call_s, self.check_s = assumed.call_s.drawn_median(rng), assumed.check_s.drawn_median(rng)
        self.tokens_per_byte = assumed.tokens_per_byte.drawn_median(rng)
        self.tokens_per_line = assumed.tokens_per_line.drawn_median(rng)
        self.attempt, self.tries = [1] * len(self.shape.atoms), [1] * len(self.shape.atoms)
        self.now = assumed.start_s
        for wave in self.shape.waves:
            self.ready.extend(number for number in wave if number not in self.blocked)
            self._wave()
        if self.shape.has_acceptance and not self.took.failed_atoms:
            self.now += self._spread(assumed.acceptance_s, assumed.acceptance_s.drawn_median(rng))
        self.took.wall_s = self.now * assumed.load.drawn_median(rng)
        return self.took

    def _wave(self) -> None:
        while True:
            while self.ready and self.flying < self.assumed.concurrency:
                self._begin_call(self.ready.popleft())
            while self.to_check and self.checking < self.assumed.cores:
                self._begin_check(self.to_check.popleft())
            if not self.heap:
                return
            self.now, _, kind, atom = heapq.heappop(self.heap)
            if kind == _READY:
                self.ready.append(atom)
            elif kind == _LOST:
                self._lose(atom)
            elif kind == _ANSWERED:
                self._answer(atom)
            else:
                self._judge(atom)

    def _at(self, when: float, kind: int, atom: int) -> None:
        self.order += 1
        heapq.heappush(self.heap, (when, self.order, kind, atom))

    def _begin_call(self, atom: int) -> None:
        self.flying += 1
        self.took.calls += 1
        if self.rng.random() < self.unanswered:
            self._at(self.now + FAILED_CALL_S, _LOST, atom)
            return
        assumed, size = self.assumed, self.shape.atoms[atom]
        lines = size.lines * self._spread(assumed.tokens_per_line, self.tokens_per_line)
        output = assumed.tokens_around + lines
        self.call[atom] = (self.now, output)
        seconds = self._spread(assumed.call_s, self.call_s) + assumed.call_s_per_token * output
        self._at(self.now + seconds, _ANSWERED, atom)

    def _answer(self, atom: int) -> None:
        self.flying -= 1
        began_at, output = self.call[atom]
        looked_up_at = self.now if self.assumed.cache_read_by_answer else began_at
        self._bill(atom, output, warm=looked_up_at > self.warm_at)
        self.warm_at = min(self.warm_at, self.now)
        self.to_check.append(atom)

    def _bill(self, atom: int, output: float, *, warm: bool) -> None:
        assumed, size, attempt = self.assumed, self.shape.atoms[atom], self.attempt[atom]
        prefix = self.shape.prefix_bytes * self.tokens_per_byte
        own = (size.prompt_bytes + (size.retry_bytes if attempt > 1 else 0)) * self.tokens_per_byte
        self.took.input_tokens += prefix + own
        self.took.output_tokens += output
        if assumed.cost is None:
            return
        cached = round(prefix) if prefix >= assumed.cached_from_tokens else 0
        read = cached if warm else 0
        usage = Usage(round(prefix + own) - cached, round(output), cached - read, read)
        model = assumed.policy.settings(attempt, size.complexity).model
        self.took.cost_usd += assumed.cost(model, usage)

    def _begin_check(self, atom: int) -> None:
        self.checking += 1
        self.checks_begun += 1
        cold = self.assumed.worker_start_s if self.checks_begun <= self.assumed.cores else 0.0
        self._at(self.now + cold + self._spread(self.assumed.check_s, self.check_s), _CHECKED, atom)

    def _lose(self, atom: int) -> None:
        self.flying -= 1
        policy, tries = self.assumed.policy, min(self.tries[atom], MOST_DELAYS)
        ceiling = min(policy.backoff_base_s * float(1 << (tries - 1)), policy.backoff_cap_s)
        self.tries[atom] += 1
        self._at(self.now + ceiling * (0.5 + 0.5 * self.rng.random()), _READY, atom)

    def _judge(self, atom: int) -> None:
        self.checking -= 1
        self.tries[atom] = 1
        if self.rng.random() >= self.rejected:
            return
        if self.attempt[atom] >= self.assumed.policy.max_attempts:
            self.took.failed_atoms += 1
            self._block(atom)
        else:
            self.attempt[atom] += 1
            self.ready.append(atom)

    def _block(self, atom: int) -> None:
        stack = list(self.shape.dependents[atom])
        while stack:
            current = stack.pop()
            if current not in self.blocked:
                self.blocked.add(current)
                stack.extend(self.shape.dependents[current])

    def _spread(self, spread: Spread, median: float) -> float:
        return median * math.exp(self.rng.gauss(0, spread.sigma)) if spread.sigma else median
