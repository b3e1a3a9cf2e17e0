"""Content-addressed blobs: written with their digest, landed whole, read back mapped and checked."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from blake3 import blake3

from drystone.artifacts import Blob, Manifest
from drystone.components import ArtifactStore
from drystone.digests import digest_bytes
from drystone.errors import BlobLostError

CHUNK = 8 << 20
"""Bytes that are hashed and written at a time."""

CHECKED = 64 << 20
"""Blobs up to this size are hashed whenever they are read; larger ones are mapped, and `verify` hashes them."""


def blob_key(digest: str) -> str:
    """Where a store keeps the blob of this digest."""
    return f"blobs/{digest[:2]}/{digest}"


def store_bytes(store: ArtifactStore, data: bytes) -> str:
    """Store bytes under their digest, once; returns the digest."""
    digest = digest_bytes(data)
    key = blob_key(digest)
    if store.size(key) != len(data):
        store.write(key, data)
    return digest


def file_digest(path: Path) -> str:
    """The BLAKE3 digest of a file's content, read by mapping it."""
    hasher = blake3(max_threads=blake3.AUTO)
    if path.stat().st_size:
        hasher.update_mmap(path)
    return hasher.hexdigest()


class HashingFile:
    """A binary file that hashes what is written to it, beside the disk."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file = file
        self._pool = pool
        self._hasher = blake3(max_threads=blake3.AUTO)
        self._pending: Future[object] | None = None
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Write and hash; large data in chunks, each hashed while it is written."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            chunk = view[start : start + CHUNK]
            self._settle()
            if len(chunk) < CHUNK // 8:
                self._hasher.update(chunk)
            else:
                self._pending = self._pool.submit(self._hasher.update, chunk)
            self._file.write(chunk)
        self._settle()  # the caller may change its buffer after this returns
        self.size += len(view)
        return len(view)

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._file.flush()

    def hexdigest(self) -> str:
        """The digest of everything written so far."""
        self._settle()
        return self._hasher.hexdigest()


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
        with self._spooled() as spooled, ThreadPoolExecutor(1) as pool:
            with spooled.open("wb") as raw:
                file = HashingFile(raw, pool)
                yield file
                raw.flush()
                os.fsync(raw.fileno())
            self._land(path, spooled, file.hexdigest(), file.size)

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """A path for libraries that insist on one; it keeps the suffix, and is hashed afterwards."""
        with self._spooled(PurePosixPath(path).suffix) as spooled:
            yield spooled
            self.add(path, spooled)

    def add(self, path: str, source: Path) -> None:
        """Take over a local file: copied, unless it is in the store's spool."""
        self._land(path, source, file_digest(source), source.stat().st_size)

    def _land(self, path: str, source: Path, digest: str, size: int) -> None:
        key = blob_key(digest)
        if self._store.size(key) != size:
            self._store.upload(source, key)
        self._blobs[path] = Blob(path, digest, size)

    @contextmanager
    def _spooled(self, suffix: str = "") -> Iterator[Path]:
        spool = self._store.spool
        spool.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=suffix, dir=spool)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


class BlobReader:
    """Reads the files of one artifact."""

    def __init__(self, store: ArtifactStore, manifest: Manifest) -> None:
        self._store = store
        self.manifest = manifest
        self._blobs = {blob.path: blob for blob in manifest.blobs}

    def read(self, path: str) -> bytes:
        """The content of one file, checked against its digest.

        Raises:
            BlobLostError: It is missing or damaged.
        """
        blob = self._blobs[path]
        try:
            data = self._store.read_range(blob_key(blob.digest), 0, None)
        except FileNotFoundError:
            raise self._lost(blob, "missing") from None
        if len(data) != blob.size or digest_bytes(data) != blob.digest:
            raise self._lost(blob, "damaged")
        return data

    def file(self, path: str) -> Path:
        """A local file with the content, to be read or mapped and never written to.

        Raises:
            BlobLostError: It is missing or damaged.
        """
        blob = self._blobs[path]
        local = self._store.local_path(blob_key(blob.digest))
        if local is None:
            return self._downloaded(blob)
        try:
            size = local.stat().st_size
        except FileNotFoundError:
            raise self._lost(blob, "missing") from None
        if size != blob.size or (size <= CHECKED and file_digest(local) != blob.digest):
            raise self._lost(blob, "damaged")
        return local

    def copy(self, path: str, target: Path) -> None:
        """Copy one file, checked, to where the caller may change it."""
        blob = self._blobs[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        self._download(blob, target)

    def _downloaded(self, blob: Blob) -> Path:
        """A private copy; its name goes with this reader, its content stays while it is mapped."""
        scratch = tempfile.mkdtemp(prefix="drystone-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        target = Path(scratch) / PurePosixPath(blob.path).name
        self._download(blob, target)
        return target

    def _download(self, blob: Blob, target: Path) -> None:
        try:
            self._store.download(blob_key(blob.digest), target)
        except FileNotFoundError:
            raise self._lost(blob, "missing") from None
        if target.stat().st_size != blob.size or file_digest(target) != blob.digest:
            target.unlink()
            raise self._lost(blob, "damaged")

    def _lost(self, blob: Blob, how: str) -> BlobLostError:
        return BlobLostError(
            f"The blob {blob.digest[:12]}… ({blob.path}, {blob.size} bytes) is {how} in the artifact store "
            f"{self.manifest.store}. Run the pipeline again: what made it counts as not cached and makes it anew. "
            "`drystone workspace verify` lists everything that is missing or damaged."
        )
