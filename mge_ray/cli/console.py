"""The console people read. Where there is no terminal, lines are wide enough for tables to keep whole ids."""

from __future__ import annotations

from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 160


def console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or standard error."""
    made = Console(stderr=stderr, highlight=False, markup=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, markup=False, width=WIDTH_WITHOUT_TERMINAL)
    return made
