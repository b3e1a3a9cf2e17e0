"""The local copy of a shared ledger: a database that is brought up to date before it is read or written to."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from drystone.catalogs import providing
from drystone.databases import Database, made_directory
from drystone.digests import digest_bytes
from drystone.errors import DrystoneError, LedgerDamagedError, WorkspaceError
from drystone.index import Index
from drystone.ledgers import CURE, Commit, SharedLedger, SQLiteLedger, check_follows
from drystone.plugins import load_plugins
from drystone.projects import HOME, workspace_directory


class Replica(Database):
    """What a shared ledger says, in a directory of this machine that can be deleted at any time."""

    def __init__(self, directory: Path, shared: SharedLedger) -> None:
        self.shared = shared
        super().__init__(directory)

    def _connect(self, uri: str) -> None:
        super()._connect(uri)
        self._ledger: Mirror = Mirror(self._connection, self.shared)

    @contextmanager
    def snapshot(self, *, as_it_is: bool = False) -> Iterator[tuple[SQLiteLedger, Index]]:
        """Ledger and index, after what others committed was fetched."""
        with self._session():
            if not as_it_is and not self._connection.in_transaction:
                with self.transaction():
                    pass
            with super().snapshot(as_it_is=as_it_is) as both:
                yield both

    @contextmanager
    def transaction(self) -> Iterator[tuple[SQLiteLedger, Index]]:
        """Ledger and index up to date, while nobody else on this machine writes."""
        with super().transaction() as (ledger, index):
            self._ledger.pull()
            index.catch_up(ledger)
            yield ledger, index

    def rebuild(self) -> None:
        """Fetch everything anew."""
        with super().transaction() as (ledger, index):
            self._connection.execute("DELETE FROM commits")
            index.clear()
            self._ledger.pull()
            index.catch_up(ledger)

    def damage(self) -> str:
        """What is wrong with the shared ledger, or where it is not what was fetched; empty if nothing is."""
        with super().snapshot(as_it_is=True) as (ledger, _):
            digests = {seq: digest.decode(errors="replace") for seq, digest, _ in ledger.rows()}
        try:
            for commit in self.shared.read():
                if digests.pop(commit.seq, commit.digest) != commit.digest:
                    raise LedgerDamagedError(f"Commit {commit.seq} is not the one that was fetched before.{CURE}")
        except LedgerDamagedError as exc:
            return str(exc)
        return f"Commit {min(digests)} was fetched before, and is missing now.{CURE}" if digests else ""


class Mirror(SQLiteLedger):
    """The commits of a shared ledger that are on this machine. What is added here is added there first."""

    def __init__(self, connection: sqlite3.Connection, shared: SharedLedger) -> None:
        super().__init__(connection)
        self._shared = shared

    def pull(self) -> None:
        """Fetch what others committed.

        Raises:
            LedgerDamagedError: It does not go on from what is here.
        """
        head = self.head()
        for commit in self._shared.read(head.seq):
            check_follows(commit, head)
            super().append(commit)
            head = commit.head

    def append(self, commit: Commit) -> None:
        """Add a commit. After any error it is read back: if it is there, it was added.

        Raises:
            LedgerConflict: Its number is taken.
        """
        try:
            self._shared.append(commit)
        except Exception:
            if not self._has_landed(commit):
                raise
        super().append(commit)

    def _has_landed(self, commit: Commit) -> bool:
        try:
            stored = next(iter(self._shared.read(commit.seq - 1)), None)
        except DrystoneError:
            return False
        return stored is not None and stored.id == commit.id


def is_url(location: object) -> bool:
    """Whether a location means a shared workspace."""
    return isinstance(location, str) and "://" in location


def replica_directory(url: str) -> Path:
    """Where this user keeps the copy of a shared ledger; made if it does not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return made_directory(cache / "drystone" / "workspaces" / digest_bytes(url.encode())[:32])


def opened_ledger(url: str) -> SharedLedger:
    """The ledger behind a URL.

    Raises:
        WorkspaceError: No plugin offers its scheme.
    """
    scheme, plugins = urlsplit(url).scheme, load_plugins()
    offer = plugins.scheme("drystone_ledgers", scheme)
    if offer is None:
        known = sorted(f"{name}://" for _, name in plugins.unique("drystone_ledgers"))
        hooked = f" Install a plugin that offers {scheme}:// through the hook drystone_ledgers."
        remedy = providing(scheme=scheme) or hooked
        raise WorkspaceError(
            f"No plugin opens a workspace at {scheme}://. Installed: {', '.join(known) or 'none'}.{remedy}"
            f"{plugins.absent()}"
        )
    ledger: SharedLedger = offer(url)
    return ledger


def default_location(root: Path) -> str | Path:
    """Where the workspace of a project is, if its `stacks.py` does not say."""
    home = os.environ.get(HOME, "")
    return home if is_url(home) else workspace_directory(root)


def location_directory(location: str | Path) -> Path:
    """The directory of a workspace on this machine; made if it does not exist."""
    return replica_directory(str(location)) if is_url(location) else made_directory(location)
