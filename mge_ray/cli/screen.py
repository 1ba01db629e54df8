"""What a person sees of a run: a live panel on a terminal, lines elsewhere, and the summary at the end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mge_ray.cli.money import limit_text
from mge_ray.domain.commands import AtomFinished, AttemptMade, Notice, SoftLimitReached, WaveFinished
from mge_ray.domain.state import ExecutionState, WaveState
from mge_ray.pipeline.report import ExecutionReport

EVENTS_SHOWN = 8
LINE_EVERY_S = 2.0
BAR_WIDTH = 40


class RunScreen:
    """Shows progress; a context manager. `quiet` shows nothing, for machines that read the report."""

    def __init__(self, console: Console, wave_sizes: list[int], *, quiet: bool = False) -> None:
        self._console = console
        self._sizes = wave_sizes
        self._quiet = quiet
        self._events: deque[Text] = deque(maxlen=EVENTS_SHOWN)
        self._next_line_at = 0.0
        self._last_line = ""
        live = console.is_terminal and not quiet
        self._live = Live(console=console, refresh_per_second=8, transient=True) if live else None

    def __enter__(self) -> RunScreen:  # noqa: PYI034  # never subclassed
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, state: ExecutionState, wave: WaveState | None, notices: Iterable[Notice], trouble: str = "") -> None:
        """Show the present state and what has happened since the last time."""
        told = [text for notice in notices if (text := _telling(notice)) is not None]
        if trouble:
            told.append(Text(f"not buying: {trouble}", style="bold red"))
        self._events.extend(told)
        if self._live:
            self._live.update(self._panel(state, wave))
        elif not self._quiet:
            self._lines(state, wave, told)

    def say(self, message: str) -> None:
        """Show one line that stays."""
        if not self._quiet:
            self._console.print(message, markup=False, highlight=False)

    def _lines(self, state: ExecutionState, wave: WaveState | None, told: list[Text]) -> None:
        for text in told:
            self._console.print(text, highlight=False, soft_wrap=True)
        now, line = time.monotonic(), _one_line(state, wave)
        if (now >= self._next_line_at or state.status.ended) and line != self._last_line:
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)
            self._next_line_at, self._last_line = now + LINE_EVERY_S, line

    def _panel(self, state: ExecutionState, wave: WaveState | None) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for number, size in enumerate(self._sizes, start=1):
            if wave and number == wave.wave_id:
                done, mark = wave.atoms_completed, "▶"
            else:
                done, mark = (size, "✓") if number < state.current_wave else (0, " ")
            bar = ProgressBar(total=size, completed=done, width=BAR_WIDTH)
            table.add_row(mark, f"wave {number}", bar, f"{done}/{size}")
        return Group(table, Text(_one_line(state, wave), style="bold"), *self._events)


def _one_line(state: ExecutionState, wave: WaveState | None) -> str:
    of = f" of {limit_text(state.budget_usd)}" if state.budget_usd is not None else ""
    cost = f"${state.total_cost_usd:.4f}{of}{' (simulated)' if state.simulated else ''}"
    unknown = f" + ${state.unknown_cost_usd:.4f} unknown" if state.unknown_cost_usd else ""
    unknown += f" + ${state.reserved_cost_usd:.4f} reserved" if state.reserved_cost_usd else ""
    unknown += f", ${state.forecast_cost_usd:.4f} at the end" if state.forecast_cost_usd else ""
    at = f"wave {wave.wave_id}/{state.total_waves} {wave.atoms_completed}/{wave.atoms_total}" if wave else "starting"
    return (
        f"{at} · {state.atoms_succeeded}/{state.atoms_total} atoms · {state.atoms_in_flight} in flight · "
        f"{state.retried_atoms} retried · {state.transport_errors} transport errors · {state.atoms_failed} failed · "
        f"{cost}{unknown} · {state.total_time_seconds:.0f} s"
    )


def _telling(notice: Notice) -> Text | None:
    if isinstance(notice, AttemptMade) and not notice.passed:
        return Text(f"  ↻ {notice.atom_id}: attempt {notice.attempt} failed its check", style="yellow")
    if isinstance(notice, AtomFinished):
        if not notice.succeeded:
            return Text(f"  ✗ {notice.atom_id}: failed after {notice.attempts} attempts", style="red")
        if notice.attempts > 1:
            return Text(f"  ✓ {notice.atom_id}: passed at attempt {notice.attempts}", style="green")
    if isinstance(notice, WaveFinished):
        return Text(f"wave {notice.wave_id} done", style="cyan")
    if isinstance(notice, SoftLimitReached):
        told = f"${notice.committed_usd:.4f} of ${notice.limit_usd:.4f} is used; the limit itself pauses the run"
        return Text(f"budget: {told}", style="bold yellow")
    return None


def print_summary(console: Console, report: ExecutionReport) -> None:
    """Print the table that ends a run."""
    cost = "simulated cost" if report.simulated else "cost"
    names = ("wave", "atoms", "ok", "failed", "blocked", "attempts", "retried", cost, "seconds")
    table = Table(*names, box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.justify = "right"
    for wave in report.waves:
        table.add_row(str(wave.wave_id), *_cells(wave.atoms_total, wave), f"{wave.total_time_seconds:.1f}")
    table.add_section()
    table.add_row("all", *_cells(report.atoms_total, report), f"{report.total_time_seconds:.1f}", style="bold")
    console.print(table)


def savings_lines(report: ExecutionReport) -> list[str]:
    """Return what was not paid for, and why: code taken over, answers shared, prompts read from the cache."""
    lines, reuse, cache = [], report.reuse, report.prompt_cache
    simulated = " (simulated)" if report.simulated else ""
    if reuse.atoms_reused:
        lines.append(
            f"reused     {reuse.atoms_reused} of {report.atoms_total} atoms from earlier runs, "
            f"${reuse.saved_usd:.4f}{simulated} not spent again"
        )
    if reuse.shared_answers:
        lines.append(f"shared     {reuse.shared_answers} answers with another run that asked the same, paid there")
    if cache is not None and (cache.read_tokens or cache.write_tokens):
        saved = "" if cache.saved_usd is None else f", ${cache.saved_usd:.4f}{simulated} saved"
        lines.append(f"cached     {cache.read_tokens:,} prompt tokens read, {cache.write_tokens:,} written{saved}")
    return lines


def _cells(total: int, part: ExecutionReport | object) -> list[str]:
    get = part.__getattribute__
    counts = [get(name) for name in ("atoms_succeeded", "atoms_failed", "atoms_blocked", "attempts")]
    return [str(total), *map(str, counts), f"{100 * get('retry_rate'):.0f} %", f"${get('total_cost_usd'):.4f}"]
