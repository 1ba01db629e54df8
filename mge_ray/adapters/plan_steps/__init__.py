"""Judging planning steps: their documents are read, checked, and what can be run of them is run in the sandbox."""

from mge_ray.adapters.plan_steps.ladder import plan_ladder
from mge_ray.adapters.plan_steps.weakness import WEAK_RULE, weak_tests_of

__all__ = ["WEAK_RULE", "plan_ladder", "weak_tests_of"]
