"""How far something is that takes its time: one line on a terminal that changes, and a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

OFTEN = 10.0
"""Seconds between two lines in a pipe."""

FAST = 0.1
"""Seconds between two changes of the line."""


@contextlib.contextmanager
def counter(verb: str) -> Iterator[Callable[[str, int, int], None]]:
    """Tell on stderr how far something is; what is called is told of what, how much is done, and how much there is."""
    stream = sys.stderr
    is_terminal = stream is not None and stream.isatty()
    told_at = time.monotonic() - (OFTEN if is_terminal else 0)

    def told(what: str, done: int, total: int) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at < (FAST if is_terminal else OFTEN) and not (is_terminal and done == total):
            return
        told_at = now
        with contextlib.suppress(OSError, ValueError):  # whoever has stopped reading does not end it
            line = f"{verb} {what}: {done}/{total}"
            print(f"\r{line}\x1b[K" if is_terminal else line, end="" if is_terminal else "\n", file=stream, flush=True)

    try:
        yield told
    finally:
        if is_terminal:
            with contextlib.suppress(OSError, ValueError):
                print("\r\x1b[K", end="", file=stream, flush=True)
