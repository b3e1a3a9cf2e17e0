"""The SQLite database of a local workspace: opened safely, by many processes at once, and again after a fork."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from drystone.artifacts import Source
from drystone.errors import WorkspaceError
from drystone.index import Index
from drystone.ledgers import SQLiteLedger
from drystone.records import Records

FILE = "workspace.db"
PATIENCE = 60
"""Seconds to wait for another process that is committing."""

SYNC_INTERVAL = 1.0
"""Seconds of commits that a power failure may take; a process that dies takes none."""

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
        *("fuse.glusterfs", "fuse.sshfs", "fuse.s3fs"),
    }
)
"""Filesystems whose locks SQLite cannot rely on."""

MOUNTS = Path("/proc/self/mounts")
"""Where Linux lists what is mounted."""

_opening = threading.Lock()


@attrs.frozen
class Session:
    """One connection and what works on it."""

    connection: sqlite3.Connection
    ledger: SQLiteLedger
    index: Index
    records: Records


class Database:
    """The database in a workspace's directory."""

    def __init__(self, directory: Path, source: Source) -> None:
        self._directory = directory
        self._source = source
        self._abandoned: list[Session] = []
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._synced = time.monotonic()
        self._lock = threading.RLock()
        try:
            with _opening, _alone(self._directory):
                self._session = _opened(self._directory / FILE, self._source)
                weakref.finalize(self, _close, self._session.connection, self._pid)
        except (sqlite3.Error, OSError) as exc:
            raise WorkspaceError(
                f"The workspace {self._directory} cannot be opened: {exc}. Check that the directory can be written to; "
                f"if {FILE} is damaged, restore it from a backup."
            ) from exc

    def _here(self) -> None:
        """Open anew in a process that was forked: SQLite connections do not survive that."""
        if self._pid != os.getpid():
            self._abandoned.append(self._session)  # closing it here would drop the parent's locks
            self._open()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The session, for this thread alone; each statement sees what is committed when it runs."""
        self._here()
        with self._lock:
            yield self._session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """The session, with every statement seeing the same state."""
        with self.session() as session:
            if session.connection.in_transaction:
                yield session
                return
            session.connection.execute("BEGIN")
            try:
                yield session
            finally:
                session.connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """The session, while nobody else writes; what is raised undoes everything."""
        with self.session() as session:
            connection = session.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield session
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if time.monotonic() - self._synced > SYNC_INTERVAL:
                with suppress(sqlite3.OperationalError):  # what was committed stays so, and the next one tries again
                    self.sync()

    def sync(self) -> None:
        """Make everything committed so far survive a power failure."""
        with self.session() as session:
            session.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._synced = time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        _close(self._session.connection, self._pid)


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
    try:
        directory.mkdir(parents=True, exist_ok=True)
        ignore = directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as exc:
        raise WorkspaceError(f"The workspace {directory} cannot be made: {exc}. Choose another directory.") from exc
    check_local(directory)
    return directory


def _close(connection: sqlite3.Connection, pid: int) -> None:
    if pid == os.getpid():  # a forked process must leave the connection of its parent alone
        connection.close()


def check_local(directory: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a directory on a network filesystem.

    Raises:
        WorkspaceError: Names the filesystem and the way out.
    """
    kind = filesystem_kind(directory, mounts)
    if kind in NETWORK:
        raise WorkspaceError(
            f"The workspace {directory} is on a network filesystem ({kind}), where several machines would damage its "
            "database. Put it on a local disk (DRYSTONE_WORKSPACE), or share it through a plugin that opens "
            f"file://{directory}."
        )


def filesystem_kind(directory: Path, mounts: Path) -> str | None:
    """The type of filesystem a directory is on, where the system tells."""
    if not mounts.exists():
        return None
    lines = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    points = {fields[1].replace("\\040", " "): fields[2] for fields in lines if len(fields) > 2}
    above = [str(directory), *(str(parent) for parent in directory.parents)]
    return next((points[path] for path in above if path in points), None)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes from setting up the same database meanwhile."""
    with (directory / "opening.lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _opened(path: Path, source: Source) -> Session:
    connection = sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        execute = connection.execute
        if execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA wal_autocheckpoint = 4000")
        session = Session(connection, SQLiteLedger(connection), Index(connection), Records(connection, source))
        execute("BEGIN IMMEDIATE")
        session.ledger.create()
        session.index.create()
        session.index.catch_up(session.ledger)
        execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return session
