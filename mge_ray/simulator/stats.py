"""What happened and what it cost, for `GET /stats`.

Every request ends in exactly one of: delivered, billed but undelivered, hit by an unbilled fault, over a real limit,
rejected as invalid, abandoned by its client; the rest is in flight. One event loop owns the object, so the numbers of
one reading belong together.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mge_ray.simulator.pricing import Price
from mge_ray.simulator.promptcache import InputUsage

NO_ATOM = "(no atom)"


@dataclass(slots=True)
class Tokens:
    """Sums in tokens."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0

    def add(self, usage: InputUsage, output_tokens: int) -> None:
        """Add one more billed answer."""
        self.input += usage.fresh
        self.output += output_tokens
        self.cache_read += usage.read
        self.cache_creation += usage.written

    def as_json(self) -> dict[str, int]:
        """List the four sums by name."""
        return {
            "input": self.input,
            "output": self.output,
            "cache_read": self.cache_read,
            "cache_creation": self.cache_creation,
        }


@dataclass(slots=True)
class AtomRecord:
    """One atom; `tries` and `answers` are the indices the next draws use."""

    tries: int = 0
    answers: int = 0
    requests: int = 0
    billed_answers: int = 0
    delivered: int = 0
    cost_usd: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)
    faults: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Write the record without its draw indices."""
        return {
            "requests": self.requests,
            "billed_answers": self.billed_answers,
            "delivered": self.delivered,
            "tokens": self.tokens.as_json(),
            "cost_usd": self.cost_usd,
            "faults": dict(self.faults),
        }


class Stats:
    """The books of one simulator since its start, or the last reset."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.atoms: dict[str, AtomRecord] = {}
        self._clear()

    def _clear(self) -> None:
        self.requests = self.in_flight
        self.max_in_flight = self.in_flight
        self.billed_answers = 0
        self.delivered_answers = 0
        self.abandoned = 0
        self.rate_limited = 0
        self.unpriced_answers = 0
        self.cost_usd = 0.0
        self.tokens = Tokens()
        self.faults: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.billed_undelivered: Counter[str] = Counter()

    def reset(self) -> None:
        """Begin the counts again; each atom keeps its draw indices, requests in flight stay."""
        self._clear()
        for atom_id, old in self.atoms.items():
            self.atoms[atom_id] = AtomRecord(tries=old.tries, answers=old.answers)

    def atom(self, atom_id: str) -> AtomRecord:
        """Find the record of an atom, made on first sight."""
        record = self.atoms.get(atom_id)
        if record is None:
            record = self.atoms[atom_id] = AtomRecord()
        return record

    def request_opened(self) -> None:
        """Note that a request for a message arrived, valid or not."""
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def request_closed(self) -> None:
        """Note that it is over, however it ended."""
        self.in_flight -= 1

    def answer_billed(self, atom_id: str, usage: InputUsage, output_tokens: int, price: Price | None) -> None:
        """Note that an answer was produced; whether it arrives does not change the bill."""
        cost_usd = 0.0
        if price is None:
            self.unpriced_answers += 1
        else:
            cost_usd = price.cost_usd(
                input_tokens=usage.fresh,
                output_tokens=output_tokens,
                cache_write=usage.written,
                cache_read=usage.read,
            )
        self.billed_answers += 1
        self.cost_usd += cost_usd
        self.tokens.add(usage, output_tokens)
        atom = self.atom(atom_id)
        atom.billed_answers += 1
        atom.cost_usd += cost_usd
        atom.tokens.add(usage, output_tokens)

    def answer_delivered(self, atom_id: str) -> None:
        """Note that the last byte went out to a client that still listened."""
        self.delivered_answers += 1
        self.atom(atom_id).delivered += 1

    def answer_lost(self, kind: str) -> None:
        """Note that it was billed, but not delivered whole."""
        self.billed_undelivered[kind] += 1

    def fault_hit(self, atom_id: str, kind: str) -> None:
        """Note that a drawn fault took effect."""
        self.faults[kind] += 1
        faults = self.atom(atom_id).faults
        faults[kind] = faults.get(kind, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """Write everything, for `GET /stats`."""
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "billed_answers": self.billed_answers,
            "delivered_answers": self.delivered_answers,
            "billed_undelivered": dict(self.billed_undelivered),
            "abandoned": self.abandoned,
            "rate_limited": self.rate_limited,
            "rejected": dict(self.rejected),
            "faults": dict(self.faults),
            "tokens": self.tokens.as_json(),
            "cost_usd": self.cost_usd,
            "unpriced_answers": self.unpriced_answers,
            "atoms": {atom_id or NO_ATOM: record.as_json() for atom_id, record in self.atoms.items()},
        }
