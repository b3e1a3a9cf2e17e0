"""What is seen of a run while it runs: a live list of its steps on a terminal, a line per step elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import drystone
from drystone_cli import tables

MARKS = {
    "succeeded": ("✓", "green"),
    "cached": ("✓", "cyan"),
    "failed": ("✗", "red"),
    "skipped": ("-", "dim"),
    "cancelled": ("-", "yellow"),
}
SHOWN = 12
"""How many steps a live display lists; of more, those that run and those that ended last."""


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Show the runs of this process on stderr as they go."""
    shown = _terminal() if sys.stderr.isatty() else contextlib.nullcontext(Lines())
    with shown as display, drystone.load_plugins().observed(display, "drystone-cli-progress"):
        yield


class Lines:
    """Prints a line when a run starts and one for each step that ends."""

    @drystone.hookimpl
    def drystone_run_started(self, run: Any) -> None:
        """Name the run."""
        print(f"{run.name} on stack {run.stack}", file=sys.stderr)

    @drystone.hookimpl
    def drystone_step_finished(self, step_run: Any) -> None:
        """Say how it ended."""
        print(f"  {step_run.name}: {outcome(step_run)}", file=sys.stderr)


def outcome(step_run: Any) -> str:
    """How a step ended: `succeeded in 1.2 s`, `cached from training-1`."""
    if step_run.cached_from:
        return f"cached from {step_run.cached_from}"
    if step_run.status == "skipped":
        return f"skipped: {step_run.error}"
    took = tables.duration(step_run)
    return f"{step_run.status} in {took}" if took else str(step_run.status)


class Live:
    """A list of steps that is redrawn in place."""

    def __init__(self) -> None:
        self._title = ""
        self._steps: dict[str, Any] = {}
        self._since: dict[str, float] = {}
        self._spinners: dict[str, Any] = {}
        self._lock = threading.Lock()

    @drystone.hookimpl
    def drystone_run_started(self, run: Any) -> None:
        """List its steps."""
        with self._lock:
            self._title = f"{run.name} on stack {run.stack}"
            self._steps, self._since = dict(run.steps), {}

    @drystone.hookimpl
    def drystone_step_started(self, step_run: Any) -> None:
        """Let its clock run."""
        with self._lock:
            self._since[step_run.name] = time.monotonic()
            self._steps[step_run.name] = step_run

    @drystone.hookimpl
    def drystone_step_finished(self, step_run: Any) -> None:
        """Move it to the others that are done."""
        with self._lock:
            self._since.pop(step_run.name, None)
            self._steps.pop(step_run.name, None)
            self._steps[step_run.name] = step_run

    def __rich__(self) -> Any:
        from rich.console import Group

        with self._lock:
            if not self._title:
                return Group()
            ended = [step for step in self._steps.values() if step.status in MARKS]
            lines = [*self._ended(ended), *(self._running(self._steps[name]) for name in self._since)]
            title = f"{self._title}: {len(ended)} of {len(self._steps)} steps"
        return Group(tables.styled(title, "bold"), *lines)

    def _ended(self, ended: list[Any]) -> list[Any]:
        hidden = max(0, len(ended) - SHOWN)
        lines = [tables.styled(f"  … {hidden} before", "dim")] if hidden else []
        for step in ended[hidden:]:
            mark, style = MARKS[step.status]
            line = tables.styled(f"{mark} ", style).append(f"{step.name}  ", "not dim")
            lines.append(line.append(outcome(step), "dim"))
        return lines

    def _running(self, step: Any) -> Any:
        from rich.spinner import Spinner

        took = tables.seconds(time.monotonic() - self._since[step.name])
        attempt = f", attempt {step.attempts}" if step.attempts > 1 else ""
        spinner = self._spinners.setdefault(step.name, Spinner("dots", style="blue"))
        spinner.update(text=tables.styled(f"{step.name}  ", "").append(f"{took}{attempt}", "dim"))
        return spinner


@contextlib.contextmanager
def _terminal() -> Iterator[Live]:
    """A live display on a terminal; what steps print appears above it."""
    from rich.console import Console
    from rich.live import Live as Region

    display = Live()
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as own:  # steps have descriptor 2 redirected into their logs
        console = Console(file=own, force_terminal=True, highlight=False)
        region = Region(display, console=console, refresh_per_second=10, redirect_stdout=False, redirect_stderr=False)
        with region, _relayed(console) if sys.stdout.isatty() else contextlib.nullcontext():
            yield display


@contextlib.contextmanager
def _relayed(console: Any) -> Iterator[None]:
    """Let descriptor 1 lead through a terminal of our own, so that lines land above the display, not in it."""
    import termios

    leader, follower = os.openpty()
    attributes = termios.tcgetattr(follower)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(follower, termios.TCSANOW, attributes)
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(follower, 1)
    os.close(follower)
    reader = threading.Thread(target=_relay, args=(leader, console), name="drystone-terminal", daemon=True)
    reader.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)  # the last way in is closed: the reader sees the end
        os.close(saved)
        reader.join(timeout=2)
        os.close(leader)


def _relay(leader: int, console: Any) -> None:
    from rich.text import Text

    rest = b""
    while True:
        try:
            data = os.read(leader, 1 << 16)
        except OSError:  # how Linux says that the other side is closed
            data = b""
        lines = (rest + data).split(b"\n")
        rest = lines.pop() if data else b""
        for line in lines if data else [each for each in lines if each]:
            console.print(Text.from_ansi(line.decode("utf-8", "replace").rstrip("\r")), soft_wrap=True)
        if not data:
            return
