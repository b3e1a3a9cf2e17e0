"""The artifact store on any filesystem that fsspec knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from drystone.errors import ArtifactStoreError
from drystone.kinds import ArtifactStore
from drystone.secrets import Secret

SPOOL = "spool/"
"""Where files stand on their way into a store on another filesystem."""


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
        """Keys that one of several writers makes, where the filesystem promises them."""
        return frozenset({"create"})

    @cached_property
    def filesystem(self) -> tuple[Any, str]:
        """The fsspec filesystem, with the connections it keeps, and the root inside it."""
        import fsspec  # noqa: PLC0415 - costs 0.15 s, and the local stack needs none of it

        given = {name: each.resolve() if isinstance(each, Secret) else each for name, each in self.options.items()}
        options = {"use_listings_cache": False, "skip_instance_cache": True, **given}
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url, **options)
        except (ImportError, ValueError) as exc:
            raise ArtifactStoreError(f"The artifact store {self.url!r} cannot be used: {exc}.") from exc
        return filesystem, str(root).rstrip("/")

    def _file(self, key: str) -> tuple[Any, str]:
        """The filesystem and a key's path in it; refuses a key that could leave the store."""
        if "\\" in key or "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise ValueError(f"{key!r} is not a key of an artifact store: it must be a relative path of plain names.")
        filesystem, root = self.filesystem
        return filesystem, f"{root}/{key}"

    def check(self) -> Iterator[str]:
        """Whether the filesystem is installed, reached, and keeps what is written; nothing of that stays."""
        filesystem, root = self.filesystem
        was_there, key = filesystem.exists(root), f"{SPOOL}check-{os.urandom(8).hex()}"
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

    def upload(self, local_path: Path, key: str) -> None:
        """Store a file, under a name of its own first where the filesystem does not replace whole files."""
        filesystem, path = self._file(key)
        staged = f"{path.removesuffix(key)}{SPOOL}{os.urandom(8).hex()}"
        for each in (staged, path):
            filesystem.makedirs(each.rpartition("/")[0], exist_ok=True)
        try:
            filesystem.put_file(str(local_path), staged)
            filesystem.mv(staged, path)
        except BaseException:
            with suppress(Exception):  # the error that is raised says more
                filesystem.rm_file(staged)
            raise

    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file."""
        filesystem, path = self._file(key)
        with filesystem.open(path, "rb") as source, local_path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        filesystem, path = self._file(key)
        return bytes(filesystem.cat_file(path, start=start, end=None if length is None else start + length))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes in bytes."""
        filesystem, root = self.filesystem
        folder = prefix.rpartition("/")[0]
        start = self._file(folder)[1] if folder else root
        for path, details in filesystem.find(start, detail=True).items():
            key = str(path)[len(root) :].lstrip("/")
            if key.startswith(prefix) and not key.startswith(SPOOL):
                yield key, int(details["size"])

    def delete(self, key: str) -> None:
        """Remove what is stored under this key."""
        if self.exists(key):
            filesystem, path = self._file(key)
            filesystem.rm_file(path)

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free."""
        filesystem, path = self._file(key)
        filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        if "file" not in filesystem.protocol:
            filesystem.pipe_file(path, data, mode="create")
            return
        with open(path, "xb") as file:  # fsspec checks, then writes; the kernel does both at once
            file.write(data)

    def size(self, key: str) -> int | None:
        """The size of what is stored under a key."""
        filesystem, path = self._file(key)
        with suppress(FileNotFoundError, NotADirectoryError):
            found = filesystem.info(path)
            return int(found["size"]) if found["type"] == "file" else None
        return None
