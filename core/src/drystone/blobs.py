"""Content-addressed blobs: written with their digest, landed whole, read back mapped and checked."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from blake3 import blake3

from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Blob, Manifest
from drystone.caches import CHECKED, DamagedError, blob_cache, file_digest, is_whole
from drystone.digests import digest_bytes
from drystone.errors import ArtifactStoreError, BlobLostError

COMPARED = 1 << 20
"""Blobs up to this size that a store has are compared with what is to be stored; of larger ones the size counts."""

AHEAD = 64 << 10
"""How many bytes are asked of a store elsewhere at least when a file in it is read bit by bit."""

WHOLE = 1 << 20
"""Blobs up to this size are fetched whole, whatever part of them is asked for."""


def blob_key(digest: str) -> str:
    """Where a store keeps the blob of this digest."""
    return f"blobs/{digest[:2]}/{digest}"


def store_bytes(store: ArtifactStore, data: bytes) -> str:
    """Store bytes under their digest, once; returns the digest."""
    digest = digest_bytes(data)
    key = blob_key(digest)
    with suppress(FileNotFoundError):  # somebody may set it aside between the two
        if store.size(key) == len(data) and (len(data) > COMPARED or store.read_range(key, 0, None) == data):
            return digest
    store.write(key, data)
    if store.is_remote:
        blob_cache().keep(digest, data)
    return digest


def set_aside(store: ArtifactStore, digest: str) -> None:
    """Take damaged bytes away, so that neither a plan nor a writer takes them for the blob.

    They are read once more before they go: the way here may have damaged them, or somebody has stored the blob anew.
    On this machine they are kept in the spool. Who may not do that leaves them.
    """
    key = blob_key(digest)
    local = store.local_path(key)
    with suppress(OSError, ArtifactStoreError):
        if local is None:
            if digest_bytes(store.read_range(key, 0, None)) != digest:
                store.delete(key)
        elif file_digest(local) != digest:
            store.spool.mkdir(parents=True, exist_ok=True)
            local.replace(store.spool / f"{digest}.damaged")


class HashingFile(io.RawIOBase):
    """A binary file that hashes what is written to it; it has no position, since nothing may be written twice."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hasher = blake3(max_threads=blake3.AUTO)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write and hash all of the data."""
        view = memoryview(data)
        if not view.nbytes:  # which cannot be cast if it has dimensions
            return 0
        view = view.cast("B")
        self.hasher.update(view)
        return self._file.write(view)


class BlobWriter:
    """Writes the files of one artifact into a store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._blobs: dict[str, Blob] = {}

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What was written, in order of paths."""
        return tuple(self._blobs[path] for path in sorted(self._blobs))

    def write(self, path: str, data: bytes) -> None:
        """Write one file from memory."""
        self._blobs[path] = Blob(path, store_bytes(self._store, data), len(data))

    @contextmanager
    def open(self, path: str) -> Iterator[HashingFile]:
        """A file to write to; it is hashed on the way."""
        with self._spooled() as spooled:
            with spooled.open("wb") as raw:
                file = HashingFile(raw)
                yield file
            self._land(path, spooled, file.hasher.hexdigest())

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """A path for libraries that insist on one; it keeps the suffix, and is hashed afterwards."""
        with self._spooled(PurePosixPath(path).suffix) as spooled:
            yield spooled
            self.add(path, spooled)

    def add(self, path: str, source: Path) -> None:
        """Take over a local file: copied, unless it is in the store's spool."""
        self._land(path, source, file_digest(source))

    def _land(self, path: str, source: Path, digest: str) -> None:
        key, size = blob_key(digest), source.stat().st_size
        if self._store.size(key) != size:
            if size > CHECKED and self._store.local_path(key):  # mapped unhashed: it must be on disk before it is named
                with source.open("rb") as file:
                    os.fsync(file.fileno())
            if self._store.is_remote and source.parent == self._store.spool:
                blob_cache().keep(digest, source)
            self._store.upload(source, key)
        self._blobs[path] = Blob(path, digest, size)

    @contextmanager
    def _spooled(self, suffix: str = "") -> Iterator[Path]:
        spooled = self._store.spool / f"{os.urandom(8).hex()}{suffix}"
        spooled.parent.mkdir(parents=True, exist_ok=True)
        spooled.touch(0o600, exist_ok=False)  # the spool may be open to all users of the machine
        try:
            yield spooled
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ArtifactStoreError(
                f"There is no room for {spooled.parent}: {exc}. Free some, or keep artifacts on a larger disk."
            ) from exc
        finally:
            spooled.unlink(missing_ok=True)


