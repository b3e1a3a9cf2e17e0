"""The SQLite database of a local workspace: opened safely, by many processes at once, and again after a fork."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from drystone.audits import Finding
from drystone.errors import NotFoundError, WorkspaceError
from drystone.events import Event, event_to_json
from drystone.index import Index
from drystone.ledgers import Commit, Head, SQLiteLedger, next_commit
from drystone.projects import make_directory

FILE = "workspace.db"

Decide = Callable[[Index], Sequence[Event]]
"""Looks at a workspace, and says what happened."""

PATIENCE = 60
"""Seconds to wait for another process that is committing."""

SYNC_INTERVAL = 1.0
"""Seconds of commits that a power failure may take; a process that dies takes none."""

NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
    *("fuse.glusterfs", "fuse.sshfs", "fuse.s3fs"),
)
"""Filesystems whose locks SQLite cannot rely on."""

MOUNTS = Path("/proc/self/mounts")
"""Where Linux lists what is mounted."""

_opening = threading.Lock()


class Database:
    """The database in a workspace's directory: a ledger and its index.

    A directory that must not be written to can be read, as it is when it is opened.

    Class attributes:
        PACE: Seconds between two looks for what others did, for whoever waits for that.
    """

    PACE: ClassVar[float] = 0.2

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._abandoned: list[sqlite3.Connection] = []
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._synced = time.monotonic()
        self._lock = threading.RLock()
        file = self._directory / FILE
        try:
            if file.exists() and not (os.access(file, os.W_OK) and os.access(self._directory, os.W_OK)):
                # without a log nobody writes now, and SQLite cannot make the files by which it would notice
                alone = "" if file.with_name(f"{FILE}-wal").exists() else "&immutable=1"
                self._connect(f"{file.as_uri()}?mode=ro{alone}")
                self._ledger.create()
                if not self._index.tables():
                    raise PermissionError("this version of Drystone has yet to make its index there")
                return
            with _opening, (self._directory / "opening.lock").open("w") as lock:
                fcntl.lockf(lock, fcntl.LOCK_EX)  # nobody else sets up the same database meanwhile
                self._connect(file.as_uri())
                self._set_up()
        except (sqlite3.Error, OSError) as exc:
            raise WorkspaceError(
                f"The workspace {self._directory} cannot be opened: {exc}. Check that the directory can be written to; "
                f"if {FILE} is damaged, restore it from a backup."
            ) from exc

    def _connect(self, uri: str) -> None:
        self._connection = sqlite3.connect(
            uri, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        self._ledger, self._index = SQLiteLedger(self._connection), Index(self._connection)
        self._seen: int | None = None
        weakref.finalize(self, _close, self._connection, self._pid)

    def _set_up(self) -> None:
        execute = self._connection.execute
        if execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            execute("PRAGMA page_size = 2048")  # a commit changes a few rows of many pages, and logs whole pages
            execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA wal_autocheckpoint = 4000")
        with self._connection:
            execute("BEGIN IMMEDIATE")
            self._ledger.create()
            self._index.create()

    @contextmanager
    def _session(self) -> Iterator[None]:
        """The connection, for this thread alone."""
        if self._pid != os.getpid():  # forked: SQLite connections do not survive that, and closing it here
            self._abandoned.append(self._connection)  # would drop the parent's locks
            self._open()
        try:
            with self._lock:
                yield
        except UnicodeEncodeError as exc:  # from a command line that was no UTF-8
            raise NotFoundError(f"{exc.object!r} is no text, so nothing here is called or tagged like that.") from exc

    @contextmanager
    def snapshot(self, *, as_it_is: bool = False) -> Iterator[tuple[SQLiteLedger, Index]]:
        """Ledger and index, with every statement seeing the same state.

        Args:
            as_it_is: Do not enter first what another version of Drystone committed; and open what is damaged.

        Raises:
            LedgerDamagedError: The ledger does not go on from what was entered.
            WorkspaceError: The file cannot be read.
        """
        with self._session():
            if self._connection.in_transaction:
                yield self._ledger, self._index
                return
            try:
                if not as_it_is:
                    self._see_others()
                self._connection.execute("BEGIN")
                yield self._ledger, self._index
            except sqlite3.Error as exc:
                raise WorkspaceError(
                    f"The workspace {self._directory} cannot be read: {exc}. If {FILE} is damaged, restore it from a "
                    "backup."
                ) from exc
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _see_others(self) -> None:
        """Enter what another version of Drystone committed, if anybody has committed since this was last asked."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen:
            if self._index.is_behind(self._ledger):
                with self.transaction():
                    self._index.catch_up(self._ledger)
            self._seen = version

    @contextmanager
    def transaction(self) -> Iterator[tuple[SQLiteLedger, Index]]:
        """Ledger and index, while nobody else writes; what is raised undoes everything.

        Raises:
            WorkspaceError: The file cannot be written to, or this is already inside a snapshot or transaction.
        """
        with self._session():
            if self._connection.in_transaction:
                raise WorkspaceError(
                    "A commit cannot begin inside another one, or while a workspace is being read. Commit afterwards."
                )
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._ledger, self._index
                self._connection.execute("COMMIT")
            except sqlite3.Error as exc:
                raise WorkspaceError(
                    f"The workspace {self._directory} cannot be written to: {exc}. Nothing of this was recorded; what "
                    "was recorded before is safe. Look at the disk's space and the directory's permissions."
                ) from exc
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if time.monotonic() - self._synced > SYNC_INTERVAL:
                with suppress(sqlite3.OperationalError):  # what was committed stays so, and the next one tries again
                    self.sync()

    def commit(self, decide: Decide, author: str | None) -> Commit | None:
        """Add what is decided upon, in one transaction; None if that is nothing."""
        with self.transaction() as (ledger, index):
            commit = decided(decide, index, index.catch_up(ledger), author)
            if commit is not None:
                ledger.append(commit)
                index.apply(commit)
        return commit

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Let answers be so many seconds old meanwhile; those of a local workspace never are."""
        yield

    def state(self) -> dict[str, Any]:
        """How a copy stands to what it is a copy of; of a local workspace there is nothing to say."""
        return {}

    def rebuild(self) -> None:
        """Make the index anew from the ledger."""
        with self.transaction() as (ledger, index):
            index.clear()
            index.catch_up(ledger)

    def damage(self) -> list[Finding]:
        """What is wrong with a ledger elsewhere; a local one is checked commit by commit."""
        return []

    def sync(self) -> None:
        """Make everything committed so far survive a power failure."""
        with self._session():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._synced = time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        _close(self._connection, self._pid)


def decided(decide: Decide, index: Index, head: Head, author: str | None) -> Commit | None:
    """The commit of what is decided upon, to follow a head; None if that is nothing."""
    events = [event_to_json(event) for event in decide(index)]
    return next_commit(head, events, author) if events else None


def _close(connection: sqlite3.Connection, pid: int) -> None:
    if pid == os.getpid():  # a forked process must leave the connection of its parent alone
        connection.close()


def made_directory(location: str | Path) -> Path:
    """The directory of a workspace, made if it does not exist; Git leaves it alone.

    Raises:
        WorkspaceError: There can be none: it is a URL, on a network filesystem, or cannot be made.
    """
    if "://" in str(location):
        raise WorkspaceError(
            f"{str(location)!r} is no local directory. A workspace that is shared, on a bucket or a network drive, "
            "comes with a plugin; without one, give a directory on this machine."
        )
    directory = Path(location).expanduser().resolve()
    make_directory(directory)
    check_local(directory)
    return directory


def check_local(directory: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a directory on a network filesystem, where the system tells.

    Raises:
        WorkspaceError: Names the filesystem and the way out.
    """
    lines = [line.split() for line in mounts.read_text(errors="replace").splitlines()] if mounts.exists() else []
    points = {fields[1].replace("\\040", " "): fields[2] for fields in lines if len(fields) > 2}
    kind = next((points[str(path)] for path in (directory, *directory.parents) if str(path) in points), None)
    if kind in NETWORK:
        raise WorkspaceError(
            f"The workspace {directory} is on a network filesystem ({kind}), where several machines would damage its "
            "database. Put it on a local disk (DRYSTONE_WORKSPACE), or share it through a plugin that opens "
            f"file://{directory}."
        )
