"""The live view of a run: its graph with states, times and cache hits, redrawn in place below what steps print."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

import drystone
from drystone_cli import lanes, tables
from drystone_cli.progress import UNENDED, Board, moved, outcome, summary, tally
from drystone_cli.relays import relayed

MARKS = {
    "succeeded": ("✓", "green"),
    "cached": ("↺", "cyan"),
    "failed": ("✗", "red"),
    "crashed": ("✗", "red"),
    "skipped": ("○", "dim"),
    "cancelled": ("⊘", "yellow"),
    "pending": ("·", "dim"),
}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES = 10
"""How often a second the view is redrawn."""

BAR = 20
"""Letters of the bar of a map."""

NEXT = 3
"""How many steps are shown that come next, where not all can be; and how many artifacts of a step, and promotions."""


@contextlib.contextmanager
def live() -> Iterator[View]:
    """Show a view at the bottom of the terminal; what is printed meanwhile appears above it."""
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as own:  # descriptor 2 leads elsewhere meanwhile
        console = Terminal(file=own, force_terminal=True, highlight=False)
        view = View()
        region = Live(view, console=console, refresh_per_second=FRAMES, redirect_stdout=False, redirect_stderr=False)

        def show(lines: str, partial: str) -> None:
            view.partial = partial
            if lines:
                console.print(Raw(lines), soft_wrap=True, end="")

        with region, relayed(own.fileno(), show):
            yield view


class Terminal(Console):
    """The terminal by a descriptor of its own.

    Its cursor is never hidden: a process that is killed could not bring it back.
    """

    @property  # type: ignore[misc]  # it is asked for each time, and never set
    def size(self) -> ConsoleDimensions:
        """The size now, wherever the standard descriptors lead."""
        with contextlib.suppress(OSError, ValueError):
            columns, lines = os.get_terminal_size(self.file.fileno())
            if columns and lines:
                return ConsoleDimensions(columns, lines)
        return super().size

    def show_cursor(self, show: bool = True) -> bool:
        """Leave it as it is."""
        return False


class Raw:
    """Whole lines with their own colours, written as they are."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: Any) -> Iterator[Segment]:
        yield Segment(self._text)


