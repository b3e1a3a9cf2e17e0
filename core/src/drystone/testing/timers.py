"""A scheduler in memory."""

from __future__ import annotations

import datetime
import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import attrs

from drystone.timers import Ring, Scheduler, Timer

Now = Callable[[], datetime.datetime]


def utc_now() -> datetime.datetime:
    """The time by the clock of this machine."""
    return datetime.datetime.now(datetime.UTC)


@attrs.frozen(kw_only=True)
class MemoryScheduler(Scheduler):
    """Waits in a thread of its own.

    Attributes:
        now: The clock.
        look: Seconds after which it looks at the clock again, which may have been set meanwhile.
        threads: How many keys can ring at once.
    """

    now: Now = attrs.field(default=utc_now, eq=False, repr=False)
    look: float = 1.0
    threads: int = 32

    def timer(self, ring: Ring) -> Timer:
        """A timer in memory."""
        return MemoryTimer(self, ring)


class MemoryTimer(Timer):
    """A heap of times, one thread that waits for the first of them, and some in which keys ring."""

    def __init__(self, scheduler: MemoryScheduler, ring: Ring) -> None:
        self._scheduler = scheduler
        self._ring = ring
        self._changed = threading.Condition()
        self._heap: list[tuple[datetime.datetime, int, str]] = []
        self._set: dict[str, int] = {}
        self._numbers = itertools.count()
        self._is_closed = False
        self._ringing: set[int] = set()
        self._pool = ThreadPoolExecutor(scheduler.threads, "drystone-ring")
        self._thread = threading.Thread(target=self._wait, name="drystone-timer", daemon=True)
        self._thread.start()

    def set(self, key: str, at: datetime.datetime) -> None:
        """Let a key ring at a time."""
        if at.tzinfo is None:
            raise ValueError(f"The time {at} of {key!r} has no time zone. Pass an aware datetime.")
        with self._changed:
            if self._is_closed:
                raise RuntimeError(f"The timer is closed, so {key!r} cannot be set.")
            number = self._set[key] = next(self._numbers)
            if len(self._heap) > 2 * len(self._set) + 64:  # most of it was set anew or unset
                self._heap = [entry for entry in self._heap if self._is_set(*entry)]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, (at, number, key))
            if self._heap[0][1] == number:
                self._changed.notify_all()

    def unset(self, key: str) -> None:
        """Let a key ring no more."""
        with self._changed:
            self._set.pop(key, None)

    def close(self) -> None:
        """Let nothing ring any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            if threading.get_ident() not in self._ringing:
                self._changed.wait_for(lambda: not self._ringing)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wait(self) -> None:
        with self._changed:
            while not self._is_closed:
                for at, number, key in self._due():
                    self._pool.submit(self._rung, key, number, at)
                self._changed.wait(min(self._seconds_left(), self._scheduler.look))

    def _seconds_left(self) -> float:
        if not self._heap:
            return self._scheduler.look
        return max((self._heap[0][0] - self._scheduler.now()).total_seconds(), 0.0)

    def _due(self) -> Iterator[tuple[datetime.datetime, int, str]]:
        """What rings now; what was set anew or unset is left out."""
        now = self._scheduler.now()
        while self._heap and (self._heap[0][0] <= now or not self._is_set(*self._heap[0])):
            entry = heapq.heappop(self._heap)
            if self._is_set(*entry):
                yield entry

    def _is_set(self, at: datetime.datetime, number: int, key: str) -> bool:
        return self._set.get(key) == number

    def _rung(self, key: str, number: int, at: datetime.datetime) -> None:
        with self._changed:
            if self._is_closed or self._set.get(key) != number:
                return
            del self._set[key]
            self._ringing.add(threading.get_ident())
        try:
            self._ring(key, at)
        except Exception:
            logging.getLogger(__name__).exception("%r was due, and what was to be done then raised", key)
        finally:
            with self._changed:
                self._ringing.discard(threading.get_ident())
                self._changed.notify_all()
