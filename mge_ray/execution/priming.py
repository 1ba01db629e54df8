"""PromptPriming: of calls that share a long prefix one goes ahead, so that the others read what it wrote (ADR 14).

The provider's prompt cache can be read once the first answer has begun; calls sent together all pay for writing it.
Nothing here is journalled: what is forgotten with the process costs one call's wait, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mge_ray.domain.commands import Generate
from mge_ray.domain.events import Event, GenerationArrived, GenerationFailed
from mge_ray.execution.offer import Offer

CACHEABLE_FROM_TOKENS = 1_024
CACHE_TTL_S = 300.0
PATIENCE_S = 15.0
"""The longest the others wait: an answer that has not ended by then has begun, or something is wrong with it."""


@dataclass(slots=True)
class PromptPriming:
    """Who goes ahead, per model. A prefix of fewer than CACHEABLE_FROM_TOKENS is not cached: then nobody does."""

    prefix_tokens: int = 0
    _warm_until: dict[str, float] = field(default_factory=dict)
    _ahead: dict[str, tuple[str, float]] = field(default_factory=dict)
    _sent: dict[str, str] = field(default_factory=dict)

    def chosen(self, offers: Sequence[Offer], *, now: float) -> Sequence[Offer]:
        """Return the calls that may start now, in their order."""
        if self.prefix_tokens < CACHEABLE_FROM_TOKENS:
            return offers
        taken: Counter[str] = Counter()
        found = []
        for offer in offers:
            model = offer.model
            if self._is_warm(model, now) or (model not in self._ahead and not taken[model]):
                found.append(offer)
                taken[model] += 1
        return found

    def began(self, call: Generate, *, now: float) -> None:
        """Note that a call was sent."""
        if self.prefix_tokens < CACHEABLE_FROM_TOKENS:
            return
        model = self._sent[call.call_id] = call.settings.model
        if not self._is_warm(model, now):
            self._ahead.setdefault(model, (call.call_id, now))

    def landed(self, events: Iterable[Event], *, now: float) -> None:
        """Let the others follow once the call that went ahead has ended, in whatever way."""
        for event in events:
            if not isinstance(event, GenerationArrived | GenerationFailed):
                continue
            if model := self._sent.pop(event.call_id, ""):
                first = self._ahead.get(model, ("", 0.0))[0] == event.call_id
                if first:
                    del self._ahead[model]
                if first or isinstance(event, GenerationArrived):
                    self._warm_until[model] = now + CACHE_TTL_S

    def _is_warm(self, model: str, now: float) -> bool:
        if now < self._warm_until.get(model, 0.0):
            return True
        if model in self._ahead and now - self._ahead[model][1] >= PATIENCE_S:
            self._warm_until[model] = now + CACHE_TTL_S
            return True
        return False
