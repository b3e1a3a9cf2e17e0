"""Components that keep everything in this process, for tests."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from drystone.artifact_stores import CLOCK, CREATE, ArtifactStore

_shelves: dict[str, dict[str, bytes]] = {}
"""What is stored, by the names of stores."""

_stored_at: dict[tuple[str, str], float] = {}
"""When that was, by store and key."""

_lock = threading.RLock()


@attrs.frozen(kw_only=True)
class MemoryArtifactStore(ArtifactStore):
    """Keeps artifacts in the memory of this process; stores of one shelf are one store.

    Attributes:
        shelf: What tells it from others of this process.
    """

    shelf: str = "memory"

    @property
    def capabilities(self) -> frozenset[str]:
        """Keys that one of several writers makes, and when they were stored."""
        return frozenset({CREATE, CLOCK})

    @property
    def identity(self) -> str:
        """Its shelf as a URL."""
        return f"memory-of-process://{self.shelf}"

    @property
    def is_remote(self) -> bool:
        """Its values are nearer than any file."""
        return False

    @property
    def _kept(self) -> dict[str, bytes]:
        return _shelves.setdefault(self.shelf, {})

    def upload(self, local_path: Path, key: str) -> None:
        """Store a file, which stays: its spool is the directory where people keep files of their own, too."""
        self.write(key, local_path.read_bytes())

    def write(self, key: str, data: bytes) -> None:
        """Store bytes."""
        with _lock:
            self._kept[_checked(key)] = bytes(data)
            _stored_at[self.shelf, key] = time.time()

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free."""
        with _lock:
            if _checked(key) in self._kept:
                raise FileExistsError(errno.EEXIST, "The key is taken", key)
            self.write(key, data)

    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file."""
        local_path.write_bytes(self.read_range(key, 0, None))

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        data = self._kept.get(_checked(key))
        if data is None:
            raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key)
        return data[start : None if length is None else start + length]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes."""
        if folder := prefix.rpartition("/")[0]:
            _checked(folder)
        return ((key, len(data)) for key, data in list(self._kept.items()) if key.startswith(prefix))

    def size(self, key: str) -> int | None:
        """The size of what is stored under a key."""
        data = self._kept.get(_checked(key))
        return None if data is None else len(data)

    def modified(self, key: str) -> float:
        """When it was stored."""
        if self.size(key) is None:
            raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key)
        return _stored_at[self.shelf, key]

    def delete(self, key: str) -> None:
        """Remove what is stored under this key."""
        self._kept.pop(_checked(key), None)

    def clear(self) -> None:
        """Remove everything."""
        _shelves.pop(self.shelf, None)


def _checked(key: str) -> str:
    if "\\" in key or "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise ValueError(f"{key!r} is not a key of an artifact store: it must be a relative path of plain names.")
    return key
