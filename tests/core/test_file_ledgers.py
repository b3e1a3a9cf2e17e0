"""A ledger in an artifact store asks little of it, and believes nothing that it cannot check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone import FilesystemLedger, FsspecArtifactStore
from drystone.errors import (
    FormatError,
    LedgerConflict,
    LedgerDamagedError,
    StoreAccessError,
    StoreUnreachableError,
    WorkspaceAccessError,
    WorkspaceError,
    WorkspaceUnreachableError,
)
from drystone.ledgers import Commit, next_commit
from drystone.testing import MemoryArtifactStore

asked: list[tuple[str, str]] = []


@attrs.frozen(kw_only=True)
class Counting(MemoryArtifactStore):
    """Notes what is asked of it."""

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        asked.append(("read", key))
        return super().read_range(key, start, length)

    def create(self, key: str, data: bytes) -> None:
        asked.append(("create", key))
        super().create(key, data)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        asked.append(("list", prefix))
        return super().list(prefix)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Counting]:
    made = Counting(shelf=request.node.name)
    asked.clear()
    yield made
    made.clear()


def added(ledger: FilesystemLedger, count: int) -> list[Commit]:
    head, commits = ledger.head(), []
    for number in range(count):
        commit = next_commit(head, [{"type": "test", "v": 1, "number": number}])
        ledger.append(commit)
        commits.append(commit)
        head = commit.head
    return commits


def ids(commits: Any) -> list[str]:
    return [each.id for each in commits]


def test_a_fresh_machine_reads_segments_and_never_lists(store: Counting) -> None:
    commits = added(FilesystemLedger(store), 1000)
    asked.clear()
    assert ids(FilesystemLedger(store).read()) == ids(commits)
    assert "list" not in {what for what, _ in asked}
    assert len(asked) < 140


def test_catching_up_reads_only_what_is_new(store: Counting) -> None:
    ledger, other = FilesystemLedger(store), FilesystemLedger(store)
    added(ledger, 300)
    assert other.head().seq == 300
    asked.clear()
    assert other.head().seq == 300
    assert sorted(asked) == [
        ("read", "commits/" + f"{301:020}"),
        ("read", "commits/" + f"{302:020}"),
        ("read", "format"),
    ]
    new = added(ledger, 1)
    asked.clear()
    assert ids(other.read(300)) == ids(new)
    assert len(asked) <= 12


def test_a_commit_is_one_request_where_the_last_one_is_known(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    added(ledger, 2)
    head = ledger.head()
    asked.clear()
    ledger.append(next_commit(head, [{"type": "test"}]))
    assert asked == [("create", "commits/" + f"{3:020}")]


def test_commits_that_are_in_a_segment_are_read_from_there(store: Counting) -> None:
    commits = added(FilesystemLedger(store), 130)
    for seq in range(3, 129):
        store.delete(f"commits/{seq:020}")
    assert ids(FilesystemLedger(store).read()) == ids(commits)
    assert ids(FilesystemLedger(store).read(64)) == ids(commits[64:])


def test_one_commit_that_is_only_in_a_segment_stops_nobody(store: Counting) -> None:
    ledger, other = FilesystemLedger(store), FilesystemLedger(store)
    commits = added(ledger, 99)
    assert other.head().seq == 99
    commits += added(ledger, 31)
    store.delete("commits/" + f"{100:020}")
    assert ids(other.read(99)) == ids(commits[99:])


@pytest.mark.parametrize("data", [b"", b"no segment", b"\x1f\x8b\x08"])
def test_a_damaged_segment_is_not_believed(store: Counting, data: bytes) -> None:
    commits = added(FilesystemLedger(store), 130)
    store.write("segments/" + f"{64:020}", data)
    store.delete("segments/" + f"{128:020}")
    assert ids(FilesystemLedger(store).read()) == ids(commits)


def test_a_segment_of_another_ledger_is_noticed(store: Counting) -> None:
    other = Counting(shelf="another")
    added(FilesystemLedger(store), 130)
    added(FilesystemLedger(other), 130)
    store.write("segments/" + f"{64:020}", other.read_range("segments/" + f"{64:020}", 0, None))
    other.clear()
    with pytest.raises(LedgerDamagedError):
        list(FilesystemLedger(store).read())


def test_a_segment_that_its_maker_did_not_live_to_make_is_made_by_the_next(store: Counting) -> None:
    added(FilesystemLedger(store), 100)
    segment = "segments/" + f"{64:020}"
    made = store.read_range(segment, 0, None)
    store.delete(segment)
    added(FilesystemLedger(store), 1)
    assert store.read_range(segment, 0, None) == made, "whoever makes a segment, it is the same"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=12), st.sets(st.integers(0, 8)))
def test_whoever_adds_and_whichever_segments_are_lost_all_read_the_same(
    turns: list[tuple[int, int]], lost: set[int]
) -> None:
    store = MemoryArtifactStore(shelf="turns")
    store.clear()
    handles, commits = [FilesystemLedger(store) for _ in range(3)], []
    for who, count in turns:
        commits += added(handles[who], count)
    for block in lost:
        store.delete(f"segments/{block * 64:020}")
    for after in {0, len(commits) // 2, len(commits)}:
        for handle in (*handles, FilesystemLedger(store)):
            assert ids(handle.read(after)) == ids(commits[after:])


def test_a_gap_is_named(store: Counting) -> None:
    added(FilesystemLedger(store), 7)
    store.delete("commits/" + f"{5:020}")
    with pytest.raises(LedgerDamagedError, match=r"Commit 5 .* is missing"):
        list(FilesystemLedger(store).read())


def test_a_ledger_that_is_gone_is_not_taken_for_one_where_nothing_is_new(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    added(ledger, 2)
    store.clear()
    for call in (ledger.head, lambda: list(ledger.read(2)), lambda: list(FilesystemLedger(store).read(2))):
        with pytest.raises(WorkspaceUnreachableError, match="not there any more"):
            call()


def test_reading_makes_nothing(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    assert (ledger.head().seq, list(ledger.read()), ledger.holder("run"), ledger.checkpoints()) == (0, [], None, [])
    assert list(store.list("")) == []


def test_another_format_is_refused(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    added(ledger, 1)
    store.write("format", b"9")
    for call in (ledger.head, lambda: list(FilesystemLedger(store).read()), FilesystemLedger(store).probe):
        with pytest.raises(FormatError, match="format 9"):
            call()


def test_a_store_that_cannot_tell_writers_apart_is_refused() -> None:
    with pytest.raises(WorkspaceError, match="lacks create"):
        FilesystemLedger(FsspecArtifactStore(url="memory://team"))


@attrs.frozen(kw_only=True)
class Careless(MemoryArtifactStore):
    """Says that it makes keys for one alone, as some S3-compatible servers do, and does not."""

    def create(self, key: str, data: bytes) -> None:
        self.write(key, data)


def test_a_store_that_does_not_do_what_it_says_is_refused() -> None:
    store = Careless(shelf="careless")
    with pytest.raises(WorkspaceError, match="both succeed"):
        FilesystemLedger(store).probe()
    assert [key for key, _ in store.list("")] == ["format"]


def test_a_probe_leaves_nothing(store: Counting) -> None:
    FilesystemLedger(store).probe()
    assert [key for key, _ in store.list("")] == ["format"]


def test_only_the_very_commit_is_granted(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    commit, other = (next_commit(ledger.head(), [{"type": "test"}]) for _ in range(2))
    ledger.grant(commit)
    ledger.grant(commit)
    assert (ledger.is_granted(commit), ledger.is_granted(other)) == (True, False)


@attrs.frozen(kw_only=True)
class Failing(MemoryArtifactStore):
    """Raises the same for all."""

    error: type[Exception] = StoreAccessError

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        raise self.error("no")


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (StoreAccessError, WorkspaceAccessError),
        (StoreUnreachableError, WorkspaceUnreachableError),
        (OSError, WorkspaceError),
    ],
)
def test_what_the_store_raises_is_told_of_the_workspace(raised: type[Exception], told: type[Exception]) -> None:
    with pytest.raises(told, match="cannot be read"):
        FilesystemLedger(Failing(shelf="failing", error=raised)).head()


def test_what_is_odd_is_named(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    added(ledger, 130)
    ledger.grant(next(ledger.read()))
    assert ledger.lease("run", "a", 600)
    assert list(ledger.oddities()) == []
    store.delete("commits/" + f"{70:020}")
    store.write("segments/" + f"{64:020}", b"x")
    store.write("commits/" + f"{900:020}", b"x")
    store.write("holiday.jpg", b"x")
    told = "\n".join(each.message for each in ledger.oddities())
    for odd in (
        "Commit 70 of the ledger is missing",
        "segments/" + f"{64:020} is not",
        "Commits 131 to 899 of the ledger are missing, and commit 900 is there",
        "holiday",
    ):
        assert odd in told


def test_one_of_two_that_take_a_lease_gets_it(store: Counting) -> None:
    ledger, other = FilesystemLedger(store), FilesystemLedger(store)
    assert ledger.lease("run", "a", 600)
    for _ in range(5):
        assert ledger.lease("run", "a", 600)
    assert not other.lease("run", "b", 600)
    assert len(list(store.list("leases/"))) == 1


@attrs.frozen(kw_only=True)
class Blinking(Counting):
    """Sees nothing when it first looks into a directory, as where files come and go while it is read."""

    looks: list[str] = attrs.field(factory=list, eq=False)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        self.looks.append(prefix)
        return iter(()) if self.looks == [prefix] else super().list(prefix)


def test_a_lease_is_not_given_twice_because_a_list_lacked_it(store: Counting) -> None:
    ledger = FilesystemLedger(store)
    assert ledger.lease("run", "a", 0)
    assert ledger.lease("run", "b", 600)
    assert not FilesystemLedger(Blinking(shelf=store.shelf)).lease("run", "c", 600)
    assert ledger.holder("run") == "b"


def test_a_commit_of_a_number_that_is_taken_is_a_conflict(store: Counting) -> None:
    ledger, other = FilesystemLedger(store), FilesystemLedger(store)
    added(ledger, 1)
    late = next_commit(other.head(), [{"type": "test"}])
    added(ledger, 1)
    with pytest.raises(LedgerConflict):
        other.append(late)
