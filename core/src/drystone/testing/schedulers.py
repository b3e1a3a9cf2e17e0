"""What every scheduler does."""

from __future__ import annotations

import datetime
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from drystone.components import StackComponent
from drystone.testing.timers import Now, utc_now
from drystone.timers import Scheduler, Timer

SOON = datetime.timedelta(seconds=0.05)
LATER = datetime.timedelta(seconds=0.15)
FAR = datetime.timedelta(days=365)

PATIENCE = 10.0
"""Seconds after which what was expected counts as missing."""


class Rings:
    """What rang, in order: key, the time it was set to, and the time it rang."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.seen: list[tuple[str, datetime.datetime, datetime.datetime]] = []
        self.then: Callable[[str], object] = lambda key: None

    def __call__(self, key: str, at: datetime.datetime) -> None:
        """Note a ring."""
        with self._changed:
            self.seen.append((key, at, utc_now()))
            self._changed.notify_all()
        self.then(key)

    @property
    def keys(self) -> list[str]:
        """The keys that rang, in order."""
        with self._changed:
            return [key for key, _, _ in self.seen]

    def wait_for(self, *keys: str) -> None:
        """Wait until these have rung."""
        with self._changed:
            came = self._changed.wait_for(lambda: {*keys} <= {key for key, _, _ in self.seen}, PATIENCE)
        missing = sorted({*keys} - {*self.keys})
        assert came, f"{len(missing)} keys did not ring within {PATIENCE:g} s of their time: {missing[:5]}"


class SchedulerContract(ABC):
    """What every scheduler does.

    Subclass it with one fixture::

        class TestOurScheduler(SchedulerContract):
            @pytest.fixture
            def scheduler(self):
                return OurScheduler()

            def with_clock(self, now):  # if it can be given another clock
                return OurScheduler(now=now)
    """

    @pytest.fixture
    @abstractmethod
    def scheduler(self) -> Scheduler:
        """The scheduler under test."""

    def with_clock(self, now: Now) -> Scheduler | None:
        """The scheduler with another clock, at which it looks at least ten times a second; None if it has no such."""
        return None

    @pytest.fixture
    def rings(self) -> Rings:
        """What rang."""
        return Rings()

    @pytest.fixture
    def timer(self, scheduler: Scheduler, rings: Rings) -> Iterator[Timer]:
        """A timer that is closed afterwards."""
        with scheduler.timer(rings) as timer:
            yield timer

    def test_it_rings_at_its_time_and_never_before(self, timer: Timer, rings: Rings) -> None:
        """Each of some keys, with the time it was set to, within a second."""
        now = utc_now()
        times = {f"key {number}": now + number * SOON for number in range(1, 5)}
        for key, at in times.items():
            timer.set(key, at)
        rings.wait_for(*times)
        for key, at, rang in rings.seen:
            assert at == times[key], f"{key} rang with the time {at}, but was set to {times[key]}"
            assert rang >= at, f"{key} rang {at - rang} too early"
            assert rang - at < datetime.timedelta(seconds=1), f"{key} rang {rang - at} too late"

    @pytest.mark.parametrize("ago", [0.0, 2.0, 3600.0, 1e8], ids=lambda ago: f"{ago:g}s")
    def test_a_time_in_the_past_rings_at_once(self, timer: Timer, rings: Rings, ago: float) -> None:
        """However long ago it was: no misfire is skipped, and no grace time counts."""
        timer.set("late", utc_now() - datetime.timedelta(seconds=ago))
        rings.wait_for("late")

    def test_it_rings_once_per_set(self, timer: Timer, rings: Rings) -> None:
        """Neither twice, nor again at a later ring of another key; set again it rings again."""
        timer.set("one", utc_now())
        rings.wait_for("one")
        timer.set("mark", utc_now() + SOON)
        rings.wait_for("mark")
        assert rings.keys == ["one", "mark"]
        timer.set("one", utc_now())
        timer.set("end", utc_now() + SOON)
        rings.wait_for("end")
        assert sorted(rings.keys) == ["end", "mark", "one", "one"]

    def test_set_again_it_rings_at_the_new_time(self, timer: Timer, rings: Rings) -> None:
        """Once, be that earlier or later than before."""
        soon = utc_now() + SOON
        timer.set("earlier", utc_now() + FAR)
        timer.set("earlier", soon)
        timer.set("later", soon)
        timer.set("later", utc_now() + FAR)
        timer.set("mark", utc_now() + LATER)
        rings.wait_for("earlier", "mark")
        assert sorted(rings.keys) == ["earlier", "mark"], "a key rang at a time that it was no longer set to"
        assert next(at for key, at, _ in rings.seen if key == "earlier") == soon

    def test_an_unset_key_does_not_ring(self, timer: Timer, rings: Rings) -> None:
        """And to unset what is not set is no mistake."""
        timer.set("gone", utc_now() + SOON)
        timer.unset("gone")
        timer.unset("never")
        timer.set("mark", utc_now() + LATER)
        rings.wait_for("mark")
        assert rings.keys == ["mark"], "a key rang that had been unset"

    def test_times_are_instants(self, timer: Timer, rings: Rings) -> None:
        """Whichever zone they are told in; without a zone they are refused."""
        for hours in (-12, 14):
            zone = datetime.timezone(datetime.timedelta(hours=hours))
            timer.set(f"past {hours}", (utc_now() - SOON).astimezone(zone))
            timer.set(f"future {hours}", (utc_now() + datetime.timedelta(hours=1)).astimezone(zone))
        rings.wait_for("past -12", "past 14")
        assert sorted(rings.keys) == ["past -12", "past 14"]
        with pytest.raises(ValueError, match="time zone"):
            timer.set("naive", datetime.datetime(2030, 1, 1))

    def test_a_ring_that_raises_harms_no_other(self, timer: Timer, rings: Rings) -> None:
        """Those that are due with it ring, and those that come after."""

        def fail(key: str) -> None:
            raise RuntimeError(f"{key} is broken")

        rings.then = fail
        now = utc_now()
        for number in range(4):
            timer.set(f"now {number}", now)
            timer.set(f"soon {number}", now + SOON)
        rings.wait_for(*(f"{when} {number}" for when in ("now", "soon") for number in range(4)))

    def test_a_slow_ring_delays_no_other(self, timer: Timer, rings: Rings) -> None:
        """Eight that do not return let a ninth ring."""
        go_on = threading.Event()
        rings.then = lambda key: go_on.wait(PATIENCE) if key.startswith("slow") else None
        try:
            for number in range(8):
                timer.set(f"slow {number}", utc_now())
            rings.wait_for(*(f"slow {number}" for number in range(8)))
            timer.set("quick", utc_now())
            rings.wait_for("quick")
            assert not go_on.is_set()
        finally:
            go_on.set()

    def test_a_ring_sets_and_unsets(self, timer: Timer, rings: Rings) -> None:
        """Itself, for the next time, and others."""
        left = iter(range(4))

        def again(key: str) -> None:
            timer.unset("victim")
            if key == "chain":
                timer.set("chain" if next(left, None) is not None else "end", utc_now())

        rings.then = again
        timer.set("victim", utc_now() + FAR)
        timer.set("chain", utc_now())
        rings.wait_for("end")
        assert Counter(rings.keys) == {"chain": 5, "end": 1}

    def test_many_threads_set_at_once(self, timer: Timer, rings: Rings) -> None:
        """Of 24 threads each key rings, once."""
        names = [[f"{thread}/{number}" for number in range(25)] for thread in range(24)]

        def set_all(keys: list[str]) -> None:
            for key in keys:
                timer.set(key, utc_now())

        with ThreadPoolExecutor(24) as pool:
            list(pool.map(set_all, names))
        expected = [key for keys in names for key in keys]
        rings.wait_for(*expected)
        assert sorted(rings.keys) == sorted(expected), "some keys rang twice"

    def test_ten_thousand_keys_wait(self, timer: Timer, rings: Rings) -> None:
        """In a few threads, without delaying one that is due."""
        before, began = threading.active_count(), time.monotonic()
        for number in range(10_000):
            timer.set(f"far {number}", utc_now() + FAR)
        took = time.monotonic() - began
        assert took < PATIENCE, f"setting 10,000 keys took {took:.1f} s"
        assert threading.active_count() < before + 100
        timer.set("due", utc_now())
        rings.wait_for("due")
        _, at, rang = rings.seen[0]
        assert rang - at < datetime.timedelta(seconds=1), f"beside 10,000 others a key rang {rang - at} too late"

    def test_timers_are_apart(self, scheduler: Scheduler, timer: Timer, rings: Rings) -> None:
        """One key in two of them is two."""
        others = Rings()
        with scheduler.timer(others) as other:
            timer.set("one", utc_now())
            other.set("one", utc_now() + SOON)
            timer.unset("one")
            others.wait_for("one")
        timer.set("after", utc_now())
        rings.wait_for("after")
        assert others.keys == ["one"]

    def test_nothing_rings_after_close(self, scheduler: Scheduler, timer: Timer, rings: Rings) -> None:
        """Neither what is set by then nor what is set afterwards, which is refused; closing twice is no mistake."""
        others = Rings()
        closed = scheduler.timer(others)
        closed.set("gone", utc_now() + SOON)
        closed.close()
        closed.close()
        with pytest.raises(RuntimeError, match="closed"):
            closed.set("refused", utc_now())
        closed.unset("gone")
        timer.set("mark", utc_now() + LATER)
        rings.wait_for("mark")
        assert others.keys == [], "a closed timer rang"

    def test_close_waits_for_what_rings(self, scheduler: Scheduler) -> None:
        """When it returns, whatever rang is done."""
        rings, go_on, done = Rings(), threading.Event(), threading.Event()

        def slow(key: str) -> None:
            go_on.wait(PATIENCE)
            done.set()

        rings.then = slow
        timer = scheduler.timer(rings)
        timer.set("slow", utc_now())
        rings.wait_for("slow")
        threading.Timer(0.05, go_on.set).start()
        timer.close()
        assert done.is_set(), "close returned while a key was ringing"

    def test_a_ring_closes(self, scheduler: Scheduler, timer: Timer, rings: Rings) -> None:
        """Its own timer, without waiting for itself."""
        closed = threading.Event()
        others = Rings()
        other = scheduler.timer(others)

        def close(key: str) -> None:
            other.close()
            closed.set()

        others.then = close
        other.set("last", utc_now())
        assert closed.wait(PATIENCE), "close did not return when it was called by a ring"
        timer.set("mark", utc_now() + SOON)
        rings.wait_for("mark")

    def test_no_thread_is_left(self, scheduler: Scheduler) -> None:
        """A closed timer's threads end."""
        before = {*threading.enumerate()}
        for _ in range(3):
            rings = Rings()
            with scheduler.timer(rings) as timer:
                timer.set("one", utc_now())
                timer.set("far", utc_now() + FAR)
                rings.wait_for("one")
        left = {*threading.enumerate()} - before
        for thread in left:
            thread.join(PATIENCE)
        assert not [thread.name for thread in left if thread.is_alive()], "threads are left after close"

    def test_a_clock_that_is_set_back_rings_nothing_twice(self) -> None:
        """What has rung has rung; what is not due any more waits; set forward, it rings at once."""
        clock = [datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)]
        scheduler, rings = self.with_clock(lambda: clock[0]), Rings()
        if scheduler is None:
            pytest.skip("with_clock gives no scheduler with another clock")
        start, hour = clock[0], datetime.timedelta(hours=1)
        with scheduler.timer(rings) as timer:
            timer.set("first", start + hour)
            timer.set("second", start + 3 * hour)
            timer.set("now", start)
            rings.wait_for("now")
            assert rings.keys == ["now"], "a key rang before its time came on the clock"
            clock[0] = start + 2 * hour
            rings.wait_for("first")
            clock[0] = start - 24 * hour
            timer.set("mark", clock[0])
            rings.wait_for("mark")
            clock[0] = start + 4 * hour
            rings.wait_for("second")
            timer.set("end", clock[0])
            rings.wait_for("end")
        assert rings.keys == ["now", "first", "mark", "second", "end"]

    def test_it_is_a_component_of_this_kind(self, scheduler: Any) -> None:
        """A stack takes it as `scheduler`."""
        assert isinstance(scheduler, StackComponent)
        assert scheduler.kind == "scheduler"
