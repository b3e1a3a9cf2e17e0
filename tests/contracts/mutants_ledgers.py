"""Ledgers that are broken on purpose; `caught_by` is the test of the contract that has to fail."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone import FilesystemLedger, FsspecArtifactStore
from drystone.errors import LedgerConflict
from drystone.ledgers import Commit, Head, next_commit
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


class ForgetsNothing(MemoryLedger):
    def forget(self, name: str) -> None:
        pass


class TestForgetsNothing(InMemory):
    mutant = ForgetsNothing
    caught_by = "test_a_forgotten_lease_leaves_nothing"


class ForgetsAll(MemoryLedger):
    def forget(self, name: str) -> None:
        self._leases.clear()


class TestForgetsAll(InMemory):
    mutant = ForgetsAll
    caught_by = "test_a_forgotten_lease_leaves_nothing"


class KeepsTheLongestLease(MemoryLedger):
    def lease(self, name: str, holder: str, seconds: float) -> bool:
        return (seconds == 0 and self.holder(name) == holder) or super().lease(name, holder, seconds)


class TestKeepsTheLongestLease(InMemory):
    mutant = KeepsTheLongestLease
    caught_by = "test_a_lease_is_shortened_by_its_holder"


class AnyPredecessorWillDo(MemoryLedger):
    def append(self, commit: Commit) -> None:
        with self._lock:
            if commit.seq == self.head().seq + 1:
                self._commits.append((commit.seq, commit.digest.encode(), commit.body.encode()))
            else:
                super().append(commit)


class TestAnyPredecessorWillDo(InMemory):
    mutant = AnyPredecessorWillDo
    caught_by = "test_a_commit_that_does_not_follow_the_last_is_a_conflict"


class CountsFromItsStart(MemoryLedger):
    def now(self) -> float:
        return time.monotonic()


class TestCountsFromItsStart(InMemory):
    mutant = CountsFromItsStart
    caught_by = "test_now_is_the_time_by_the_store"


class GoesBack(MemoryLedger):
    asked = 0

    def now(self) -> float:
        self.asked += 1
        return super().now() - self.asked


class TestGoesBack(InMemory):
    mutant = GoesBack
    caught_by = "test_now_is_the_time_by_the_store"


class ProbesWithCommits(MemoryLedger):
    def probe(self) -> None:
        self.append(next_commit(self.head(), []))


class TestProbesWithCommits(InMemory):
    mutant = ProbesWithCommits
    caught_by = "test_a_probe_changes_nothing"


class BelievesTheStore(Overwrites):
    def probe(self) -> None:
        pass


class TestBelievesTheStore(InMemory):
    mutant = BelievesTheStore
    caught_by = "test_a_store_that_loses_commits_is_refused"

    @pytest.fixture
    def unsafe_ledger(self, open_ledger: Callable[[], Any]) -> Any:
        return open_ledger()


class GrantsEverything(MemoryLedger):
    def is_granted(self, commit: Commit) -> bool:
        return True


class TestGrantsEverything(InMemory):
    mutant = GrantsEverything
    caught_by = "test_a_grant_is_for_one_commit"


class GrantsNumbers(MemoryLedger):
    def grant(self, commit: Commit) -> None:
        self._grants.add(str(commit.seq))

    def is_granted(self, commit: Commit) -> bool:
        return str(commit.seq) in self._grants


class TestGrantsNumbers(InMemory):
    mutant = GrantsNumbers
    caught_by = "test_a_grant_is_for_one_commit"


class ForgetsGrants(MemoryLedger):
    def append(self, commit: Commit) -> None:
        super().append(commit)
        self._grants.clear()


class TestForgetsGrants(InMemory):
    mutant = ForgetsGrants
    caught_by = "test_a_grant_is_for_one_commit"


class OverwritesCheckpoints(MemoryLedger):
    def keep_checkpoint(self, name: str, data: bytes) -> None:
        self._checkpoints[name] = data


class TestOverwritesCheckpoints(InMemory):
    mutant = OverwritesCheckpoints
    caught_by = "test_checkpoints_are_kept_as_they_are"


class Directory(FilesystemLedger):
    """The real one, in a directory whose files mutants can touch."""

    def __init__(self, url: str) -> None:
        super().__init__(FsspecArtifactStore(url=url))
        self._directory = Path(url.removeprefix("file://"))
        (self._directory / "commits").mkdir(parents=True, exist_ok=True)
        self._drive.make()

    def _path(self, seq: int) -> Path:
        return self._directory / "commits" / f"{seq:020}"


class InFiles(LedgerContract):
    """The contract for a mutant that keeps commits in a directory."""

    mutant: type[Directory]

    @pytest.fixture
    def open_ledger(self, tmp_path: Path) -> Callable[[], Any]:
        self.folder = tmp_path / "team"
        return lambda: self.mutant(f"file://{self.folder}")

    @pytest.fixture
    def unreachable_ledger(self, open_ledger: Callable[[], Any]) -> Any:
        ledger = open_ledger()
        self.folder.rename(self.folder.with_name("elsewhere"))
        return ledger

    def damage(self, kind: str, seq: int) -> None:
        file = self.folder / "commits" / f"{seq:020}"
        if kind == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes().replace(b"contract", b"contrast"))


class AcceptsGaps(Directory):
    def append(self, commit: Commit) -> None:
        try:
            super().append(commit)
        except LedgerConflict:
            if self._path(commit.seq).exists():
                raise
            self._path(commit.seq).write_bytes(f"{commit.digest}\n{commit.body}".encode())


class TestAcceptsGaps(InFiles):
    mutant = AcceptsGaps
    caught_by = "test_a_commit_that_does_not_follow_the_last_is_a_conflict"


class ReadsOverGaps(Directory):
    def read(self, after: int = 0) -> Iterator[Commit]:
        for name in sorted(os.listdir(self._directory / "commits")):
            if int(name) > after and (commit := self._stored(int(name))) is not None:
                yield commit


class TestReadsOverGaps(InFiles):
    mutant = ReadsOverGaps
    caught_by = "test_damage_is_named"


class StopsAtGaps(Directory):
    def _from(self, head: Head) -> Iterator[Commit]:
        while (commit := self._stored(head.seq + 1)) is not None:
            head = commit.head
            self._enter(commit)
            yield commit


class TestStopsAtGaps(InFiles):
    mutant = StopsAtGaps
    caught_by = "test_damage_is_named"


class TrustsDigests(Directory):
    def _stored(self, seq: int) -> Commit | None:
        try:
            body = self._path(seq).read_bytes().partition(b"\n")[2]
        except FileNotFoundError:
            return None
        data = json.loads(body)
        return Commit(**{field.name: data[field.name] for field in attrs.fields(Commit) if field.name in data})

    def _from(self, head: Head) -> Iterator[Commit]:
        while any((self._directory / "commits").glob(f"{head.seq + 1:020}")):
            commit = self._stored(head.seq + 1)
            assert commit is not None
            head = commit.head
            yield commit


class TestTrustsDigests(InFiles):
    mutant = TrustsDigests
    caught_by = "test_damage_is_named"


class ShowsHalves(Directory):
    def append(self, commit: Commit) -> None:
        if self.head().seq + 1 != commit.seq:
            raise LedgerConflict("taken")
        data = f"{commit.digest}\n{commit.body}".encode()
        with self._path(commit.seq).open("xb") as file:
            for start in range(0, len(data), 1 << 20):
                file.write(data[start : start + (1 << 20)])
                time.sleep(0.001)


class TestShowsHalves(InFiles):
    mutant = ShowsHalves
    caught_by = "test_a_commit_appears_whole"


class Replaces(Directory):
    def append(self, commit: Commit) -> None:
        if self.head().seq + 1 != commit.seq:
            raise LedgerConflict("taken")
        time.sleep(0.01)
        draft = self._directory / f"draft-{commit.id}"
        draft.write_bytes(f"{commit.digest}\n{commit.body}".encode())
        draft.replace(self._path(commit.seq))


class TestReplaces(InFiles):
    mutant = Replaces
    caught_by = "test_of_24_threads_one_adds_a_number"


class AsksOnce(Directory):
    def head(self) -> Head:
        if not hasattr(self, "_known"):
            self._known = super().head()
        return self._known

    def append(self, commit: Commit) -> None:
        super().append(commit)
        self._known = commit.head


class TestAsksOnce(InFiles):
    mutant = AsksOnce
    caught_by = "test_another_handle_sees_a_commit_at_once"


class DoubtsItself(Directory):
    """Tells a conflict after its own success, as a client does that tried again after a timeout and did not look."""

    def append(self, commit: Commit) -> None:
        super().append(commit)
        if commit.seq % 3 == 0:
            raise LedgerConflict("taken")


class TestDoubtsItself(InFiles):
    mutant = DoubtsItself
    caught_by = "test_every_success_is_there_once_and_readers_see_no_gap"


class CannotSayWhatIsWrong(Directory):
    def head(self) -> Head:
        return super().head() if os.listdir(self._directory / "commits") else Head()


class TestCannotSayWhatIsWrong(InFiles):
    mutant = CannotSayWhatIsWrong
    caught_by = "test_what_goes_wrong_is_a_workspace_error"


class FindsNobodyWhereNothingIs(Directory):
    def holder(self, name: str) -> str | None:
        return super().holder(name) if (self._directory / "leases" / name).exists() else None


class TestFindsNobodyWhereNothingIs(InFiles):
    mutant = FindsNobodyWhereNothingIs
    caught_by = "test_what_goes_wrong_is_a_workspace_error"
