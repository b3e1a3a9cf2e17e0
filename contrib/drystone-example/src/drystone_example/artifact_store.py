"""Keeps blobs in one SQLite file."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import attrs

from drystone import ArtifactStore, Place
from drystone.errors import ArtifactStoreError, StackError

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS store (only INTEGER PRIMARY KEY CHECK (only = 1), identity TEXT NOT NULL);
INSERT OR IGNORE INTO store VALUES (1, 'sqlite:' || lower(hex(randomblob(16))));
CREATE TABLE IF NOT EXISTS blobs (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, data BLOB NOT NULL);
COMMIT;
"""

PATIENCE = 60
"""Seconds to wait for others who are changing the file."""


@attrs.frozen(kw_only=True)
class SqliteArtifactStore(ArtifactStore):
    """Keeps blobs in one SQLite file of this machine; every change is a transaction of its own.

    The file is opened for each operation, so that threads, processes and forks need nothing from each other.

    Attributes:
        file: The database; relative to the project's root. By default `artifacts.sqlite` in the workspace.
    """

    file: str | None = attrs.field(default=None, converter=attrs.converters.optional(os.fspath))

    def at(self, place: Place) -> SqliteArtifactStore:
        """This store with an absolute path."""
        file = place.workspace / "artifacts.sqlite" if self.file is None else place.root / self.file
        return SqliteArtifactStore(file=os.path.abspath(file))

    @property
    def capabilities(self) -> frozenset[str]:
        """Keys that one of several writers makes: a unique key of a table is just that."""
        return frozenset({"create"})

    @property
    def identity(self) -> str:
        """`sqlite:` and a random id, kept in the file."""
        with self._reading() as database:
            return str(database.execute("SELECT identity FROM store").fetchone()[0])

    def check(self) -> Iterator[str]:
        """Whether the file can be used and is sound, or could be made; makes nothing."""
        path = self._path
        folder = next(each for each in path.parents if each.exists())
        if not path.exists():
            if not (folder.is_dir() and os.access(folder, os.W_OK)):
                yield f"{path} cannot be made: {folder} is no directory that can be written to. Choose another file."
            return
        try:
            with self._reading() as database:
                [found] = database.execute("PRAGMA quick_check(1)").fetchone()
        except ArtifactStoreError as exc:
            yield str(exc)
            return
        if found != "ok":
            yield f"{path} is damaged: {found}. Restore it from a copy."

    def upload(self, local_path: Path, key: str) -> None:
        """Copy a file into the database, a piece at a time; remove it if it was in the spool."""
        with self._changing(key) as database, local_path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            row = database.execute("INSERT OR REPLACE INTO blobs (key, data) VALUES (?, zeroblob(?))", (key, size))
            assert row.lastrowid is not None  # SQLite gives one for every row that is inserted
            with database.blobopen("blobs", "data", row.lastrowid) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        if local_path.parent == self.spool:
            local_path.unlink()

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes."""
        with self._changing(key) as database:
            database.execute("INSERT OR REPLACE INTO blobs (key, data) VALUES (?, ?)", (key, data))

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free: the table takes a key once."""
        with self._changing(key) as database:
            try:
                database.execute("INSERT INTO blobs (key, data) VALUES (?, ?)", (key, data))
            except sqlite3.IntegrityError:
                raise FileExistsError(errno.EEXIST, "The key is taken", key) from None

    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file, a piece at a time."""
        with self._blob(key) as blob, local_path.open("wb") as target:
            shutil.copyfileobj(blob, target, 1 << 20)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on; nothing else of the blob is read."""
        with self._blob(key) as blob:
            blob.seek(min(start, len(blob)))
            return blob.read(-1 if length is None else length)

    def size(self, key: str) -> int | None:
        """The size of what is stored under a key."""
        with self._reading(key) as database:
            found = database.execute("SELECT length(data) FROM blobs WHERE key = ?", (key,)).fetchone()
        return None if found is None else int(found[0])

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes: they stand side by side in the index of keys."""
        folder = prefix.rpartition("/")[0] or None
        with self._reading(folder) as database:
            rows = database.execute("SELECT key, length(data) FROM blobs WHERE key >= ? ORDER BY key", (prefix,))
            return iter([*takewhile(lambda row: row[0].startswith(prefix), rows)])

    def delete(self, key: str) -> None:
        """Remove what is stored under this key."""
        with self._changing(key) as database:
            database.execute("DELETE FROM blobs WHERE key = ?", (key,))

    def compact(self) -> int:
        """Give back the space of what was deleted; returns how many bytes that was."""
        before = self._path.stat().st_size if self._path.exists() else 0
        with self._opened() as database:
            database.execute("VACUUM")
        return max(0, before - self._path.stat().st_size)

    @property
    def _path(self) -> Path:
        if self.file is None or not os.path.isabs(self.file):
            raise StackError(
                f"{self!r} has no file yet: its path depends on the project it is used in. Let a stack use it, bind it "
                "with at(place), or give it an absolute path."
            )
        return Path(self.file)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database, made if it is new; what SQLite raises is translated."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            database = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
            try:
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'blobs'").fetchone():
                    database.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
                    database.executescript(SCHEMA)
                yield database
            finally:
                database.close()  # ends a transaction that was not committed
        except (sqlite3.Error, OverflowError) as exc:
            raise ArtifactStoreError(f"The artifact store {self._path} cannot be used: {exc}.") from exc

    @contextmanager
    def _reading(self, key: str | None = None) -> Iterator[sqlite3.Connection]:
        """The database as it is at one moment."""
        _check(key)
        with self._opened() as database:
            database.execute("BEGIN")
            yield database

    @contextmanager
    def _changing(self, key: str) -> Iterator[sqlite3.Connection]:
        """The database for one change, which is on the disk afterwards, or did not happen."""
        _check(key)
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    @contextmanager
    def _blob(self, key: str) -> Iterator[sqlite3.Blob]:
        with self._reading(key) as database:
            found = database.execute("SELECT id FROM blobs WHERE key = ?", (key,)).fetchone()
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key)
            with database.blobopen("blobs", "data", found[0], readonly=True) as blob:
                yield blob


def _check(key: str | None) -> None:
    if key is not None and ("\\" in key or "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/"))):
        raise ValueError(f"{key!r} is not a key of an artifact store: it must be a relative path of plain names.")
