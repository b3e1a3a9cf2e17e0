"""Ledgers: numbered commits of events, each holding the digest of the one before."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs

from drystone.digests import digest_bytes
from drystone.errors import FormatError, LedgerConflict, LedgerDamagedError
from drystone.serialization import to_text, to_time
from drystone.signatures import author_name, host_name, package_version

FORMAT = 1
"""The number of the format this package writes, and the only one it reads."""

BEGINNING = "1970-01-01T00:00:00.000000+00:00"


@attrs.frozen
class Head:
    """Where a ledger ends: number, digest and time of its last commit."""

    seq: int = 0
    digest: str = ""
    at: str = BEGINNING


@attrs.frozen(kw_only=True)
class Commit:
    """Events that happened together.

    Attributes:
        seq: Its number: 1, 2, 3 …
        prev: Digest of the commit before; empty for the first.
        id: Random; tells one's own commit from another's.
        at: When, as text in UTC; never earlier than the commit before.
        drystone: Version of the package that wrote it.
        events: As `event_to_json` gives them.
        body: The exact text the ledger keeps, which `digest` is taken of.
    """

    seq: int
    prev: str
    id: str
    at: str
    author: str
    host: str
    drystone: str
    events: tuple[Mapping[str, Any], ...] = attrs.field(repr=False)
    body: str = attrs.field(eq=False, repr=False)
    digest: str = attrs.field(init=False, eq=False, repr=False)

    @body.default
    def _body(self) -> str:
        return to_text({name: getattr(self, name) for name in _WRITTEN})

    @digest.default
    def _digest(self) -> str:
        return digest_bytes(self.body.encode())

    @property
    def head(self) -> Head:
        """The ledger's head once this is its last commit."""
        return Head(self.seq, self.digest, self.at)


_WRITTEN = ("seq", "prev", "id", "at", "author", "host", "drystone", "events")


def next_commit(head: Head, events: Sequence[Mapping[str, Any]], author: str | None = None) -> Commit:
    """The commit that would follow a head, if it were made now, here, and by this user or the given author."""
    return Commit(
        seq=head.seq + 1,
        prev=head.digest,
        id=os.urandom(16).hex(),
        at=max(to_time(datetime.datetime.now(datetime.UTC)), head.at),
        author=author or author_name(),
        host=host_name(),
        drystone=package_version(),
        events=tuple(events),
    )


def checked_commit(seq: int, digest: bytes, body: bytes) -> Commit:
    """The commit stored under a number with a digest.

    Raises:
        LedgerDamagedError: Its text is not what was stored, or no commit.
    """
    try:
        text = body.decode()
        data = json.loads(text)
        _check_fields(data)
        commit = Commit(**{**{name: data[name] for name in _WRITTEN}, "events": tuple(data["events"])}, body=text)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        problem = f"the text {body[:80]!r} is no commit ({exc!r:.80})"
    else:
        if commit.digest.encode() == digest and commit.seq == seq:
            return commit
        problem = "its text does not fit its digest"
    raise LedgerDamagedError(f"Commit {seq} of the ledger is altered: {problem}.{CURE}")


def _check_fields(data: Mapping[str, Any]) -> None:
    texts = [data[name] for name in _WRITTEN if name not in ("seq", "events")]
    if type(data["seq"]) is not int or not all(isinstance(text, str) for text in texts):
        raise TypeError("a field is of another type")
    if not isinstance(data["events"], list) or not all(map(_is_event, data["events"])):
        raise TypeError("its events are none")
    datetime.datetime.fromisoformat(data["at"])


def _is_event(data: object) -> bool:
    return isinstance(data, dict) and isinstance(data.get("type"), str)


def check_follows(commit: Commit, head: Head) -> None:
    """Check that a commit is the one after a head.

    Raises:
        LedgerDamagedError: It is not; the message says whether one is missing, altered or foreign.
    """
    if commit.seq != head.seq + 1:
        raise LedgerDamagedError(
            f"Commit {head.seq + 1} of the ledger is missing: {commit.seq} follows {head.seq}.{CURE}"
        )
    if commit.prev != head.digest:
        raise LedgerDamagedError(
            f"Commit {commit.seq} of the ledger does not follow commit {head.seq}: one of them is altered or foreign."
            f"{CURE}"
        )


CURE = " Restore the workspace from a backup; `drystone workspace verify` lists everything that is wrong."


@attrs.frozen
class Finding:
    """Something that is wrong: what kind of thing, which one, how, and what can be done."""

    kind: str
    subject: str
    message: str
    remedy: str