class View:
    """The graph of the run that goes on, one row for each step; where the terminal is too low, for some of them.

    Attributes:
        partial: A line that is not at its end yet, such as a progress bar of a step.
    """

    def __init__(self) -> None:
        self.partial = ""
        self._board: Board | None = None
        self._lanes: dict[str, lanes.Row] = {}
        self._lock = threading.Lock()

    @drystone.hookimpl
    def drystone_run_started(self, run: Any) -> None:
        """List its steps."""
        board = Board(run)
        drawn = lanes.rows([*run.steps], run.upstream)
        with self._lock:
            self._board, self._lanes = board, dict(zip(run.steps, drawn, strict=True))

    @drystone.hookimpl
    def drystone_step_started(self, step_run: Any) -> None:
        """Let its clock run."""
        with self._lock:
            if self._board is not None:
                self._board.started(step_run)

    @drystone.hookimpl
    def drystone_step_progressed(self, step_run: Any) -> None:
        """Count its elements."""
        with self._lock:
            if self._board is not None:
                self._board.progressed(step_run)

    @drystone.hookimpl
    def drystone_step_finished(self, step_run: Any) -> None:
        """Show how it ended."""
        with self._lock:
            if self._board is not None:
                self._board.finished(step_run)

    @drystone.hookimpl
    def drystone_artifact_saved(self, artifact_version: Any) -> None:
        """Show it behind its step."""
        with self._lock:
            if self._board is not None:
                self._board.keeps(artifact_version)

    @drystone.hookimpl
    def drystone_model_promoted(self, stage_move: Any) -> None:
        """Show who holds a stage now."""
        with self._lock:
            if self._board is not None:
                self._board.moves.append(moved(stage_move))

    @drystone.hookimpl
    def drystone_run_finished(self, run: Any) -> None:
        """Show how it ended."""
        with self._lock:
            if self._board is not None:
                self._board.over(run)

    def __rich_console__(self, console: Console, options: Any) -> Iterator[Any]:
        width, height = console.size
        with self._lock:
            lines = [Text.from_ansi(self.partial)] if self.partial else []
            if self._board is not None:
                lines += self._rows(self._board, width, height - 2 - len(lines))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
        yield Group(*lines)

    def _rows(self, board: Board, width: int, height: int) -> list[Text]:
        moves = board.moves[-NEXT:]
        names = _shown(board, max(1, height - len(moves)))
        drawn = {name: self._lanes[name] for name in names if name in self._lanes}
        lane = max((len(each.text) for each in drawn.values()), default=0)
        drawn, lane = (drawn, lane) if lane <= width // 3 else ({}, 2)
        column = min(max((cell_len(name) for name in names), default=0), max(8, (width - lane) // 2))
        hidden = _hidden(board, set(names))
        return [
            _title(board),
            *(self._row(board, name, drawn.get(name, lanes.Row("  ", 0)), column, width) for name in names),
            *([tables.styled(f"  … {hidden}", "dim")] if hidden else []),
            *(tables.styled(f"  {text}", "bold") for text in moves),
        ]

    def _row(self, board: Board, name: str, lane: lanes.Row, column: int, width: int) -> Text:
        mark, style = MARKS.get(board.steps[name].status, ("?", ""))
        if name in board.running:
            mark, style = SPINNER[int(time.monotonic() * FRAMES) % len(SPINNER)], "blue"
        line = Text(lane.before, style="dim").append(mark, f"not dim {style}").append(lane.behind)
        line.append(set_cell_size(name, column), "dim" if style == "dim" else "not dim").append("  ")
        return line.append(_detail(board, name, width), "red" if style == "red" else "dim")


def _title(board: Board) -> Text:
    run = board.run
    if run.ended_at is not None:
        return tables.styled(f"{run.name} {summary(run)}", "bold")
    took = tables.seconds(time.monotonic() - board.since)
    done = f"{len(board.ended)} of {len(board.order)} steps"
    return tables.styled(f"{run.name} on stack {run.stack}  {done}  {took}", "bold")


def _detail(board: Board, name: str, width: int) -> str:
    """What stands behind the name of a step: how it ended, how far it is, or what it waits for."""
    step = board.steps[name]
    if name in board.ended:
        saved = board.saved.get(name, [])
        made = f" → {', '.join(saved[:NEXT])}{', …' if saved[NEXT:] else ''}" if saved else ""
        return f"{outcome(step)}{made}"
    if name in board.running:
        took = tables.seconds(time.monotonic() - board.running[name])
        attempt = f", attempt {step.attempts}" if step.attempts > 1 else ""
        return f"{_bar(step.counts, width)}{tally(step)}  {took}{attempt}".lstrip()
    awaited = [each for each in board.run.upstream.get(name, ()) if each not in board.ended]
    return f"after {', '.join(awaited[:4])}{', …' if awaited[4:] else ''}" if awaited else ""


def _bar(counts: Mapping[str, int], width: int) -> str:
    """A bar of the elements of a map that ended, where there is room."""
    total = sum(counts.values())
    if not total or width < 3 * BAR:
        return ""
    filled = BAR * sum(count for status, count in counts.items() if status not in UNENDED) // total
    return f"{'━' * filled}{'┄' * (BAR - filled)} "


def _shown(board: Board, height: int) -> list[str]:
    """The steps that get a row, in the order of the graph.

    All if they fit; else those that run, those that failed last, those that come next, and those that ended last.
    """
    if len(board.order) <= height:
        return sorted(board.order, key=board.order.__getitem__)
    room = max(1, height - 1)  # a row tells how many are not shown
    recent = [*islice(reversed(board.ended), 10 * room)]
    failed = [name for name in recent if board.steps[name].status == "failed"]
    coming = [*islice(board.pending, room)]
    wanted = [*islice(board.running, room), *failed[: max(1, room // 4)], *coming[:NEXT], *recent, *coming]
    return sorted([*dict.fromkeys(wanted)][:room], key=board.order.__getitem__)


def _hidden(board: Board, shown: set[str]) -> str:
    """How many steps have no row: `120 ended, 3 run, 40 wait`."""
    groups: dict[str, Iterable[str]] = {"ended": board.ended, "running": board.running, "waiting": board.pending}
    counts = {what: len([*names]) - len(shown.intersection(names)) for what, names in groups.items()}
    return ", ".join(f"{count} more {what}" for what, count in counts.items() if count)
