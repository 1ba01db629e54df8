"""AnswerSizes: how long complete answers have been, and from that how long the next one may be expected to be.

Fed by journalled answers alone, so a replay learns the same. Kept as counts per 64 tokens: bounded, however many.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mge_ray.domain.forecast import Forecast

BUCKET_TOKENS = 64
MOST_TOKENS = 1 << 20
SURE_ANSWERS = 20
MARGINS = {SURE_ANSWERS: 1.5, 8: 2.0, 3: 4.0}
"""From so many answers on, times the 99th percentile: of fewer than a hundred that is the longest."""
LEAST_ANSWERS = min(MARGINS)
FLOOR_TOKENS = 256
STEP_TOKENS = 128
"""Bounds are multiples of it: each change of the bound prices anew what waits."""


PLANNED_FLOOR_TOKENS, PLANNED_MARGIN = 512, 4.0
"""Of the mean that the forecast expects, while no answers are known. A guess: what is cut is asked again."""


def planned_bound(forecast: Forecast | None) -> int | None:
    """Return the tokens that hardly any answer of a plan should exceed by the forecast made at its start."""
    if forecast is None or forecast.calls.p50 <= 0:
        return None
    expected = int(PLANNED_MARGIN * forecast.output_tokens.p50 / forecast.calls.p50)
    return max(PLANNED_FLOOR_TOKENS, -(-expected // STEP_TOKENS) * STEP_TOKENS)


@dataclass(slots=True)
class Sizes:
    """Answers of one kind."""

    answers: int = 0
    buckets: dict[int, int] = field(default_factory=dict)
    known_bound: int | None = None

    def observe(self, tokens: int) -> None:
        """Count one answer."""
        bucket = -(-min(tokens, MOST_TOKENS) // BUCKET_TOKENS)
        self.answers += 1
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.known_bound = None

    @property
    def bound(self) -> int | None:
        """Tokens that hardly any answer will exceed; None while too few have been seen."""
        if self.known_bound is None and self.answers >= LEAST_ANSWERS:
            margin = next(margin for least, margin in MARGINS.items() if self.answers >= least)
            expected = int(margin * BUCKET_TOKENS * self._quantile())
            self.known_bound = max(FLOOR_TOKENS, -(-expected // STEP_TOKENS) * STEP_TOKENS)
        return self.known_bound

    def _quantile(self) -> int:
        """Return the bucket of the 99th percentile."""
        longer = self.answers // 100  # so many may be longer
        longest_first = sorted(self.buckets, reverse=True)
        return next(bucket for bucket in longest_first if (longer := longer - self.buckets[bucket]) < 0)


@dataclass(slots=True)
class AnswerSizes:
    """Answers by model, and by model, effort and complexity: the narrower kind decides once it is sure."""

    kinds: dict[tuple[str, ...], Sizes] = field(default_factory=dict)

    def observe(self, model: str, effort: str | None, complexity: str, tokens: int) -> None:
        """Count one complete answer of so many output tokens; one that told none is not counted."""
        if tokens > 0:
            for kind in ((model, effort or "", complexity), (model,)):
                self.kinds.setdefault(kind, Sizes()).observe(tokens)

    def content(self) -> dict[tuple[str, ...], dict[int, int]]:
        """Return what has been seen, by kind."""
        return {kind: dict(sizes.buckets) for kind, sizes in self.kinds.items()}

    def bound(self, model: str, effort: str | None, complexity: str) -> int | None:
        """Return the tokens that hardly any answer of this kind will exceed, or None where nothing is known yet."""
        narrow, wide = self.kinds.get((model, effort or "", complexity)), self.kinds.get((model,))
        if narrow is not None and narrow.answers >= SURE_ANSWERS:
            return narrow.bound
        return wide.bound if wide is not None else None
