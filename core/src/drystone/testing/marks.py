"""Marks: what steps note while they run, in a file that the test reads and other steps wait for."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK = 0.005
"""Seconds between two looks for a mark."""


def mark(folder: str, text: str) -> None:
    """Note something, after everything that was noted before, from any process; nowhere if there is no folder."""
    if folder:
        with Path(folder, "marks").open("ab", buffering=0) as file:
            file.write(f"{text}\n".encode())


def marks(folder: str) -> list[str]:
    """What was noted, in order."""
    file = Path(folder, "marks")
    return file.read_text().splitlines() if folder and file.exists() else []


@contextmanager
def marked(folder: str, name: str) -> Iterator[None]:
    """Note the beginning and the end of a step, however it ends."""
    mark(folder, f"begin {name}")
    try:
        yield
    finally:
        mark(folder, f"end {name}")


def awaited(folder: str, text: str, patience: float) -> bool:
    """Whether something has been noted within so many seconds."""
    deadline = time.monotonic() + patience
    while text not in marks(folder):
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(LOOK)
    return True


def ended_before(noted: list[str], first: str, last: str) -> bool:
    """Whether all that is called so, with any number behind, had ended when something else began, if it did."""
    begun = [place for place, each in enumerate(noted) if each.startswith(f"begin {last}")]
    ended = [place for place, each in enumerate(noted) if each.startswith(f"end {first}")]
    return not begun or (bool(ended) and max(ended) < min(begun))


def whereabouts() -> str:
    """The machine and the process that this is."""
    return f"{platform.node()}:{os.getpid()}"
