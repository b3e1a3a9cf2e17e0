"""Wordings: times, errors and lists of names as people read them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

FEW = 5
"""How many of several names are told."""


def elapsed(since: datetime.datetime | None, until: datetime.datetime | None) -> float | None:
    """Seconds between two moments, if both are known."""
    return (until - since).total_seconds() if since is not None and until is not None else None


def span(seconds: float) -> str:
    """A time span for people."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def headline(error: str) -> str:
    """The line of an error that says what happened: of a traceback the exception, else the first."""
    grouped = error.startswith("  + Exception Group Traceback")
    said = error.replace("\n  | ", "\n") if grouped else error.rpartition("Traceback (most recent call last):\n")[2]
    return next((line for line in said.splitlines() if line[:1].strip()), "")


def few(names: Sequence[str]) -> str:
    """Some names; of many the first ones."""
    more = f" and {len(names) - FEW} others" if len(names) > FEW else ""
    return f"{', '.join(names[:FEW])}{more}"