class Ledger(Protocol):
    """Numbered commits that can be read and appended to, and never changed."""

    def head(self) -> Head:
        """Where it ends now."""

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Commits after a number, in order, each checked against the one before.

        Raises:
            LedgerDamagedError: One is altered, missing or foreign; also if there is none of that number.
        """

    def append(self, commit: Commit) -> None:
        """Add a commit; of several with one number exactly one is added.

        Raises:
            LedgerConflict: Its number is taken, or, in one that is shared, it does not follow the last commit.
        """


LEASE = 60.0
"""Seconds after which a driver that has not renewed its lease counts as dead."""


class SharedLedger(Ledger, Protocol):
    """A ledger for several machines, with leases: what shows that a driver elsewhere is alive.

    A lease is advisory. What must never happen twice is decided by a commit, of which one of several wins.
    """

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease, until so many seconds from now by the store's clock; False if another holds it."""

    def release(self, name: str, holder: str) -> None:
        """Give up a lease; nothing happens if somebody else holds it."""

    def holder(self, name: str) -> str | None:
        """Who holds a lease that has not expired by the store's clock, if anybody does."""

    def forget(self, name: str) -> None:
        """Remove what is kept of a lease whose name nobody takes again; nothing happens if there is nothing."""

    def now(self) -> float:
        """The time by the clock of the store, in seconds since 1970."""

    def probe(self) -> None:
        """Try out whether of two that add a commit one is refused; asked once by each machine.

        Raises:
            WorkspaceError: The store does not keep that promise, and would lose commits.
        """

    def grant(self, commit: Commit) -> None:
        """Vouch for a commit that moves a stage, before it is appended; it counts only with its grant.

        Raises:
            WorkspaceAccessError: Whoever this is may not do that.
        """

    def is_granted(self, commit: Commit) -> bool:
        """Whether somebody who may do that has vouched for exactly this commit."""

    def oddities(self) -> Iterator[Finding]:
        """What is foreign, missing or altered among all that is stored; of the kind `commit`, if nobody can read on."""

    def checkpoints(self) -> list[str]:
        """The names of the checkpoints that are there, in order; a ledger may have none ever."""

    def checkpoint(self, name: str) -> bytes | None:
        """What is stored as a checkpoint, if it is there."""

    def keep_checkpoint(self, name: str, data: bytes) -> None:
        """Store a checkpoint; nothing happens if there is one of that name, or the ledger keeps none."""


class SQLiteLedger:
    """A ledger in a SQLite database, which belongs to whoever opened the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._head = Head()

    def create(self) -> None:
        """Make its tables where they are missing.

        Raises:
            FormatError: They were made by a version of Drystone with another format.
        """
        execute = self._connection.execute
        if not execute("SELECT 1 FROM sqlite_master WHERE name = 'format'").fetchone():
            execute("CREATE TABLE format (number INTEGER NOT NULL)")
            execute("INSERT INTO format VALUES (?)", (FORMAT,))
            execute("CREATE TABLE commits (seq INTEGER PRIMARY KEY, digest TEXT NOT NULL, body TEXT NOT NULL)")
        number = execute("SELECT number FROM format").fetchone()[0]
        if number != FORMAT:
            raise FormatError(
                f"This workspace has format {number}; the installed Drystone reads and writes format {FORMAT}. Install "
                "the newest one, which reads it: pip install -U drystone-core."
            )

    def head(self) -> Head:
        """Where it ends now.

        Raises:
            LedgerDamagedError: Its last commit is altered.
        """
        row = self._connection.execute("SELECT seq, digest FROM commits ORDER BY seq DESC LIMIT 1").fetchone()
        if row is None:
            return Head()
        if row != (self._head.seq, self._head.digest):
            self._head = self._stored(row[0]).head
        return self._head

    def read(self, after: int = 0) -> Iterator[Commit]:
        """Commits after a number, in order, each checked against the one before.

        Raises:
            LedgerDamagedError: One is altered, missing or foreign.
        """
        head = self._stored(after).head if after else Head()
        for seq, digest, body in self.rows(after):
            commit = checked_commit(seq, digest, body)
            check_follows(commit, head)
            head = commit.head
            yield commit

    def rows(self, after: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, digest and text of the commits after a number, as they are, even if that is no text any more."""
        yield from self._connection.execute(f"{_STORED} WHERE seq > ? ORDER BY seq", (after,))

    def counted(self, commit: Commit) -> Commit:
        """What counts of a commit that is here: all of it."""
        return commit

    def ungranted(self) -> list[int]:
        """The numbers of commits that do not count in full."""
        return []

    def append(self, commit: Commit) -> None:
        """Add a commit.

        Raises:
            LedgerConflict: Its number is taken.
        """
        try:
            self._connection.execute("INSERT INTO commits VALUES (?, ?, ?)", (commit.seq, commit.digest, commit.body))
        except sqlite3.IntegrityError as exc:
            raise LedgerConflict(f"Commit {commit.seq} exists already; somebody else was faster.") from exc
        self._head = commit.head

    def _stored(self, seq: int) -> Commit:
        row = self._connection.execute(f"{_STORED} WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise LedgerDamagedError(f"Commit {seq} of the ledger is missing.{CURE}")
        return checked_commit(*row)


_STORED = "SELECT seq, CAST(digest AS BLOB), CAST(body AS BLOB) FROM commits"
