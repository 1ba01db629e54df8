"""The kinds of kill, and what came of one run."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.cluster.chaos.books import Books
from tests.cluster.chaos.points import POINTS, REACHED_ONCE, RECOVERY_POINTS

TIGHT_USD = 0.015
TIGHT_MAX_TOKENS = 256
"""With answers this long at most, a few calls fit under that budget at a time, and the plan as a whole does not."""


@dataclass(frozen=True)
class Kind:
    """What happens in a run: the coordinator dies at points, and processes (`victims`) die at random moments."""

    group: str
    points: tuple[str, ...] = ()
    victims: tuple[str, ...] = ()
    whole: str = ""
    reach: tuple[int, int] = (1, 5)
    budget_usd: float | None = None

    @property
    def kills_gateway(self) -> bool:
        """Whether calls in flight may be lost."""
        return any("gateway" in victim for victim in self.victims)

    @property
    def name(self) -> str:
        """The kind with its points, for one line."""
        return " ".join([self.group, *self.points])

    def orders(self, rng: random.Random) -> list[tuple[str, int]]:
        """Return at which reach of each point the coordinator is to die."""
        soon = (*REACHED_ONCE, "journal.heartbeat:before", "journal.heartbeat:after")
        reach = rng.randint(*self.reach)
        first = [(point, 1 if point in soon else reach) for point in self.points[:1]]
        return first + [(point, 1) for point in self.points[1:]]


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    kind: Kind
    number: int
    books: Books
    took_s: float

    @property
    def right(self) -> bool:
        """Whether nothing was wrong with it."""
        return not self.books.problems and self.books.overspend_usd == 0


AT_POINTS = [Kind("coordinator at a point", (point,)) for point in POINTS]
IN_RECOVERY = [Kind("coordinator, and again in its recovery", ("work.send:after", point)) for point in RECOVERY_POINTS]
BEFORE_INTENTS = Kind(
    "coordinator before intents are written, then all gateways",
    ("journal.append:before",),
    ("all gateways",),
    reach=(1, 1),
)
"""The first append holds the first calls' intents: none of them may have been made."""
AFTER_INTENTS = Kind(
    "coordinator after calls were sent, then all gateways", ("work.send:after",), ("all gateways",), reach=(1, 1)
)
"""All answers are billed, and nobody has them."""
AT_RANDOM = [
    Kind("nothing"),
    Kind("coordinator", victims=("coordinator",)),
    Kind("gateway", victims=("gateway",)),
    Kind("gateway that holds answers", victims=("gateway that holds answers",)),
    Kind("controller", victims=("controller",)),
    Kind("worker in a check", victims=("worker",)),
    BEFORE_INTENTS,
    AFTER_INTENTS,
    Kind("coordinator and gateway", victims=("coordinator", "gateway")),
    Kind("gateway, under a tight budget", victims=("gateway",), budget_usd=TIGHT_USD),
    Kind("coordinator, under a tight budget", victims=("coordinator",), budget_usd=TIGHT_USD),
]
WHOLE = [
    Kind("driver of `mge-ray run`, then resume", whole="driver"),
    Kind("all Ray processes at once, then resume", whole="ray"),
    Kind("everything at once, then resume", whole="everything"),
]


WITH_DATABASE = [
    Kind("database away for seconds", victims=("database",)),
    Kind("database away, and coordinator meanwhile", victims=("database and coordinator",)),
]
"""Where the database is a server of the kit's own."""
QUICK = [Kind("coordinator at a point", ("work.wait:after",)), AFTER_INTENTS]


def drawn(runs: int, seed: int, *, postgres: bool = False) -> list[Kind]:
    """Return the kinds of so many runs: each point once, each other kind in turn, in an order that the seed draws.

    Fewer runs than there are kinds are a sample of them.
    """
    others = [*(WITH_DATABASE if postgres else WHOLE), *AT_RANDOM, *IN_RECOVERY]
    kinds = [*AT_POINTS, *(others[number % len(others)] for number in range(max(0, runs - len(AT_POINTS))))]
    random.Random(seed).shuffle(kinds)  # noqa: S311  # a sample, no secret
    return kinds[:runs]
