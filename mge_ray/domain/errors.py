"""Every error the domain raises. They hold facts and print as advice."""

from __future__ import annotations


class MgeRayError(Exception):
    """Root of the errors this project raises on purpose; doors print them as one line."""


class PlanError(MgeRayError, ValueError):
    """A plan that cannot be executed as written; nothing was started."""


class IllegalTransitionError(MgeRayError):
    """An event that the current state does not allow; the state is unchanged."""


class BudgetError(MgeRayError):
    """A reservation that does not fit the budget; nothing was reserved."""


class UnknownPriceError(MgeRayError, LookupError):
    """A model without a known price, which cannot be run under a budget."""


class UnknownExecutionError(MgeRayError, LookupError):
    """An execution, wave or atom id that nothing here knows."""


class StateConflictError(MgeRayError):
    """A request that the execution's present state rules out; names the state and what is possible."""


class EngineUnavailableError(MgeRayError):
    """The processes that execute are gone or between two lives; what is journalled is kept."""
