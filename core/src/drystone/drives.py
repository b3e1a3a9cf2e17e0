"""The objects of a shared ledger, in an artifact store that tells two writers of one key apart."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from drystone.artifact_stores import CLOCK, CREATE, ArtifactStore
from drystone.errors import (
    ArtifactStoreError,
    FormatError,
    LedgerDamagedError,
    StoreAccessError,
    StoreUnreachableError,
    WorkspaceAccessError,
    WorkspaceError,
    WorkspaceUnreachableError,
)
from drystone.ledgers import FORMAT
from drystone.segments import LARGEST, commit_name, segment_name

THREADS = 16
"""So many objects are asked for at the same time."""

CONTACT = 1.0
"""Seconds for which nobody asks again whether a ledger is still there; a drive can be unmounted at any moment."""

_TOLD: dict[type[Exception], type[WorkspaceError]] = {
    StoreAccessError: WorkspaceAccessError,
    StoreUnreachableError: WorkspaceUnreachableError,
}


class Drive:
    """Objects by name, next to one called `format`, which says that a ledger is here, and how it is written.

    Nothing is asked of the store before there is a reason.

    Raises:
        WorkspaceError: The store lacks a capability. That is also what all methods raise, instead of its own errors.
    """

    def __init__(self, store: ArtifactStore) -> None:
        lacking = sorted({CREATE, CLOCK} - store.capabilities)
        if lacking:
            raise WorkspaceError(
                f"{store.identity} cannot hold a workspace: {type(store).__name__} lacks {' and '.join(lacking)}, "
                "without which several writers would overwrite each other. Use a directory (file://), a bucket through "
                "drystone-s3, or another store with these capabilities."
            )
        self._store = store
        self._seen_at = float("-inf")
        self.name = store.identity
        self._contact = 0.0 if self.name.startswith("file:") else CONTACT

    def read(self, names: Iterable[str], *, was_there: bool = True, most: int = LARGEST) -> dict[str, bytes | None]:
        """Objects by name, all at once; None where there is none. Of what is too large only the beginning is read.

        The format is read with them: a drive that is not mounted must not be taken for one where nothing is new.

        Args:
            names: Which ones.
            was_there: Whether it is an error if there is no ledger here.
            most: So many bytes an object may have, and one more is read.
        """
        wanted = ["format", *names]
        with self._told("read"), ThreadPoolExecutor(min(THREADS, len(wanted))) as pool:
            found = dict(zip(wanted, pool.map(lambda name: self._object(name, most), wanted), strict=True))
        number = found.pop("format")
        if number is None and not was_there and any(found.values()):
            number = self._format_of_commits()
        self._check_format(number, was_there=was_there)
        return found

    def object(self, name: str, *, most: int = LARGEST) -> bytes | None:
        """One object, or None."""
        return self.read([name], most=most)[name]

    def create(self, name: str, data: bytes) -> None:
        """Make an object, where there is none of this name.

        Raises:
            FileExistsError: There is one.
        """
        self.make()
        with self._told(f"written to at {name}"):
            self._store.create(name, data)

    def make(self) -> None:
        """Make sure that the ledger is there; where there never was one, make it."""
        if time.monotonic() - self._seen_at < self._contact:
            return
        with self._told("opened"):
            if self._seen_at < 0 and self._object("format") is None:
                self._begin()
            self._check_format(self._object("format"))

    def _begin(self) -> None:
        if any(self._object(name) is not None for name in (commit_name(1), segment_name(0))):
            self._format_of_commits()
        with suppress(FileExistsError):
            self._store.create("format", str(FORMAT).encode())

    def _format_of_commits(self) -> bytes:
        """The format, where there are commits; somebody may have made both since it was last asked for.

        Raises:
            LedgerDamagedError: There is none.
        """
        number = self._object("format")
        if number is None:
            raise LedgerDamagedError(
                f"The ledger {self.name} has commits, and no object `format`, which says how they are written. If it "
                f"was deleted by mistake, make it again: it holds {FORMAT}, and nothing else."
            )
        return number

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens if there is none."""
        with self._told("written to"):
            self._store.delete(name)

    def names(self, prefix: str) -> list[str]:
        """The names that begin like this, in order."""
        with self._told("read"):
            return sorted(name for name, _ in self._store.list(prefix))

    def modified(self, name: str) -> float:
        """When an object was made, by the clock of the store.

        Raises:
            FileNotFoundError: There is none.
        """
        with self._told("read"):
            return self._store.modified(name)

    def now(self) -> float:
        """The time by the clock of the store, in seconds since 1970."""
        with self._told("asked for the time"):
            return self._store.now()

    def _object(self, name: str, most: int = LARGEST) -> bytes | None:
        try:
            return self._store.read_range(name, 0, most + 1)
        except FileNotFoundError:
            return None

    def _check_format(self, data: bytes | None, *, was_there: bool = True) -> None:
        number = None if data is None else data.decode(errors="replace").strip()
        if number == str(FORMAT):
            self._seen_at = time.monotonic()
        elif number is not None and not number.isdecimal():
            raise LedgerDamagedError(
                f"The object `format` of the ledger {self.name} is altered: it holds {number[:40]!r}, and no number. "
                "Restore it from a backup."
            )
        elif number is not None:
            raise FormatError(
                f"The ledger {self.name} has format {number:.20}; the installed Drystone reads and writes format "
                f"{FORMAT}. Install the newest one, which reads it: pip install -U drystone-core."
            )
        elif was_there or self._seen_at > 0:
            raise WorkspaceUnreachableError(
                f"The ledger {self.name} is not there any more: its object `format` is missing. Look whether the drive "
                "is mounted, and the bucket is the right one."
            )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, FileNotFoundError):
            raise
        except (ArtifactStoreError, OSError) as exc:
            kind = next((_TOLD[each] for each in _TOLD if isinstance(exc, each)), WorkspaceError)
            raise kind(f"The ledger {self.name} cannot be {what}: {exc}") from exc
