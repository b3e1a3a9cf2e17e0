"""Freshness: how old the copy of a shared ledger is, and whether that answers now."""

from __future__ import annotations

import datetime
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from drystone.errors import StaleWarning, WorkspaceUnreachableError

RETRY = 5.0
"""Seconds after which a ledger that did not answer is asked again."""

SHARE = 10
"""Of the time in which a driver is patient, fetching takes about one part of so many at most."""


class Freshness:
    """What is known of how old a copy is.

    Attributes:
        fetched: When what is here was the newest, by the clock that `time.monotonic` reads.
        trip: Seconds that it took to ask for news the last time.
        is_away: Whether the ledger did not answer when it was last asked.
    """

    def __init__(self, directory: Path) -> None:
        self._mark = directory / "fetched"
        self._patience: list[float] = []
        self.fetched = float("-inf")
        self.trip = 0.0
        self.is_away = False
        self._asked = float("-inf")

    @property
    def fetched_at(self) -> datetime.datetime | None:
        """When anybody on this machine last brought the copy up to date; None if nobody ever has."""
        try:
            return datetime.datetime.fromtimestamp(self._mark.stat().st_mtime, datetime.UTC)
        except FileNotFoundError:
            return None

    @property
    def is_enough(self) -> bool:
        """Whether a question can be answered without asking for news."""
        now = time.monotonic()
        if self.is_away:
            return now - self._asked < RETRY
        allowed = max(*self._patience, SHARE * self.trip) if self._patience else 0.0
        return now - self.fetched < allowed

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Let answers be so many seconds old meanwhile, or older where asking for news takes long itself."""
        self._patience.append(seconds)
        try:
            yield
        finally:
            self._patience.remove(seconds)

    def current(self, since: float) -> None:
        """Everything is here that was there at a moment."""
        self.fetched, self.is_away = since, False
        with suppress(OSError):  # it cannot be written to
            self._mark.touch()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """Put up with a ledger that does not answer, if the copy was up to date once; whoever asks is told, once.

        Raises:
            WorkspaceUnreachableError: There is nothing here to answer from.
        """
        try:
            yield
        except WorkspaceUnreachableError as exc:
            if self.fetched_at is None:
                raise
            was_away, self.is_away, self._asked = self.is_away, True, time.monotonic()
            if not was_away:
                warnings.warn(self._warning(exc), StaleWarning, stacklevel=2)

    def _warning(self, exc: WorkspaceUnreachableError) -> str:
        assert self.fetched_at is not None
        when = f"{self.fetched_at.astimezone():%Y-%m-%d %H:%M:%S}"
        return f"What follows is as old as {when}, {ago(self.fetched_at)}: {exc}"


def ago(moment: datetime.datetime) -> str:
    """How long ago a moment was, for people."""
    seconds = max(0, round((datetime.datetime.now(datetime.UTC) - moment).total_seconds()))
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} seconds ago"
