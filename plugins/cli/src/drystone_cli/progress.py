"""What is seen of a run while it runs: its graph, live, on a terminal, and a line per event elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import drystone

OFTEN = 10.0
"""Seconds between two lines that tell how far a map is."""

UNENDED = ("pending", "running")
"""Statuses of elements that have not ended."""


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


def tally(step: Any) -> str:
    """How far a map is, such as `132/10000 (2 failed)`; empty for another step."""
    ended = {status: count for status, count in step.counts.items() if status not in UNENDED}
    expected, whole = ("succeeded", step.status), sum(step.counts.values())
    others = ", ".join(f"{count} {status}" for status, count in ended.items() if count and status not in expected)
    return f"{sum(ended.values())}/{whole}{f' ({others})' if others else ''}" if whole else ""


def outcome(step: Any) -> str:
    """How a step ended, and of a map how many elements did how."""
    return ": ".join(filter(None, [step.outcome, "" if step.error else tally(step)]))


class Board:
    """What is known of a run while it runs. What an event costs does not depend on how many steps there are.

    Attributes:
        run: The record that it started with.
        order: The place of each step in the graph.
        steps: The newest record of each step.
        running: The steps that run, with when they began on the monotonic clock.
        pending: Those that have not begun, in order.
        ended: Those that ended, the last one last.
        saved: Artifacts with names of their own that each step has made.
        moves: What became of stages of models.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.since = time.monotonic()
        self.steps: dict[str, Any] = dict(run.steps)
        self.order = {name: place for place, name in enumerate(self.steps)}
        self.running: dict[str, float] = {}
        self.pending = {name: True for name, step in self.steps.items() if step.ended_at is None}
        self.ended = {name: True for name in self.steps if name not in self.pending}
        self.saved: dict[str, list[str]] = {}
        self.moves: list[str] = []

    def started(self, step: Any) -> None:
        """An attempt at a step began."""
        self._note(step)
        self.running[step.name] = time.monotonic()

    def progressed(self, step: Any) -> None:
        """Some elements of a map ended."""
        if step.name in self.running:
            self.steps[step.name] = step

    def finished(self, step: Any) -> None:
        """A step ended."""
        self._note(step)
        self.ended[step.name] = True

    def keeps(self, artifact: Any) -> None:
        """An artifact was saved. Those that are named after their steps need not be told."""
        _, step = artifact.produced_by or (None, "")
        if not artifact.name.startswith(f"{self.run.pipeline}."):
            self.saved.setdefault(step, []).append(str(artifact))

    def over(self, run: Any) -> None:
        """The run ended, and with it whatever has not begun."""
        self.run = run
        for name, step in run.steps.items():
            if name not in self.ended:
                self.finished(step)

    def _note(self, step: Any) -> None:
        for places in (self.pending, self.running, self.ended):
            places.pop(step.name, None)
        self.order.setdefault(step.name, len(self.order))
        self.steps[step.name] = step


class Lines:
    """Prints a line for each event of a run, and of a map one now and then."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, bool]] = {}

    @drystone.hookimpl
    def drystone_run_started(self, run: Any) -> None:
        """Name the run."""
        _say(f"{run.name} on stack {run.stack}: {len(run.steps)} step{'' if len(run.steps) == 1 else 's'}")

    @drystone.hookimpl
    def drystone_step_started(self, step_run: Any) -> None:
        """Say which, and which attempt if it is not the first."""
        again = f", attempt {step_run.attempts}" if step_run.attempts > 1 else ""
        _say(f"  {step_run.name}: started{again}")

    @drystone.hookimpl
    def drystone_step_progressed(self, step_run: Any) -> None:
        """Say how far a map is, now and then, and when its first element failed."""
        now, has_failed = time.monotonic(), bool(step_run.counts.get("failed"))
        told_at, told_of_failure = self._told.setdefault(step_run.name, (now, False))
        if now - told_at >= OFTEN or has_failed > told_of_failure:
            self._told[step_run.name] = now, has_failed
            _say(f"  {step_run.name}: {tally(step_run)}")

    @drystone.hookimpl
    def drystone_step_finished(self, step_run: Any) -> None:
        """Say how it ended."""
        _say(f"  {step_run.name}: {outcome(step_run)}")

    @drystone.hookimpl
    def drystone_model_promoted(self, stage_move: Any) -> None:
        """Say who holds a stage now."""
        _say(f"  {moved(stage_move)}")

    @drystone.hookimpl
    def drystone_run_finished(self, run: Any) -> None:
        """Say how it ended."""
        _say(f"{run.name} {summary(run)}")


def moved(move: Any) -> str:
    """What became of a stage: `flight_delays@4 is production now, instead of 3`."""
    holder = "nobody" if move.number is None else f"{move.model}@{move.number}"
    before = "" if move.previous is None else f", instead of {move.previous}"
    return f"{holder} is {move.stage} now{before}"


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
