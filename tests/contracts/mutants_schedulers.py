"""Schedulers that are broken on purpose."""

from __future__ import annotations

import datetime
import threading
import time

import attrs
import pytest

from drystone.testing import schedulers
from drystone.testing.schedulers import SchedulerContract
from drystone.testing.timers import MemoryScheduler, MemoryTimer, Now, utc_now
from drystone.timers import Ring, Scheduler, Timer

schedulers.PATIENCE = 2.0  # what a mutant never does is not awaited for long


@attrs.frozen(kw_only=True)
class Broken(MemoryScheduler):
    timers: type[MemoryTimer]

    def timer(self, ring: Ring) -> Timer:
        return self.timers(self, ring)


class Mutant(SchedulerContract):
    timers: type[MemoryTimer]

    @pytest.fixture
    def scheduler(self) -> Scheduler:
        return Broken(timers=self.timers)

    def with_clock(self, now: Now) -> Scheduler:
        return Broken(timers=self.timers, now=now, look=0.01)


class RingsEarly(MemoryTimer):
    def set(self, key: str, at: datetime.datetime) -> None:
        super().set(key, at)
        with self._changed:
            self._heap = [(each - datetime.timedelta(seconds=0.03), *rest) for each, *rest in self._heap]  # type: ignore[misc]


class TestRingsEarly(Mutant):
    caught_by = "test_it_rings_at_its_time_and_never_before"
    timers = RingsEarly


class SkipsMisfires(MemoryTimer):
    """As APScheduler does with its grace time of one second."""

    def _rung(self, key: str, number: int, at: datetime.datetime) -> None:
        if self._scheduler.now() - at < datetime.timedelta(seconds=1):
            super()._rung(key, number, at)


class TestSkipsMisfires(Mutant):
    caught_by = "test_a_time_in_the_past_rings_at_once"
    timers = SkipsMisfires


class RingsTwice(MemoryTimer):
    def _rung(self, key: str, number: int, at: datetime.datetime) -> None:
        super()._rung(key, number, at)
        self._ring(key, at)


class TestRingsTwice(Mutant):
    caught_by = "test_it_rings_once_per_set"
    timers = RingsTwice


class KeepsFormerTimes(MemoryTimer):
    def set(self, key: str, at: datetime.datetime) -> None:
        with self._changed:
            before = self._set.get(key)
        super().set(key, at)
        if before is not None:
            with self._changed:
                self._heap = [(each, self._set[name], name) for each, _, name in self._heap]


class TestKeepsFormerTimes(Mutant):
    caught_by = "test_set_again_it_rings_at_the_new_time"
    timers = KeepsFormerTimes


class CannotUnset(MemoryTimer):
    def unset(self, key: str) -> None:
        return None


class TestCannotUnset(Mutant):
    caught_by = "test_an_unset_key_does_not_ring"
    timers = CannotUnset


class DropsZones(MemoryTimer):
    def set(self, key: str, at: datetime.datetime) -> None:
        super().set(key, at.replace(tzinfo=datetime.UTC))


class TestDropsZones(Mutant):
    caught_by = "test_times_are_instants"
    timers = DropsZones


class DiesOfErrors(MemoryTimer):
    def _rung(self, key: str, number: int, at: datetime.datetime) -> None:
        try:
            self._ring(key, at)
        except Exception:
            self.close()


class TestDiesOfErrors(Mutant):
    caught_by = "test_a_ring_that_raises_harms_no_other"
    timers = DiesOfErrors


class RingsInOneThread(MemoryTimer):
    def __init__(self, scheduler: MemoryScheduler, ring: Ring) -> None:
        super().__init__(attrs.evolve(scheduler, threads=1), ring)


class TestRingsInOneThread(Mutant):
    caught_by = "test_a_slow_ring_delays_no_other"
    timers = RingsInOneThread


class ThreadPerKey(MemoryTimer):
    def set(self, key: str, at: datetime.datetime) -> None:
        super().set(key, at)
        if at > utc_now() + datetime.timedelta(days=1) and threading.active_count() < 300:
            waiting = threading.Timer(20, lambda: None)
            waiting.daemon = True
            waiting.start()


class TestThreadPerKey(Mutant):
    caught_by = "test_ten_thousand_keys_wait"
    timers = ThreadPerKey


class RingsOnWhenClosed(MemoryTimer):
    def close(self) -> None:
        def later() -> None:
            MemoryTimer.close(self)

        threading.Timer(0.1, later).start()


class TestRingsOnWhenClosed(Mutant):
    caught_by = "test_nothing_rings_after_close"
    timers = RingsOnWhenClosed


class DoesNotWait(MemoryTimer):
    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)


class TestDoesNotWait(Mutant):
    caught_by = "test_close_waits_for_what_rings"
    timers = DoesNotWait


class WaitsForItself(MemoryTimer):
    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._ringing, 15)
        self._pool.shutdown(wait=False)


class TestWaitsForItself(Mutant):
    caught_by = "test_a_ring_closes"
    timers = WaitsForItself


class LeavesThreads(MemoryTimer):
    def close(self) -> None:
        with self._changed:
            self._set.clear()
            self._heap = []


class TestLeavesThreads(Mutant):
    caught_by = "test_no_thread_is_left"
    timers = LeavesThreads


class LooksAtTheClockOnce(MemoryTimer):
    """It counts seconds from then on, whatever the clock is set to."""

    def __init__(self, scheduler: MemoryScheduler, ring: Ring) -> None:
        start, began = scheduler.now(), time.monotonic()

        def now() -> datetime.datetime:
            return start + datetime.timedelta(seconds=time.monotonic() - began)

        super().__init__(attrs.evolve(scheduler, now=now), ring)


class TestLooksAtTheClockOnce(Mutant):
    caught_by = "test_a_clock_that_is_set_back_rings_nothing_twice"
    timers = LooksAtTheClockOnce
