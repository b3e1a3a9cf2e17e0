"""What is seen of a run while it runs: its graph, live, on a terminal, and a line per event elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import drystone

OFTEN = 10.0
"""Seconds between two lines that tell how far a map is."""


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Show the runs of this process on stderr as they go."""
    with _display() as display, drystone.load_plugins().observed(display, "drystone-cli-progress"):
        yield


def _display() -> contextlib.AbstractContextManager[Any]:
    if not _is_able():
        return contextlib.nullcontext(Lines())
    from drystone_cli.live import live

    return live()


def _is_able() -> bool:
    """Whether stderr is a terminal that can move its cursor and show any letter."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or sys.platform == "win32":
        return False
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown") and stream.encoding.lower().startswith("utf")


def map_of(name: str) -> str | None:
    """The map that an element belongs to, by its name: `sq` of `sq[3]`; None for a step that is no element."""
    return name.partition("[")[0] if "[" in name else None


class Tally:
    """How far a map is.

    Attributes:
        total: How many elements it has, as far as that is known.
        ended: How many of them ended, by status.
    """

    def __init__(self) -> None:
        self.total = 0
        self.ended: Counter[str] = Counter()

    @property
    def done(self) -> int:
        """How many ended."""
        return self.ended.total()

    def __str__(self) -> str:
        """Such as `132/10000 (2 failed)`."""
        total = f"/{self.total}" if self.total else " done"
        others = ", ".join(f"{count} {status}" for status, count in self.ended.items() if status != "succeeded")
        return f"{self.done}{total}{f' ({others})' if others else ''}"


class Board:
    """What is known of a run while it runs. What an event costs does not depend on how many steps there are.

    Attributes:
        run: The record that it started with.
        order: The place of each step in the graph.
        steps: The newest record of each step.
        running: The steps that run, with when they began on the monotonic clock.
        pending: Those that have not begun, in order.
        ended: Those that ended, the last one last.
        tallies: How far each map is.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.since = time.monotonic()
        self.steps: dict[str, Any] = dict(run.steps)
        self.order = {name: place for place, name in enumerate(self.steps)}
        is_over = {name: step.ended_at is not None for name, step in self.steps.items()}
        self.pending = {name: True for name in self.steps if not is_over[name]}
        self.running: dict[str, float] = {}
        self.ended = {name: True for name in self.steps if is_over[name]}
        self.tallies: dict[str, Tally] = {}

    def started(self, step: Any) -> Tally | None:
        """A step began, or an element of a map, whose tally is returned."""
        above = map_of(step.name)
        if above is not None:
            return self._element(above)
        self.ended.pop(step.name, None)
        self._begin(step.name, again=step.attempts > 1)
        self._note(step)
        return None

    def finished(self, step: Any) -> Tally | None:
        """A step ended, or an element of a map, whose tally is returned."""
        above = map_of(step.name)
        if above is not None:
            tally = self._element(above)
            tally.ended[step.status] += 1
            return tally
        for places in (self.pending, self.running, self.ended):
            places.pop(step.name, None)
        self._note(step)
        self.ended[step.name] = True
        return None

    def outcome(self, step: Any) -> str:
        """How a step ended, and of a map how many elements did how."""
        tally = self.tallies.get(step.name)
        return str(step.outcome) if tally is None or step.error else f"{step.outcome}: {tally}"

    def over(self, run: Any) -> None:
        """The run ended, and with it whatever has not begun."""
        self.run = run
        for name, step in run.steps.items():
            if name not in self.ended:
                self.finished(step)

    def _element(self, name: str) -> Tally:
        if name not in self.ended:
            self._begin(name)
        return self._tally(name)

    def _begin(self, name: str, *, again: bool = False) -> None:
        self.order.setdefault(name, len(self.order))
        self.pending.pop(name, None)
        if again or name not in self.running:
            self.running[name] = time.monotonic()

    def _note(self, step: Any) -> None:
        self.order.setdefault(step.name, len(self.order))
        self.steps[step.name] = step
        elements = getattr(step, "elements", ())
        if elements:
            tally = self._tally(step.name)
            tally.total = len(elements)
            tally.ended = Counter(each.status for each in elements if each.ended_at is not None)

    def _tally(self, name: str) -> Tally:
        tally = self.tallies.get(name)
        if tally is None:
            tally = self.tallies[name] = Tally()
        return tally


class Lines:
    """Prints a line for each event of a run, and of a map one now and then."""

    def __init__(self) -> None:
        self._board: Board | None = None
        self._said: dict[str, float] = {}

    @drystone.hookimpl
    def drystone_run_started(self, run: Any) -> None:
        """Name the run."""
        self._board = Board(run)
        _say(f"{run.name} on stack {run.stack}: {len(run.steps)} steps")

    @drystone.hookimpl
    def drystone_step_started(self, step_run: Any) -> None:
        """Say which, and which attempt if it is not the first."""
        again = f", attempt {step_run.attempts}" if step_run.attempts > 1 else ""
        if self._board is None or self._board.started(step_run) is None:
            _say(f"  {step_run.name}: started{again}")

    @drystone.hookimpl
    def drystone_step_finished(self, step_run: Any) -> None:
        """Say how it ended."""
        if self._board is None:
            return
        tally = self._board.finished(step_run)
        if tally is None or step_run.status == "failed":
            _say(f"  {step_run.name}: {self._board.outcome(step_run)}")
        if tally is not None:
            self._tell(map_of(step_run.name) or "", tally)

    def _tell(self, name: str, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._said.setdefault(name, now) >= OFTEN:
            self._said[name] = now
            _say(f"  {name}: {tally}")

    @drystone.hookimpl
    def drystone_run_finished(self, run: Any) -> None:
        """Say how it ended."""
        _say(f"{run.name} {summary(run)}")


def summary(run: Any) -> str:
    """How a run stands: `succeeded in 1.2 s: 3 succeeded, 2 cached`."""
    from drystone_cli.runs import steps_text
    from drystone_cli.tables import duration

    took = duration(run)
    return f"{run.status}{f' in {took}' if took else ''}: {steps_text(run)}"


def _say(line: str) -> None:
    """Print a line at once; whoever has stopped reading does not end the run."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