class BlobReader:
    """Reads the files of one artifact, and raises `BlobLostError` for what is missing or damaged."""

    def __init__(self, store: ArtifactStore, manifest: Manifest) -> None:
        self._store = store
        self.manifest = manifest
        self._blobs = {blob.path: blob for blob in manifest.blobs}

    def read(self, path: str) -> bytes:
        """The content of one file."""
        with self._found(path) as blob:
            cached = self._fetched(blob)
            if cached is not None:
                with cached:
                    return cached.read()
            data = self._store.read_range(blob_key(blob.digest), 0, None)
            if len(data) != blob.size or digest_bytes(data) != blob.digest:
                raise self._damaged(blob)
            return data

    def file(self, path: str) -> Path:
        """A local file with the content, to be read or mapped and never written to.

        Where the store has no such files it is one of the cache, or a copy; its content stays while it is mapped.
        """
        with self._found(path) as blob:
            local = self._store.local_path(blob_key(blob.digest))
            if local is None:
                cached = self._fetched(blob)
                return self._held(cached) if cached is not None else self._copied(path)
            return self._checked(local, blob, CHECKED)

    def find_file(self, path: str) -> Path | None:
        """The same to read parts of: a file larger than 1 MiB is not hashed, and None if it had to be fetched."""
        with self._found(path) as blob:
            local = self._store.local_path(blob_key(blob.digest))
            if local is not None:
                return self._checked(local, blob, WHOLE)
            if not self._store.is_remote or blob.size <= WHOLE:
                return self.file(path)
            cached = blob_cache().find(blob.digest, blob.size, WHOLE)
            return self._held(cached) if cached is not None else None

    def _checked(self, local: Path, blob: Blob, limit: int) -> Path:
        if not is_whole(local, blob.digest, blob.size, limit):
            raise self._damaged(blob)
        return local

    def open(self, path: str) -> BinaryIO:
        """A file to read parts of: only those are transferred, and none where a local file has the content.

        Parts are not checked against the digest of the whole. A file of up to 1 MiB is fetched, and checked, whole.
        """
        near = self.find_file(path)
        return near.open("rb") if near is not None else _RangeFile(self._ranges(path), self._blobs[path].size)

    def copy(self, path: str, target: Path) -> None:
        """Copy one file to where the caller may change it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._found(path) as blob:
            cached = self._fetched(blob)
            if cached is not None:
                with cached:
                    shutil.copyfile(cached.name, target)
                return
            self._store.download(blob_key(blob.digest), target)
            if not is_whole(target, blob.digest, blob.size, blob.size):
                target.unlink()
                raise self._damaged(blob)

    def _fetched(self, blob: Blob) -> BinaryIO | None:
        """An open file of the cache, where the store is elsewhere and the cache can keep its blobs."""
        if not self._store.is_remote:
            return None
        try:
            return blob_cache().fetch(blob.digest, blob.size, lambda target: self._download(blob, target))
        except DamagedError:
            raise self._damaged(blob) from None

    def _download(self, blob: Blob, target: Path) -> None:
        key = blob_key(blob.digest)
        if blob.size <= WHOLE:  # one request, where a download would ask for the size first
            target.write_bytes(self._store.read_range(key, 0, None))
        else:
            self._store.download(key, target)

    def _held(self, cached: BinaryIO) -> Path:
        """The path of a file in the cache, which stays there as long as this reader."""
        weakref.finalize(self, cached.close)
        return Path(cached.name)

    def _copied(self, path: str) -> Path:
        scratch = tempfile.mkdtemp(prefix="drystone-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        copy = Path(scratch, PurePosixPath(path).name)
        self.copy(path, copy)
        return copy

    def _ranges(self, path: str) -> Callable[[int, int], bytes]:
        def read(start: int, length: int) -> bytes:
            with self._found(path) as blob:
                data = self._store.read_range(blob_key(blob.digest), start, length)
                if len(data) != min(length, blob.size - start):
                    raise self._damaged(blob)
                return data

        return read

    @contextmanager
    def _found(self, path: str) -> Iterator[Blob]:
        blob = self._blobs[path]
        try:
            yield blob
        except FileNotFoundError:
            raise self._lost(blob, "missing") from None

    def _damaged(self, blob: Blob) -> BlobLostError:
        set_aside(self._store, blob.digest)
        return self._lost(blob, "damaged")

    def _lost(self, blob: Blob, how: str) -> BlobLostError:
        return BlobLostError(
            f"The blob {blob.digest[:12]}… ({blob.path}, {blob.size} bytes) is {how} in the artifact store "
            f"{self.manifest.store}. Run the pipeline again: what made it counts as not cached and makes it anew. "
            "`drystone workspace verify` lists everything that is missing or damaged."
        )


class _RangeFile(io.RawIOBase, BinaryIO):
    """A file elsewhere: each read asks for one range of it, and what that brought is kept until the next one."""

    def __init__(self, ranges: Callable[[int, int], bytes], size: int) -> None:
        self._ranges, self._size = ranges, size
        self._at, self._start, self._data = 0, 0, b""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read starts."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere; nothing is transferred."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        begin = self._at - self._start
        if wanted and not 0 <= begin <= len(self._data) - wanted:
            self._start, begin = self._at, 0
            self._data = self._ranges(self._at, min(max(wanted, AHEAD), left))
        self._at += wanted
        return self._data[begin : begin + wanted]

    def readall(self) -> bytes:
        """Everything from here on."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as far as there is something."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
