"""`drystone logs`: what the steps of a run printed, or print."""

from __future__ import annotations

import codecs
import contextlib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import click

from drystone_cli import completion, records, tables

POLL = 0.1
"""Seconds between two looks at a run."""

COLOURS = ("cyan", "magenta", "yellow", "green", "blue")
RUNNING, SUCCEEDED = "running", "succeeded"
BEGUN = (RUNNING, SUCCEEDED, "failed", "crashed", "cancelled")
"""Statuses of a step that may have printed something."""


@click.command()
@click.argument("name", metavar="RUN", shell_complete=completion.run_names)
@click.argument("step", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends; exit code 1 unless it succeeded.")
@tables.json_option
@click.pass_context
def logs(ctx: click.Context, name: str, step: str | None, follow: bool, as_json: bool) -> None:
    """Print what the steps of a RUN printed, or only one STEP, with the attempts that failed."""
    workspace = records.workspace()
    run = workspace.run(name)
    _check(run, step)
    sink = Collected(name) if as_json else Whole() if step else Prefixed()
    with contextlib.closing(Reading(workspace, step, sink)) as reading:
        run = reading.followed(run) if follow else reading.advanced(run)
    sink.finish()
    if not follow:
        _explain(workspace, run, step, sink)
    elif run.status != SUCCEEDED:
        print(f"{run.name} {run.status}{f': {run.error}' if run.error else ''}", file=sys.stderr)
        ctx.exit(1)


def _check(run: Any, step: str | None) -> None:
    """Refuse a step that the run has not; the elements of a fan-out are known only when they have begun."""
    if step is None or step in run.steps or step.partition("[")[0] in run.steps:
        return
    from drystone.errors import NotFoundError, suggestion

    raise NotFoundError(f"Run {run.name} has no step {step!r}.{suggestion(step, run.steps, 'Its steps')}")


def _explain(workspace: Any, run: Any, step: str | None, sink: Sink) -> None:
    """Say why there is nothing to see."""
    if sink.is_used or isinstance(sink, Collected):
        return
    source = workspace.step(run.name, step).cached_from if step else None
    if source:
        print(f"{step} was not run: its result is from {source}, which has its log.", file=sys.stderr)
    else:
        print(f"{step or run.name} printed nothing{' so far' if run.status == RUNNING else ''}.", file=sys.stderr)


def _steps(run: Any, wanted: str | None) -> Iterator[Any]:
    """The steps of a run, those of a fan-out with their elements, or those with the wanted name."""
    for step in run.steps.values():
        for each in (step, *getattr(step, "elements", ())):
            if wanted in (None, step.name, each.name):
                yield each


class Reading:
    """What was read of the logs of a run."""

    def __init__(self, workspace: Any, step: str | None, sink: Sink) -> None:
        self._workspace, self._step, self._sink = workspace, step, sink
        self._attempts: dict[Any, Attempt] = {}
        self._seen: Any = None

    def followed(self, run: Any) -> Any:
        """Show what is there, and what comes, until the run has ended; returns its record."""
        while True:
            self.advanced(run)
            if run.status != RUNNING:
                return run
            began = time.monotonic()
            run = self._current(run)
            time.sleep(max(POLL, time.monotonic() - began))  # a run of many steps takes time to be read

    def _current(self, run: Any) -> Any:
        """The record of the run, read anew if anything has happened."""
        self._workspace.mark_crashed()
        with self._workspace.reading() as found:
            position = found.index.position()
        if position == self._seen:
            return run
        self._seen = position
        return self._workspace.run(run.name)

    def advanced(self, run: Any) -> Any:
        """Show what is there and was not shown before."""
        for step in _steps(run, self._step):
            if step.status in BEGUN:
                for number in range(1, step.attempts + 1):
                    self._advance(step, number)
        self._sink.flush()
        return run

    def _advance(self, step: Any, number: int) -> None:
        key = (step.name, number, step.started_at)  # a step of a resumed run begins once more with attempt 1
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = Attempt(self._workspace, step, number, self._sink)
        if not attempt.is_over:
            attempt.advance(step)

    def close(self) -> None:
        """Let go of the logs of steps that still run."""
        for attempt in self._attempts.values():
            attempt.reader.close()


class Attempt:
    """What was shown of one attempt at a step.

    While that runs its log is a file; one that was opened can be read to its end, also when it is gone. Whoever comes
    too late for that finds the log with the step's record.
    """

    def __init__(self, workspace: Any, step: Any, number: int, sink: Sink) -> None:
        self.reader = workspace.live_log(step.run, step.name, number)
        self.is_over = False
        self._number, self._sink = number, sink
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def advance(self, step: Any) -> None:
        """Show what is new."""
        ended = step.status != RUNNING or self._number < step.attempts  # known before the file is read to its end
        while piece := self.reader.read():
            self._show(step, self._decoder.decode(piece))
        if ended:
            self._finish(step)

    def _finish(self, step: Any) -> None:
        self._show(step, self._decoder.decode(b"", final=True) if self.reader.was_found else self._kept(step))
        self._sink.end(step, self._number)
        self.reader.close()
        self.is_over = True

    def _kept(self, step: Any) -> str:
        return str(step.logs(self._number))

    def _show(self, step: Any, text: str) -> None:
        if text:
            self._sink.write(step, self._number, text)


class Sink(ABC):
    """Takes what steps print.

    Attributes:
        is_used: Whether there was anything.
    """

    is_used = False

    @abstractmethod
    def write(self, step: Any, attempt: int, text: str) -> None:
        """Take the next piece of an attempt's log."""

    def end(self, step: Any, attempt: int) -> None:  # noqa: B027 - most have nothing to do
        """Note that there is no more of an attempt's log."""

    def flush(self) -> None:
        """Let it be seen."""
        sys.stdout.flush()

    def finish(self) -> None:  # noqa: B027
        """Show what has to be shown at the end."""


class Whole(Sink):
    """Prints the log of a step as it is, with a line on stderr before each further attempt."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def write(self, step: Any, attempt: int, text: str) -> None:
        """Print it."""
        if self._last != (step.name, attempt) and (self._last or attempt > 1):
            sys.stdout.flush()
            print(f"--- {_label(step, attempt)} ---", file=sys.stderr)
        self._last, self.is_used = (step.name, attempt), True
        sys.stdout.write(text)


class Prefixed(Sink):
    """Prints whole lines, each behind the name of its step; of a line that was overwritten, what is seen in the end."""

    def __init__(self) -> None:
        self._unended: dict[str, str] = {}
        self._colours: dict[str, str] = {}

    def write(self, step: Any, attempt: int, text: str) -> None:
        """Print the lines that have ended."""
        label, self.is_used = _label(step, attempt), True
        *lines, self._unended[label] = (self._unended.get(label, "") + text).split("\n")
        prefix = self._prefix(label, step.name)
        sys.stdout.write("".join(f"{prefix}{line.rstrip(chr(13)).rpartition(chr(13))[2]}\n" for line in lines))

    def end(self, step: Any, attempt: int) -> None:
        """Print a last line that has not ended."""
        if self._unended.get(_label(step, attempt)):
            self.write(step, attempt, "\n")

    def finish(self) -> None:
        """Print the unended lines of steps that still run."""
        for label, text in self._unended.items():
            if text:
                print(f"{label} | {text}")

    def _prefix(self, label: str, step: str) -> str:
        colour = self._colours.setdefault(step, COLOURS[len(self._colours) % len(COLOURS)])
        return click.style(f"{label} | ", fg=colour) if tables.on_terminal() else f"{label} | "


class Collected(Sink):
    """Collects the logs, and prints them as records at the end."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._records: dict[tuple[str, int], dict[str, Any]] = {}

    def write(self, step: Any, attempt: int, text: str) -> None:
        """Keep it."""
        new = {"run": self._run, "step": step.name, "attempt": attempt, "ended": False, "log": ""}
        self._records.setdefault((step.name, attempt), new)["log"] += text

    def end(self, step: Any, attempt: int) -> None:
        """Note that an attempt is over."""
        self.write(step, attempt, "")
        self._records[step.name, attempt]["ended"] = True

    def finish(self) -> None:
        """Print the records."""
        tables.print_json(self._records.values())


def _label(step: Any, attempt: int) -> str:
    return step.name if attempt == 1 else f"{step.name} (attempt {attempt})"
