"""Artifact stores that are broken on purpose; `caught_by` is the test of the contract that has to fail."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import fsspec
import pytest

from drystone import FsspecArtifactStore
from drystone.errors import ArtifactStoreError
from drystone.testing import ArtifactStoreContract, MemoryArtifactStore
from drystone.testing.memory import _shelves


class OnDisk(ArtifactStoreContract):
    """The contract for a mutant that keeps files."""

    mutant: type[FsspecArtifactStore]

    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> FsspecArtifactStore:
        return self.mutant(url=f"file://{tmp_path}/store")


class InMemory(ArtifactStoreContract):
    """The contract for a mutant that keeps bytes in memory."""

    mutant: type[MemoryArtifactStore]
    crosses_processes = False

    @pytest.fixture
    def artifact_store(self) -> Iterator[MemoryArtifactStore]:
        store = self.mutant(shelf="mutant")
        store.clear()
        yield store
        store.clear()


def path_of(store: FsspecArtifactStore, key: str) -> Path:
    """The file of a key, with its folder."""
    path = Path(store.filesystem[1], key)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@attrs.frozen(kw_only=True)
class ModeCreate(FsspecArtifactStore):
    def create(self, key: str, data: bytes) -> None:
        fsspec.filesystem("file", auto_mkdir=True).pipe_file(str(path_of(self, key)), data, mode="create")


class TestCreateByTheLocalModeOfFsspec(OnDisk):
    mutant = ModeCreate
    caught_by = "test_of_24_threads_one_creates_a_key"


@attrs.frozen(kw_only=True)
class LooksThenWrites(MemoryArtifactStore):
    def create(self, key: str, data: bytes) -> None:
        if self.exists(key):
            raise FileExistsError(errno.EEXIST, "taken", key)
        time.sleep(0.0001)  # where any other thread may come in between
        self.write(key, data)


class TestCreateThatLooksThenWrites(InMemory):
    mutant = LooksThenWrites
    caught_by = "test_of_24_threads_one_creates_a_key"


@attrs.frozen(kw_only=True)
class Overwrites(MemoryArtifactStore):
    def create(self, key: str, data: bytes) -> None:
        self.write(key, data)


class TestCreateThatOverwrites(InMemory):
    mutant = Overwrites
    caught_by = "test_a_taken_key_is_not_created"


@attrs.frozen(kw_only=True)
class WrongError(MemoryArtifactStore):
    def create(self, key: str, data: bytes) -> None:
        try:
            super().create(key, data)
        except FileExistsError as exc:
            raise OSError(errno.EINVAL, "At least one of the pre-conditions you specified did not hold") from exc


class TestTakenKeyWithTheErrorOfTheLibrary(InMemory):
    mutant = WrongError
    caught_by = "test_a_taken_key_is_not_created"


@attrs.frozen(kw_only=True)
class Undeclared(MemoryArtifactStore):
    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset()


class TestCreateThatIsNotDeclared(InMemory):
    mutant = Undeclared
    caught_by = "test_a_store_that_cannot_create_says_so"


@attrs.frozen(kw_only=True)
class Declares(MemoryArtifactStore):
    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"create", "mapping"})


class TestMappingThatIsOnlyDeclared(InMemory):
    mutant = Declares
    caught_by = "test_what_can_be_mapped_is_the_very_file"


@attrs.frozen(kw_only=True)
class Truncates(MemoryArtifactStore):
    def write(self, key: str, data: bytes) -> None:
        super().write(key, data[: len(data) & ~0xFFFF] if len(data) > 0xFFFF else data)


class TestLastChunkLost(InMemory):
    mutant = Truncates
    caught_by = "test_what_is_written_is_read"


@attrs.frozen(kw_only=True)
class KeepsTheFirst(MemoryArtifactStore):
    def upload(self, local_path: Path, key: str) -> None:
        if not self.exists(key):
            super().upload(local_path, key)


class TestUpdateLost(InMemory):
    mutant = KeepsTheFirst
    caught_by = "test_the_newest_upload_is_what_is_stored"


@attrs.frozen(kw_only=True)
class WritesOver(FsspecArtifactStore):
    def write(self, key: str, data: bytes) -> None:
        path = path_of(self, key)
        path.touch()
        with path.open("r+b") as file:  # what was longer keeps its end
            file.write(data)


class TestEndOfTheOldValueStays(OnDisk):
    mutant = WritesOver
    caught_by = "test_the_newest_upload_is_what_is_stored"


@attrs.frozen(kw_only=True)
class CopiesInPlace(FsspecArtifactStore):
    def upload(self, local_path: Path, key: str) -> None:
        with local_path.open("rb") as source, path_of(self, key).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 16)


class TestUploadThatGrowsInPlace(OnDisk):
    mutant = CopiesInPlace
    caught_by = "test_a_reader_never_sees_a_part"


@attrs.frozen(kw_only=True)
class DiesHalfway(FsspecArtifactStore):
    def upload(self, local_path: Path, key: str) -> None:
        data, path = local_path.read_bytes(), path_of(self, key)
        path.write_bytes(data[: len(data) // 2])
        if sys.argv[0] == "-c":  # in the child that the contract starts to be killed
            os.kill(os.getpid(), signal.SIGKILL)
        path.write_bytes(data)


class TestHalfOfAKilledUploadStays(OnDisk):
    mutant = DiesHalfway
    caught_by = "test_a_process_killed_while_it_uploads_leaves_nothing_half"


@attrs.frozen(kw_only=True)
class SwallowsFullDisk(FsspecArtifactStore):
    def write(self, key: str, data: bytes) -> None:
        with suppress(OSError):
            super().write(key, data)

    def upload(self, local_path: Path, key: str) -> None:
        with suppress(OSError):
            super().upload(local_path, key)


class TestFullDiskSwallowed(OnDisk):
    mutant = SwallowsFullDisk
    caught_by = "test_a_full_disk_is_told_and_loses_nothing"


_listings: dict[str, list[tuple[str, int]]] = {}


@attrs.frozen(kw_only=True)
class CachesListings(MemoryArtifactStore):
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return iter(_listings.setdefault(prefix, [*super().list(prefix)]))


class TestStaleListing(InMemory):
    mutant = CachesListings
    caught_by = "test_a_listing_is_complete_and_never_stale"


@attrs.frozen(kw_only=True)
class OnePage(MemoryArtifactStore):
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return iter(sorted(super().list(prefix))[:1000])


class TestListingOfOnePage(InMemory):
    mutant = OnePage
    caught_by = "test_a_listing_is_complete_and_never_stale"


@attrs.frozen(kw_only=True)
class PrefixIsFolder(MemoryArtifactStore):
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return super().list(f"{prefix.rstrip('/')}/" if prefix else "")


class TestPrefixTakenForAFolder(InMemory):
    mutant = PrefixIsFolder
    caught_by = "test_a_listing_holds_what_begins_with_the_prefix"


@attrs.frozen(kw_only=True)
class LeaksSpool(FsspecArtifactStore):
    def upload(self, local_path: Path, key: str) -> None:
        shutil.copyfile(local_path, path_of(self, f"staged/{os.urandom(4).hex()}"))
        super().upload(local_path, key)


class TestListingWithWhatIsOnItsWay(OnDisk):
    mutant = LeaksSpool
    caught_by = "test_of_several_writers_one_wins_whole"


@attrs.frozen(kw_only=True)
class DeletesPrefix(MemoryArtifactStore):
    def delete(self, key: str) -> None:
        for each, _ in [*self.list(key)]:
            _shelves[self.shelf].pop(each)


class TestDeleteOfEverythingThatBeginsSo(InMemory):
    mutant = DeletesPrefix
    caught_by = "test_what_is_deleted_is_gone"


@attrs.frozen(kw_only=True)
class DeletesWhatIsThere(MemoryArtifactStore):
    def delete(self, key: str) -> None:
        del _shelves[self.shelf][key]


class TestDeleteThatMindsAbsence(InMemory):
    mutant = DeletesWhatIsThere
    caught_by = "test_what_is_deleted_is_gone"


@attrs.frozen(kw_only=True)
class InclusiveEnd(MemoryArtifactStore):
    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        return super().read_range(key, start, None if length is None else length + 1)


class TestRangeWithItsEnd(InMemory):
    mutant = InclusiveEnd
    caught_by = "test_a_range_is_read"


@attrs.frozen(kw_only=True)
class EmptyForAbsent(MemoryArtifactStore):
    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        return super().read_range(key, start, length) if self.exists(key) else b""


class TestAbsentKeyReadsAsNothing(InMemory):
    mutant = EmptyForAbsent
    caught_by = "test_an_absent_key_is_file_not_found"


@attrs.frozen(kw_only=True)
class OwnErrorForAbsent(MemoryArtifactStore):
    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        try:
            return super().read_range(key, start, length)
        except FileNotFoundError as exc:
            raise ArtifactStoreError(f"NoSuchKey: {key}") from exc


class TestAbsentKeyWithTheErrorOfTheLibrary(InMemory):
    mutant = OwnErrorForAbsent
    caught_by = "test_an_absent_key_is_file_not_found"


@attrs.frozen(kw_only=True)
class Escapes(FsspecArtifactStore):
    def write(self, key: str, data: bytes) -> None:
        path_of(self, key).write_bytes(data)


class TestKeyThatLeavesTheStore(OnDisk):
    mutant = Escapes
    caught_by = "test_a_key_that_could_leave_the_store_is_refused"


@attrs.frozen(kw_only=True)
class TakesAbsoluteKeys(FsspecArtifactStore):
    def delete(self, key: str) -> None:
        if key.startswith("/"):
            Path(key).unlink(missing_ok=True)
        else:
            super().delete(key)


class TestAbsoluteKeyThatLeavesTheStore(OnDisk):
    mutant = TakesAbsoluteKeys
    caught_by = "test_an_absolute_key_is_refused"


@attrs.frozen(kw_only=True)
class TakesEveryFile(FsspecArtifactStore):
    def upload(self, local_path: Path, key: str) -> None:
        shutil.move(local_path, path_of(self, key))


class TestUploadThatTakesTheFileAway(OnDisk):
    mutant = TakesEveryFile
    caught_by = "test_upload_copies_a_file_and_takes_one_of_the_spool"


@attrs.frozen(kw_only=True)
class NewIdentity(MemoryArtifactStore):
    @property
    def identity(self) -> str:
        return os.urandom(8).hex()


class TestIdentityThatChanges(InMemory):
    mutant = NewIdentity
    caught_by = "test_two_instances_see_each_other_at_once"


@attrs.frozen(kw_only=True)
class Buffered(MemoryArtifactStore):
    """Each instance keeps what it wrote, and tells nobody."""

    _own: dict[str, bytes] = attrs.field(factory=dict, init=False, eq=False)

    @property
    def _kept(self) -> dict[str, bytes]:
        return self._own


class TestInstanceThatKeepsThingsToItself(InMemory):
    mutant = Buffered
    caught_by = "test_two_instances_see_each_other_at_once"


@attrs.frozen(kw_only=True)
class PlainKey(MemoryArtifactStore):
    password: str = ""


class TestSecretInTheRepr(InMemory):
    mutant = PlainKey
    caught_by = "test_a_secret_is_not_shown"

    @pytest.fixture
    def secret_store(self) -> tuple[PlainKey, str]:
        return PlainKey(password="hidden-text"), "hidden-text"


_tails: dict[str, bytes] = {}
_mixing = threading.Lock()


@attrs.frozen(kw_only=True)
class Mixes(FsspecArtifactStore):
    """Leaves the head of whoever wrote last, and the tail of whoever wrote first."""

    def write(self, key: str, data: bytes) -> None:
        with _mixing:
            super().write(key, data[:1000] + _tails.setdefault(key, data[1000:]))


class TestMixtureOfTwoWriters(OnDisk):
    mutant = Mixes
    caught_by = "test_of_several_writers_one_wins_whole"


@attrs.frozen(kw_only=True)
class OwnClock(FsspecArtifactStore):
    """Says of keys what the disk says, and of now what another clock does."""

    def now(self) -> float:
        return time.time() + 120


class TestTwoClocks(OnDisk):
    mutant = OwnClock
    caught_by = "test_it_says_when_something_was_stored"


@attrs.frozen(kw_only=True)
class LeavesTheClock(FsspecArtifactStore):
    def now(self) -> float:
        self.write("clock/now", b"")
        return self.modified("clock/now")


class TestClockThatLeavesSomething(OnDisk):
    mutant = LeavesTheClock
    caught_by = "test_it_says_when_something_was_stored"


@attrs.frozen(kw_only=True)
class WhenAsked(FsspecArtifactStore):
    def modified(self, key: str) -> float:
        super().modified(key)
        return 0.0


class TestTimeOfNothing(OnDisk):
    mutant = WhenAsked
    caught_by = "test_it_says_when_something_was_stored"


@attrs.frozen(kw_only=True)
class AlwaysTheSame(FsspecArtifactStore):
    @property
    def identity(self) -> str:
        return "file"


class TestStoresThatCannotBeToldApart(OnDisk):
    mutant = AlwaysTheSame
    caught_by = "test_another_store_is_told_apart"

    @pytest.fixture
    def another_store(self, tmp_path: Path) -> AlwaysTheSame:
        return AlwaysTheSame(url=f"file://{tmp_path}/another")
