"""What is wrong with a shared ledger is said of the very object, and nobody goes on as if nothing were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone import FilesystemLedger
from drystone.drives import Drive
from drystone.errors import FormatError, LedgerConflict, LedgerDamagedError, WorkspaceError, WorkspaceUnreachableError
from drystone.inspections import inspected
from drystone.ledgers import FORMAT, Commit, Head, next_commit
from drystone.segments import LARGEST, commit_name, packed, packed_segment, segment_name
from drystone.testing import MemoryArtifactStore

Spoil = Callable[[MemoryArtifactStore], None]


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[MemoryArtifactStore]:
    made = MemoryArtifactStore(shelf=request.node.name)
    yield made
    made.clear()


def chain(count: int, head: Head = Head(), **event: Any) -> list[Commit]:  # noqa: B008 - it is frozen
    commits: list[Commit] = []
    for number in range(count):
        commits.append(next_commit(commits[-1].head if commits else head, [{"type": "test", "n": number, **event}]))
    return commits


def added(store: MemoryArtifactStore, count: int) -> list[Commit]:
    ledger, commits = FilesystemLedger(store), chain(count)
    for commit in commits:
        ledger.append(commit)
    return commits


def forged(commit: Commit, **changes: Any) -> bytes:
    """A commit with other fields, whose digest fits its text: anybody can compute that."""
    fields = {name: value for name, value in (json.loads(commit.body) | changes).items() if value != "gone"}
    return packed(attrs.evolve(commit, body=json.dumps(fields)))


def read(store: MemoryArtifactStore) -> list[str]:
    return [each.id for each in FilesystemLedger(store).read()]


def told(store: MemoryArtifactStore) -> list[tuple[str, str]]:
    return [(each.kind, each.subject) for each in inspected(Drive(store))]


def test_what_is_whole_is_whole(store: MemoryArtifactStore) -> None:
    commits = added(store, 200)
    ledger = FilesystemLedger(store)
    ledger.grant(commits[3])
    ledger.probe()
    assert ledger.lease("run-7", "me", 60)
    ledger.keep_checkpoint("v3-1", b"x")
    assert told(store) == []


def test_an_empty_place_is_whole(store: MemoryArtifactStore) -> None:
    assert told(store) == []
    FilesystemLedger(store).probe()
    assert told(store) == []


@pytest.mark.parametrize("gap", [range(5, 6), range(5, 7), range(5, 20), range(1, 3), range(1, 30)])
def test_a_gap_is_seen_by_whoever_opens_the_ledger(store: MemoryArtifactStore, gap: range) -> None:
    """However many are missing, if as many are left after them: otherwise the next one would fork the ledger."""
    added(store, 60)
    for seq in gap:
        store.delete(commit_name(seq))
    for call in (read, lambda _: FilesystemLedger(store).head()):
        with pytest.raises(LedgerDamagedError, match=rf"Commit {gap[0]} .* is missing"):
            call(store)
    assert told(store) == [("commit", commit_name(gap[0]))]


def test_what_was_there_behind_a_gap_is_not_written_over(store: MemoryArtifactStore) -> None:
    added(store, 10)
    for seq in (8, 9):
        store.delete(commit_name(seq))
    with pytest.raises(LedgerDamagedError, match=r"Commit 8 .* is missing"):
        FilesystemLedger(store).head()


def test_an_end_that_is_gone_is_seen_by_who_knew_it(store: MemoryArtifactStore) -> None:
    added(store, 10)
    store.delete(commit_name(10))
    with pytest.raises(LedgerDamagedError, match=r"Commit 10 .* is missing"):
        list(FilesystemLedger(store).read(10))


ALTERED: dict[str, Callable[[Commit, Commit], bytes]] = {
    "empty": lambda commit, _: b"",
    "truncated": lambda commit, _: packed(commit)[:-9],
    "no text": lambda commit, _: b"\xff\xfe\x00",
    "another event": lambda commit, _: packed(commit).replace(b'"n":', b'"m":'),
    "another event, digest and all": lambda commit, _: forged(commit, events=[{"type": "test", "n": 99}]),
    "of another number": lambda _, other: packed(other),
    "no fields": lambda commit, _: forged(commit, author="gone"),
    "numbers for texts": lambda commit, _: forged(commit, author=7),
    "no time": lambda commit, _: forged(commit, at="yesterday"),
    "no list of events": lambda commit, _: forged(commit, events={"type": "test"}),
    "events that are none": lambda commit, _: forged(commit, events=["test", 1]),
    "truth for a number": lambda commit, _: forged(commit, seq=True),
    "too deep": lambda commit, _: b"x\n" + b"[" * 100_000,
}


@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("seq", [5, 30])
def test_an_altered_commit_is_named(store: MemoryArtifactStore, how: str, seq: int) -> None:
    commits = added(store, 30)
    store.write(commit_name(seq), ALTERED[how](commits[seq - 1], commits[10]))
    named = rf"Commit {seq} |Commit {seq + 1} .* does not follow commit {seq}" if seq < 30 else rf"Commit {seq} "
    if (seq, how) == (30, "another event, digest and all"):
        assert told(store) == [], "nothing tells it from one that somebody appended; whoever fetched another knows"
        return
    with pytest.raises(LedgerDamagedError, match=named):
        read(store)
    ((kind, subject),) = told(store)
    assert (kind, subject) in {("commit", commit_name(seq)), ("commit", commit_name(seq + 1))}


def test_a_commit_that_is_larger_than_any_is_not_loaded(
    store: MemoryArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    plain = MemoryArtifactStore.read_range

    def counted(self: MemoryArtifactStore, key: str, start: int, length: int | None) -> bytes:
        asked.append(length)
        return plain(self, key, start, length)

    monkeypatch.setattr(MemoryArtifactStore, "read_range", counted)
    added(store, 3)
    store.write(commit_name(4), bytes(LARGEST + 5))
    with pytest.raises(LedgerDamagedError, match=r"Commit 4 .* larger than any commit"):
        read(store)
    assert {*asked} == {LARGEST + 1}
    assert told(store) == [("commit", commit_name(4))]


def test_a_commit_that_nobody_would_read_is_refused_before_it_is_stored(store: MemoryArtifactStore) -> None:
    added(store, 1)
    ledger = FilesystemLedger(store)
    with pytest.raises(WorkspaceError, match=r"of 64 MiB cannot be recorded .* as artifacts"):
        ledger.append(next_commit(ledger.head(), [{"type": "test", "large": "x" * LARGEST}]))
    assert ledger.head().seq == 1


def test_a_segment_that_unpacks_to_too_much_is_not_unpacked(store: MemoryArtifactStore) -> None:
    import gzip

    commits = added(store, 70)
    store.write(segment_name(0), gzip.compress(bytes(LARGEST * 2), 1))
    assert read(store) == [each.id for each in commits]
    assert told(store) == [("object", segment_name(0))]


def test_a_segment_of_another_ledger_is_believed_by_nobody(store: MemoryArtifactStore) -> None:
    added(store, 130)
    store.write(segment_name(0), packed_segment(chain(64)))
    with pytest.raises(LedgerDamagedError, match=r"segments/0*64 .* believed by nobody|does not follow"):
        read(store)
    assert told(store) == [("object", segment_name(0))]
    store.delete(segment_name(0))
    assert len(read(store)) == 130


def test_a_segment_that_was_there_before_its_commits_is_believed_by_nobody(store: MemoryArtifactStore) -> None:
    """Whoever may make segments, and waits for nobody, cannot say what the commits will be."""
    commits = added(store, 30)
    store.write(segment_name(0), packed_segment([*commits, *chain(34, commits[-1].head)]))
    with pytest.raises(LedgerDamagedError, match=r"segments/0*64 .* believed by nobody"):
        read(store)
    assert told(store) == [("object", segment_name(0))]


def test_a_segment_from_the_middle_on_another_ledgers_is_noticed(store: MemoryArtifactStore) -> None:
    commits = added(store, 130)
    store.write(segment_name(0), packed_segment([*commits[:40], *chain(24, commits[39].head)]))
    with pytest.raises(LedgerDamagedError):
        read(store)
    assert told(store) == [("object", segment_name(0))]


def test_a_commit_object_that_is_lost_or_altered_is_in_its_segment(store: MemoryArtifactStore) -> None:
    commits = added(store, 130)
    store.delete(commit_name(10))
    store.write(commit_name(20), b"x")
    store.write(commit_name(30), packed(chain(30)[-1]))
    assert read(store) == [each.id for each in commits]
    (finding,) = FilesystemLedger(store).oddities()
    assert finding.subject == commit_name(10)
    assert f"So it is with 3 objects up to {commit_name(30)}" in finding.message
    assert "Nothing is lost" in finding.remedy


def test_two_ledgers_in_one_place_are_noticed(store: MemoryArtifactStore) -> None:
    added(store, 5)
    for commit in chain(8)[5:]:
        store.write(commit_name(commit.seq), packed(commit))
    with pytest.raises(LedgerDamagedError, match=r"Commit 6 of the ledger does not follow commit 5: .* foreign"):
        read(store)
    assert told(store) == [("commit", commit_name(6))]


def test_the_format_is_no_number(store: MemoryArtifactStore) -> None:
    added(store, 5)
    for data in (b"", b"one", bytes(1000), b"\xff"):
        store.write("format", data)
        for call in (read, lambda _: FilesystemLedger(store).probe()):
            with pytest.raises(LedgerDamagedError, match=r"The object `format` .* is altered"):
                call(store)
        assert told(store) == [("commit", "format")]
    store.write("format", b"2")
    with pytest.raises(FormatError):
        read(store)
    assert told(store) == [("commit", "format")]


def test_a_format_that_is_gone_is_not_made_again_silently(store: MemoryArtifactStore) -> None:
    commits = added(store, 5)
    store.delete("format")
    ledger = FilesystemLedger(store)
    calls: tuple[Callable[[], object], ...] = (
        lambda: read(store),
        lambda: FilesystemLedger(store).probe(),
        lambda: FilesystemLedger(store).append(next_commit(commits[-1].head, [])),
    )
    for call in calls:
        with pytest.raises(LedgerDamagedError, match=rf"no object `format`.* it holds {FORMAT}"):
            call()
    with pytest.raises(WorkspaceUnreachableError):
        list(ledger.read(5))
    assert not store.exists("format")
    assert told(store) == [("commit", "format")]


def test_what_does_not_belong_to_a_ledger_is_named_by_folder(store: MemoryArtifactStore) -> None:
    added(store, 3)
    for name in ("blobs/aa/1", "blobs/bb/2", "commits/7", "commits/latest", "leases/x", "holiday.jpg", "grants/me"):
        store.write(name, b"x")
    assert told(store) == [
        ("object", "blobs/"),
        ("object", "commits/7"),
        ("object", "commits/latest"),
        ("object", "grants/me"),
        ("object", "holiday.jpg"),
        ("object", "leases/x"),
    ]
    assert len(read(store)) == 3


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]", b"{}", b'{"holder": 1, "seconds": 2}', b'{"holder": "a", "seconds": "b"}', b"[" * 10**5]
)
def test_a_damaged_lease_holds_nothing_and_is_named(store: MemoryArtifactStore, data: bytes) -> None:
    ledger = FilesystemLedger(store)
    assert ledger.lease("run", "a", 600)
    store.write("leases/run." + f"{1:020}", data)
    assert ledger.holder("run") is None
    assert told(store) == [("object", "leases/run." + f"{1:020}")]
    assert ledger.lease("run", "b", 600)
    assert ledger.holder("run") == "b"


def test_foreign_objects_among_the_leases_do_no_harm(store: MemoryArtifactStore) -> None:
    ledger = FilesystemLedger(store)
    for name in ("leases/run.last", "leases/run.", "leases/run.-1", "leases/run.5"):
        store.write(name, b"x")
    assert ledger.holder("run") is None
    assert ledger.lease("run", "a", 600)
    assert ledger.holder("run") == "a"
    assert len(told(store)) == 4
    ledger.forget("run")
    assert told(store) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_done_to_one_object_is_noticed_or_does_no_harm(data: st.DataObject) -> None:
    """A fresh machine reads the very commits that were added, or says what is wrong; `inspected` always does."""
    store = MemoryArtifactStore(shelf="any")
    store.clear()
    commits = added(store, data.draw(st.sampled_from([1, 3, 64, 65, 131])))
    name = data.draw(st.sampled_from(sorted(name for name, _ in store.list(""))))
    change = data.draw(st.sampled_from(["delete", "cut", "flip", "another"]))
    before = store.read_range(name, 0, None)
    if change == "delete":
        store.delete(name)
    elif change == "another":
        others = [other for other, _ in store.list(name.partition("/")[0] + "/") if other != name]
        store.write(name, store.read_range(data.draw(st.sampled_from(others)), 0, None) if others else b"?")
    else:
        at = data.draw(st.integers(0, 10**6)) % len(before)
        store.write(name, before[:at] if change == "cut" else before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    is_end = change == "delete" and name == commit_name(len(commits))
    is_segment = name.startswith("segments/")
    with suppress(WorkspaceError):
        assert read(store) == [each.id for each in (commits[:-1] if is_end else commits)]
    found = told(store)
    assert found or is_end or (change == "delete" and is_segment) or name == "format", name


def test_appending_to_a_forked_ledger_is_a_conflict(store: MemoryArtifactStore) -> None:
    commits = added(store, 5)
    with pytest.raises(LedgerConflict):
        FilesystemLedger(store).append(next_commit(chain(5)[-1].head, []))
    assert read(store) == [each.id for each in commits]
