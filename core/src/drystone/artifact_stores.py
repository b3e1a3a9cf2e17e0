"""Artifact stores: where the bytes of artifacts are kept."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import attrs

from drystone.caches import blob_cache
from drystone.components import StackComponent
from drystone.errors import CapabilityError

CREATE, SHARED, MAPPING, CLOCK = "create", "shared", "mapping", "clock"
"""What an artifact store may say that it is capable of: making a key for one of several writers alone, being the same
store on other machines, files to be mapped into memory, and saying when something was stored."""


@attrs.frozen(kw_only=True)
class ArtifactStore(StackComponent, ABC):
    """Keeps blobs under keys such as `blobs/3f/3f8a…`. Keys are relative, with `/` between their parts."""

    kind: ClassVar[str] = "artifact_store"

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do beyond what every store does: `create`, `shared`, `mapping`, `clock`."""
        return frozenset()

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this store from others: its URL if it is shared, a random id kept in it if it is local."""

    @abstractmethod
    def upload(self, local_path: Path, key: str) -> None:
        """Store a file; it is complete under its key, or not there. A file in `spool` is taken, others are copied."""

    @abstractmethod
    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file.

        Raises:
            FileNotFoundError: Nothing is stored under this key.
        """

    @abstractmethod
    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on, at most `length` of them; None reads to the end.

        Raises:
            FileNotFoundError: Nothing is stored under this key.
        """

    @abstractmethod
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes in bytes, in no order."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove what is stored under this key; nothing happens if nothing is."""

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free; of several callers at once exactly one succeeds.

        Raises:
            FileExistsError: The key is taken.
            CapabilityError: The store has not the capability `create`, so it cannot promise that.
        """
        raise CapabilityError(
            f"The artifact store {self.identity} cannot create a key exclusively: it lacks the capability {CREATE!r}. "
            "Use a store that has it, such as LocalArtifactStore."
        )

    def modified(self, key: str) -> float:
        """When what is stored under a key was stored, in seconds since 1970 by the clock of the store.

        Raises:
            FileNotFoundError: Nothing is stored under this key.
            CapabilityError: The store has not the capability `clock`, so it cannot say.
        """
        raise CapabilityError(
            f"The artifact store {self.identity} cannot say when a key was stored: it lacks the capability {CLOCK!r}. "
            "Use a store that has it, such as LocalArtifactStore."
        )

    def now(self) -> float:
        """The time by the clock of the store, in seconds since 1970, by storing something for a moment.

        Raises:
            CapabilityError: The store has not the capability `clock`.
        """
        key = f"clock/{os.urandom(8).hex()}"
        self.write(key, b"")
        try:
            return self.modified(key)
        finally:
            self.delete(key)

    @property
    def is_remote(self) -> bool:
        """Whether what is read from it is kept in the local cache of blobs, since asking it again would take longer."""
        return MAPPING not in self.capabilities

    @property
    def spool(self) -> Path:
        """A local directory for files on their way into the store; where it can, on the store's own disk.

        If the store is remote, it is on the disk of the cache, which then keeps what was stored.
        """
        return blob_cache().spool if self.is_remote else Path(tempfile.gettempdir())

    def local_path(self, key: str) -> Path | None:
        """The local file behind a key, where there is one to be mapped; else None."""
        return None

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes; like `upload` of a file that holds them."""
        handle, name = tempfile.mkstemp(dir=self.spool)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            self.upload(Path(name), key)
        finally:
            Path(name).unlink(missing_ok=True)

    def size(self, key: str) -> int | None:
        """The size in bytes of what is stored under a key, or None if nothing is."""
        return next((size for found, size in self.list(key) if found == key), None)

    def exists(self, key: str) -> bool:
        """Whether something is stored under this key."""
        return self.size(key) is not None

    def sync(self, keys: Iterable[str]) -> None:
        """Make what is stored under these keys survive a power failure; nothing to do where every upload does."""
