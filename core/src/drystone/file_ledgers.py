"""A ledger that machines share: commits as objects in an artifact store, each whole and made once, or not there."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from drystone.artifact_stores import ArtifactStore
from drystone.drives import Drive
from drystone.errors import DrystoneError, LedgerConflict, LedgerDamagedError, WorkspaceAccessError, WorkspaceError
from drystone.inspections import inspected
from drystone.leases import Leases
from drystone.ledgers import CURE, Commit, Finding, Head, check_follows
from drystone.segments import SEGMENT, commit_name, opened, opened_segment, packed, packed_segment, segment_name

AHEAD = 64
"""So many segments are asked for at once, at most."""

FARTHEST = 16
"""As many doublings of the distance at which somebody who thinks to be at the end looks whether it goes on there."""

LARGEST_CHECKPOINT = 1 << 30
"""Bytes of a checkpoint at most: more than that is not loaded, and commits are read instead."""


class FilesystemLedger:
    """A ledger in an artifact store that makes a key for one of several writers, and says when it did.

    `format` holds the number of the format, `commits/` an object for each commit, named by its number in 20 digits,
    `segments/` one for each 64 of them, named by the last, `grants/` one for each commit that moves a stage, named by
    its digest, `leases/` what was said last of each lease, and `checkpoints/` copies of what is made of it all.

    Nothing is asked of the store before the ledger is used.

    Args:
        store: Where it is; nothing else may be there.

    Raises:
        WorkspaceError: The store lacks a capability.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._drive = Drive(store)
        self._leases = Leases(self._drive)
        self._last = Head()
        self._recent: deque[Commit] = deque(maxlen=2 * SEGMENT)
        self._unsegmented: set[int] = set()
        self._has_looked = False

    def __repr__(self) -> str:
        return f"FilesystemLedger({self._drive.name!r})"

    def head(self) -> Head:
        """Where it ends now."""
        head = self._last
        for commit in self._from(head):
            head = commit.head
        return head

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Commits after a number, in order, each checked against the one before.

        Raises:
            LedgerDamagedError: One is altered, missing or foreign.
        """
        last = self._last
        yield from self._from(last if after == last.seq else self._head_at(after))

    def append(self, commit: Commit) -> None:
        """Add a commit, which is safe when this returns.

        Raises:
            LedgerConflict: Its number is taken, or it does not follow the last commit.
        """
        last = self._last
        if (last.seq, last.digest) != (commit.seq - 1, commit.prev) and not self._is_followed_by(commit):
            raise LedgerConflict(f"Commit {commit.seq} does not follow the ledger's last; somebody else was faster.")
        try:
            self._drive.create(commit_name(commit.seq), packed(commit))
        except FileExistsError as exc:
            stored = self._stored(commit.seq)  # a client may have tried again what had succeeded
            if stored is None or stored.id != commit.id:
                raise LedgerConflict(f"Commit {commit.seq} exists already; somebody else was faster.") from exc
        self._enter(commit)
        self._make_segments()

    def _is_followed_by(self, commit: Commit) -> bool:
        self._drive.make()
        before = self._stored(commit.seq - 1) if commit.seq > 1 else None
        return (before.digest if before is not None else "") == commit.prev

    # Reading

    def _from(self, head: Head) -> Iterator[Commit]:
        """Commits after a head, without a listing: growing numbers of them are asked for, and two at least.

        The first that is not there is the end, unless the one after it is there, or others far behind.
        """
        singles, segments = 2, int(head.seq != self._last.seq or head.seq == 0)
        while True:
            start, block = head.seq, head.seq // SEGMENT
            names = [commit_name(start + number) for number in range(1, singles + 1)]
            names += [segment_name(block + number) for number in range(segments)]
            names += [commit_name((block + segments) * SEGMENT)] if segments else []
            found = self._drive.read(names, was_there=start > 0)
            commits = [*_in_order(found, head)]
            if commits and commits[-1].seq % SEGMENT == 0:
                self._confirm(commits[-1], found)
            for commit in commits:
                check_follows(commit, head)
                head = commit.head
                self._enter(commit)
                if commit.seq % SEGMENT == 0 and found.get(segment_name(commit.seq // SEGMENT - 1)) is None:
                    self._unsegmented.add(commit.seq)
                yield commit
            if head.seq + 2 <= start + singles:
                if found[commit_name(head.seq + 2)] is None and not self._goes_on(head.seq):
                    return
                self._head_at(head.seq + 1)  # somebody has just added both, or a segment has it; else it is gone
                singles, segments = 2, 1
                continue
            singles, segments = _more(head.seq - start, singles, segments)

    def _confirm(self, commit: Commit, found: dict[str, bytes | None]) -> None:
        """Check that what may come from a segment alone is there on its own as well, or is followed by others.

        Raises:
            LedgerDamagedError: It is not: somebody may have made the segment before there were such commits.
        """
        seq, following = commit.seq, segment_name(commit.seq // SEGMENT)
        data = found.get(commit_name(seq)) or self._drive.object(commit_name(seq))
        if data is None:
            found = self._drive.read([commit_name(seq + 1), following])
            is_there = any(each.prev == commit.digest for each in itertools.islice(_in_order(found, commit.head), 1))
        if not (is_there if data is None else opened(seq, data).digest == commit.digest):
            raise LedgerDamagedError(
                f"The segment {segment_name(seq // SEGMENT - 1)} of the ledger {self._drive.name} ends with a commit "
                f"that is not commit {seq} of the ledger, and is believed by nobody.{CURE}"
            )

    def _goes_on(self, seq: int) -> bool:
        """Whether commits are there behind a gap, which is the end for whoever sees no farther. Looked at once.

        A gap is seen if at least as many commits follow it as are missing; `oddities` sees each.
        """
        has_looked, self._has_looked = self._has_looked, True
        if has_looked:
            return False
        far = [commit_name(seq + distance) for distance in (3, *(1 << doublings for doublings in range(2, FARTHEST)))]
        return any(data is not None for data in self._drive.read(far, was_there=False).values())

    def _head_at(self, seq: int) -> Head:
        if seq == 0:
            return Head()
        block = (seq - 1) // SEGMENT
        commit = self._stored(seq)
        if commit is None:
            segment = opened_segment(block, self._drive.object(segment_name(block)))
            commit = segment[seq - 1 - block * SEGMENT] if segment else None
        if commit is None:
            raise LedgerDamagedError(f"Commit {seq} of the ledger {self._drive.name} is missing.{CURE}")
        return commit.head

    def _stored(self, seq: int) -> Commit | None:
        data = self._drive.object(commit_name(seq))
        return None if data is None else opened(seq, data)

    def _enter(self, commit: Commit) -> None:
        """Remember what was seen, so that it need not be asked for again."""
        self._recent.append(commit)
        if commit.seq > self._last.seq:
            self._last = commit.head

    def _make_segments(self) -> None:
        """Put blocks together that are complete. It only makes reading faster, so nothing fails for it."""
        if self._last.seq % SEGMENT == 0:
            self._unsegmented.add(self._last.seq)
        for last in sorted(self._unsegmented):
            self._unsegmented.discard(last)
            with suppress(DrystoneError, OSError):
                commits = {each.seq: each for each in [*self._recent]}
                block = range(last - SEGMENT + 1, last + 1)
                missing = {commit_name(seq): seq for seq in block if seq not in commits}
                for name, data in self._drive.read(missing).items() if missing else ():
                    commits[missing[name]] = opened(missing[name], data or b"")
                segment = packed_segment([commits[seq] for seq in block])
                self._drive.create(segment_name(last // SEGMENT - 1), segment)

    # Leases

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease for so many seconds from now; False if somebody else holds it."""
        return self._leases.take(name, holder, seconds)

    def release(self, name: str, holder: str) -> None:
        """Give up a lease; nothing happens if somebody else holds it."""
        self._leases.release(name, holder)

    def holder(self, name: str) -> str | None:
        """Who holds a lease that has not expired, by the clock of the store."""
        return self._leases.holder(name)

    def forget(self, name: str) -> None:
        """Remove what is kept of a lease whose name nobody takes again."""
        self._leases.forget(name)

    def now(self) -> float:
        """The time by the clock of the store."""
        return self._drive.now()

    # Grants, and whether the store does what it says

    def grant(self, commit: Commit) -> None:
        """Vouch for a commit that moves a stage, before it is appended.

        Raises:
            WorkspaceAccessError: Whoever this is may not.
        """
        try:
            self._drive.create(grant_name(commit), commit.author.encode())
        except FileExistsError:
            pass
        except WorkspaceAccessError as exc:
            raise WorkspaceAccessError(
                f"You may not promote in {self._drive.name}: a stage moves only with a grant, an object below grants/, "
                f"and you may not make one. Ask somebody who may. ({exc})"
            ) from exc

    def is_granted(self, commit: Commit) -> bool:
        """Whether somebody who may do that has vouched for exactly this commit."""
        return self._drive.object(grant_name(commit)) is not None

    def probe(self) -> None:
        """Try out whether of two that make one key the second is refused.

        Raises:
            WorkspaceError: It is not, so commits would be lost here.
        """
        name = f"probes/{os.urandom(8).hex()}"
        try:
            self._drive.create(name, b"first")
            with suppress(FileExistsError):
                self._drive.create(name, b"second")
                raise WorkspaceError(
                    f"{self._drive.name} cannot hold a workspace: of two that create one object both succeed, so "
                    "commits would be lost. Some S3-compatible servers ignore If-None-Match: use a newer version of "
                    "this one, or another."
                )
            if self._drive.object(name) != b"first":
                raise WorkspaceError(f"{self._drive.name} cannot hold a workspace: it does not give back what it has.")
        finally:
            self._drive.delete(name)

    def oddities(self) -> Iterator[Finding]:
        """What is foreign, missing or altered; looks at every object."""
        return inspected(self._drive)

    # Checkpoints

    def checkpoints(self) -> list[str]:
        """The names of the checkpoints that are there, in order."""
        return [name.partition("/")[2] for name in self._drive.names("checkpoints/")]

    def checkpoint(self, name: str) -> bytes | None:
        """What is stored as a checkpoint, if it is there, and no larger than one can be."""
        data = self._drive.object(f"checkpoints/{name}", most=LARGEST_CHECKPOINT)
        return data if data is not None and len(data) <= LARGEST_CHECKPOINT else None

    def keep_checkpoint(self, name: str, data: bytes) -> None:
        """Store a checkpoint; nothing happens if there is one of that name."""
        with suppress(FileExistsError):
            self._drive.create(f"checkpoints/{name}", data)


def _more(came: int, singles: int, segments: int) -> tuple[int, int]:
    """How many commits and segments to ask for next, after so many commits came of what was asked for."""
    if came > singles:
        return 2, min(AHEAD, 2 * segments)
    return (min(32, 4 * singles), 4) if came == singles else (2, 0)


def grant_name(commit: Commit) -> str:
    """The object that vouches for a commit."""
    return f"grants/{commit.digest}"


def _in_order(found: dict[str, bytes | None], head: Head) -> Iterator[Commit]:
    """What was found and goes on from a head; from segments where they are whole and go on from it, too."""
    opened_block, segment = -1, tuple[Commit, ...]()
    while True:
        block, seq = head.seq // SEGMENT, head.seq
        if block != opened_block:
            opened_block, segment = block, opened_segment(block, found.get(segment_name(block)))
        rest, data = segment[seq - block * SEGMENT :], found.get(commit_name(seq + 1))
        if rest and rest[0].prev == head.digest:
            yield from rest
            head = rest[-1].head
        elif data is not None:
            yield (commit := opened(seq + 1, data))
            head = commit.head
        else:
            return
