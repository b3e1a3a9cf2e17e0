"""The artifact store on any filesystem that fsspec knows."""

from __future__ import annotations

import datetime
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from drystone.artifact_stores import CLOCK, CREATE, ArtifactStore
from drystone.catalogs import providing
from drystone.errors import ArtifactStoreError
from drystone.secrets import Secret

SPOOL = "spool/"
"""Where files stand on their way into a store on another filesystem."""

EXCLUSIVE = ("file", "local")
"""Schemes of URLs where of several writers that create a file one succeeds, since the kernel decides."""

NEAR = ("file", "local", "memory")
"""Schemes of URLs that lead nowhere else, so that a cache of what is there would save nothing."""


@attrs.frozen(kw_only=True)
class FsspecArtifactStore(ArtifactStore):
    """Keeps blobs on any filesystem that fsspec knows, under a URL such as `memory://artifacts` or `gs://team/blobs`.

    Attributes:
        url: Where the blobs are.
        options: Passed to the filesystem; secrets as their texts.
    """

    url: str
    options: dict[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    @property
    def capabilities(self) -> frozenset[str]:
        """When keys were stored; and keys that one of several writers makes, where that is known to work."""
        return frozenset({CLOCK, CREATE} if self.url.partition("://")[0] in EXCLUSIVE else {CLOCK})

    @property
    def is_remote(self) -> bool:
        """Whether the URL leads to another machine."""
        scheme, _, rest = self.url.partition("://")
        return bool(rest) and scheme not in NEAR

    @cached_property
    def filesystem(self) -> tuple[Any, str]:
        """The fsspec filesystem, with the connections it keeps, and the root inside it."""
        import fsspec  # noqa: PLC0415 - costs 0.15 s, and the local stack needs none of it

        given = {name: each.resolve() if isinstance(each, Secret) else each for name, each in self.options.items()}
        options = {"use_listings_cache": False, "skip_instance_cache": True, **given}
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url, **options)
        except Exception as exc:
            remedy = providing(scheme=self.url.partition("://")[0])
            raise ArtifactStoreError(f"The artifact store {self.url!r} cannot be used: {exc}.{remedy}") from exc
        return filesystem, str(root).rstrip("/")

    def check(self) -> Iterator[str]:
        """Whether the filesystem is installed, reached, and keeps what is written; nothing of that stays."""
        try:
            filesystem, root = self.filesystem
            was_there = filesystem.exists(root)
        except Exception as exc:
            yield f"{self.url} cannot be reached: {type(exc).__name__}: {exc}"
            return
        key = f"{SPOOL}check-{os.urandom(8).hex()}"
        try:
            self.write(key, b"check")
            if self.read_range(key, 0, None) != b"check":
                yield f"{self.url} does not give back what was written to it."
        except OSError as exc:
            yield f"{self.url} cannot be written to: {type(exc).__name__}: {exc}"
        finally:
            with suppress(Exception):
                self.delete(key)
            for folder in () if was_there else (f"{root}/{SPOOL.rstrip('/')}", root):
                with suppress(Exception):  # not empty, or not known to this filesystem
                    filesystem.rmdir(folder)

    @contextmanager
    def _at(self, key: str) -> Iterator[tuple[Any, str]]:
        """The filesystem and a key's path in it; what the filesystem raises is translated.

        Raises:
            ValueError: The key could leave the store.
            FileNotFoundError: Nothing is stored under it.
            FileExistsError: It is taken.
            ArtifactStoreError: Anything else went wrong.
        """
        _check(key)
        filesystem, root = self.filesystem
        with self._translated(key):
            yield filesystem, f"{root}/{key}"

    @contextmanager
    def _found(self, key: str) -> Iterator[tuple[Any, str]]:
        """The same for reading, where what is no file is nothing."""
        try:
            with self._at(key) as at:
                yield at
        except (FileExistsError, ArtifactStoreError) as exc:
            if isinstance(exc.__cause__ or exc, IsADirectoryError | NotADirectoryError | FileExistsError):
                raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key) from exc
            raise

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as exc:
            raise ArtifactStoreError(f"The artifact store {self.url!r} cannot be used: {exc}.") from exc

    def upload(self, local_path: Path, key: str) -> None:
        """Store a file, under a name of its own first where the filesystem does not replace whole files."""
        with self._at(key) as (filesystem, path):
            staged = f"{path.removesuffix(key)}{SPOOL}{os.urandom(8).hex()}"
            for each in (staged, path):
                filesystem.makedirs(each.rpartition("/")[0], exist_ok=True)
            try:
                filesystem.put_file(str(local_path), staged)
                self._rename(staged, path)
            except BaseException:
                with suppress(Exception):  # the error that is raised says more
                    filesystem.rm_file(staged)
                raise

    def _rename(self, staged: str, path: str) -> None:
        """Give a file its name; never by what would take the names for patterns."""
        filesystem, _ = self.filesystem
        if "file" in filesystem.protocol:
            os.replace(staged, path)
        elif "memory" in filesystem.protocol:
            filesystem.pipe_file(path, filesystem.cat_file(staged))  # an assignment; its files are visible half-written
            filesystem.rm_file(staged)
        else:
            filesystem.cp_file(staged, path)
            filesystem.rm_file(staged)

    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file."""
        with (
            self._found(key) as (filesystem, path),
            filesystem.open(path, "rb") as source,
            local_path.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        with self._found(key) as (filesystem, path):
            return bytes(filesystem.cat_file(path, start=start, end=None if length is None else start + length))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes in bytes."""
        filesystem, root = self.filesystem
        folder = prefix.rpartition("/")[0]
        if folder:
            _check(folder)
        with self._translated(prefix):
            found = filesystem.find(f"{root}/{folder}" if folder else root, detail=True)
        for path, details in found.items():
            key = str(path)[len(root) :].lstrip("/")
            if key.startswith(prefix) and not key.startswith(SPOOL):
                yield key, int(details["size"])

    def delete(self, key: str) -> None:
        """Remove what is stored under this key."""
        if self.exists(key):
            with self._at(key) as (filesystem, path), suppress(FileNotFoundError):
                filesystem.rm_file(path)

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free."""
        if CREATE not in self.capabilities:
            super().create(key, data)
        with self._at(key) as (_, path):
            self._link(path, data)

    def _link(self, path: str, data: bytes) -> None:
        """Make a file that is whole when it appears; fsspec would check, then write."""
        filesystem, root = self.filesystem
        staged = f"{root}/{SPOOL}{os.urandom(8).hex()}"
        for each in (staged, path):
            filesystem.makedirs(each.rpartition("/")[0], exist_ok=True)
        try:
            with open(staged, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a ledger names it for good
            os.link(staged, path)
        finally:
            Path(staged).unlink(missing_ok=True)

    def modified(self, key: str) -> float:
        """When it was stored, by the clock of the filesystem."""
        with self._found(key) as (filesystem, path):
            if filesystem.info(path)["type"] != "file":
                raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key)
            moment: datetime.datetime = filesystem.modified(path)
            return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()

    def size(self, key: str) -> int | None:
        """The size of what is stored under a key."""
        with suppress(FileNotFoundError), self._found(key) as (filesystem, path):
            found = filesystem.info(path)
            return int(found["size"]) if found["type"] == "file" else None
        return None


def _check(key: str) -> None:
    if "\\" in key or "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise ValueError(f"{key!r} is not a key of an artifact store: it must be a relative path of plain names.")
