"""How Hypothesis is used here: bounded, without deadlines, and saying how a failure is reproduced."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.builders import atom

bounded = settings(
    max_examples=80,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
"""For properties of one call; derandomized in CI so that a red run is red again."""

driven_far = settings(bounded, max_examples=60, stateful_step_count=60)
"""For state machines."""


@st.composite
def atom_lists(draw, least: int = 1, most: int = 8):
    """Draw atoms in which each may depend on any that came before it, listed in any order."""
    count = draw(st.integers(least, most))
    made = []
    for number in range(count):
        earlier = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        made.append(atom(f"a{number}", *(f"a{n}" for n in sorted(earlier))))
    return draw(st.permutations(made))
