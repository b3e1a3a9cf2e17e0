"""Ledgers that are broken on purpose; `caught_by` is the test of the contract that has to fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drystone.ledgers import Commit, Head
from drystone.testing import LedgerContract, MemoryLedger


class InMemory(LedgerContract):
    """The contract for a mutant that keeps commits in memory."""

    mutant: type[MemoryLedger]

    @pytest.fixture
    def open_ledger(self) -> Callable[[], Any]:
        ledger = self.mutant("memory://mutant")
        return lambda: ledger


class Overwrites(MemoryLedger):
    def append(self, commit: Commit) -> None:
        self._commits[commit.seq - 1 :] = [(commit.seq, commit.digest.encode(), commit.body.encode())]


class TestOverwrites(InMemory):
    mutant = Overwrites
    caught_by = "test_a_taken_number_is_a_conflict_and_changes_nothing"


class ChecksThenWrites(MemoryLedger):
    def append(self, commit: Commit) -> None:
        taken = self.head().seq >= commit.seq
        time.sleep(0.01)
        if taken:
            return super().append(commit)
        self._commits[commit.seq - 1 :] = [(commit.seq, commit.digest.encode(), commit.body.encode())]
        return None


class TestChecksThenWrites(InMemory):
    mutant = ChecksThenWrites
    caught_by = "test_of_24_threads_one_adds_a_number"


class Loses(MemoryLedger):
    def append(self, commit: Commit) -> None:
        if commit.seq != 3:
            super().append(commit)


class TestLoses(InMemory):
    mutant = Loses
    caught_by = "test_another_handle_sees_a_commit_at_once"


class SwallowsConflicts(MemoryLedger):
    def append(self, commit: Commit) -> None:
        if commit.seq == self.head().seq + 1:
            super().append(commit)


class TestSwallowsConflicts(InMemory):
    mutant = SwallowsConflicts
    caught_by = "test_a_taken_number_is_a_conflict_and_changes_nothing"


class StaleHead(MemoryLedger):
    asked = 0

    def head(self) -> Head:
        self.asked += 1
        if self.asked == 1:
            self.first = super().head()
        return self.first


class TestStaleHead(InMemory):
    mutant = StaleHead
    caught_by = "test_another_handle_sees_a_commit_at_once"


class Truncates(MemoryLedger):
    def read(self, after: int = 0) -> Iterator[Commit]:
        return iter(list(super().read(after))[:3])


class TestTruncates(InMemory):
    mutant = Truncates
    caught_by = "test_what_is_appended_is_read_from_anywhere"


class ReadsNothingAfterTheEnd(MemoryLedger):
    def read(self, after: int = 0) -> Iterator[Commit]:
        return super().read(after) if after <= self.head().seq else iter(())


class TestReadsNothingAfterTheEnd(InMemory):
    mutant = ReadsNothingAfterTheEnd
    caught_by = "test_reading_after_a_commit_that_is_not_there_is_damage"


class NeverExpires(MemoryLedger):
    def lease(self, name: str, holder: str, seconds: float) -> bool:
        return super().lease(name, holder, 600)


class TestNeverExpires(InMemory):
    mutant = NeverExpires
    caught_by = "test_a_lease_expires"


class GrantsToAll(MemoryLedger):
    def lease(self, name: str, holder: str, seconds: float) -> bool:
        self._leases[name] = (holder, self._clock() + seconds)
        return True


class TestGrantsToAll(InMemory):
    mutant = GrantsToAll
    caught_by = "test_a_lease_has_one_holder"


class LetsOthersRelease(MemoryLedger):
    def release(self, name: str, holder: str) -> None:
        self._leases.pop(name, None)


class TestLetsOthersRelease(InMemory):
    mutant = LetsOthersRelease
    caught_by = "test_a_lease_has_one_holder"
