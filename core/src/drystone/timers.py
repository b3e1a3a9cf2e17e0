"""Schedulers, which wait for points in time, and the timers that they make."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import attrs

from drystone.components import StackComponent

Ring = Callable[[str, datetime.datetime], None]
"""What a timer calls when a key is due, with the key and the time it was set to."""


class Timer(ABC):
    """Alarms by key, made by `Scheduler.timer`. All methods may be called from any thread, also while it rings.

    A key that was set rings once, at its time or as soon as possible after it, never before, and however late that is:
    a time in the past rings at once. Rings come in threads of the timer, so a slow one holds up no other, and one that
    raises is logged and harms no other. When the clock is set, times that are not due any more wait; nothing rings
    twice.
    """

    @abstractmethod
    def set(self, key: str, at: datetime.datetime) -> None:
        """Let a key ring at a time; one that is set already and has not rung rings then instead.

        Raises:
            ValueError: The time has no time zone.
            RuntimeError: The timer is closed.
        """

    @abstractmethod
    def unset(self, key: str) -> None:
        """Let a key ring no more; nothing happens if it is not set, or rings already."""

    @abstractmethod
    def close(self) -> None:
        """Let nothing ring any more, and wait for rings that have begun, unless this is called by one of them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@attrs.frozen(kw_only=True)
class Scheduler(StackComponent, ABC):
    """Waits for points in time, and nothing else.

    What is scheduled, which ticks there are and what became of them stands in the ledger, and is the same with every
    scheduler. A scheduler keeps nothing that outlives its process: whoever uses it sets every key anew after a start::

        with scheduler.timer(ring) as timer:
            timer.set("weekly", next_monday)    # calls ring("weekly", next_monday) then, in another thread
            timer.set("weekly", next_tuesday)   # moves it
            timer.unset("weekly")
    """

    kind: ClassVar[str] = "scheduler"

    @abstractmethod
    def timer(self, ring: Ring) -> Timer:
        """A timer that calls `ring(key, at)`; it works until it is closed."""
