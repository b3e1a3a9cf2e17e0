"""Keeps blobs as files of this machine."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from drystone import ArtifactStore, Place
from drystone.errors import ArtifactStoreError, StackError

SPOOL = "spool"
"""The directory for files on their way; on the same disk as the blobs, so that a rename lands them."""

PREFIXES = [f"{number:02x}" for number in range(256)]
"""What the names of the directories of blobs may be."""

IDENTITY = "store-id"
"""The file that holds what tells this store from others."""

LEFT = 7 * 24 * 3600
"""Seconds after which nobody is still writing a file of the spool."""

LEAST = 256 << 20
"""Bytes that must be free on its disk for a store to be fit for use."""

FEW = 16
"""So many files are flushed one by one, each a wait of about a millisecond."""


def _check_path(instance: LocalArtifactStore, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and (not value or "://" in value):
        raise StackError(
            f"LocalArtifactStore({value!r}): it takes a directory. For a URL, use the artifact store of a plugin or "
            "FsspecArtifactStore(url=…)."
        )


@attrs.frozen
class LocalArtifactStore(ArtifactStore):
    """Keeps blobs as files below a directory.

    Every file lands by a rename, so that whatever stands under a key is whole.

    Attributes:
        path: The directory; a relative one starts at the project's root. By default `artifacts` in the workspace.
    """

    path: str | None = attrs.field(default=None, converter=attrs.converters.optional(os.fspath), validator=_check_path)

    def at(self, place: Place) -> LocalArtifactStore:
        """This store with an absolute path."""
        if self.path is None:
            return LocalArtifactStore(os.path.abspath(place.workspace / "artifacts"))
        return LocalArtifactStore(os.path.abspath(place.root / os.path.expanduser(self.path)))

    @property
    def capabilities(self) -> frozenset[str]:
        """Keys that one of several writers makes, files to be mapped, and when they were stored."""
        return frozenset({"create", "mapping", "clock"})

    @cached_property
    def root(self) -> str:
        """The directory, absolute.

        Raises:
            StackError: The path depends on a place, and none is known yet.
        """
        if self.path is None or not os.path.isabs(self.path):
            raise StackError(
                f"{self!r} has no directory yet: its path depends on the project it is used in. Let a stack use it, "
                "bind it with at(place), or give it an absolute path."
            )
        return self.path

    def check(self) -> Iterator[str]:
        """Whether the directory is there or can be made, can be written to, and has space left; makes nothing."""
        root = Path(self.root)
        there = next(each for each in (root, *root.parents) if each.exists())
        if not there.is_dir():
            yield f"{there} is a file, so there can be no artifact store in {root}. Choose another path."
            return
        try:
            with tempfile.TemporaryFile(dir=there) as probe:
                probe.write(b"check")
        except OSError as exc:
            yield f"{there} cannot be written to: {exc.strerror}. Change its permissions, or choose another path."
        free = shutil.disk_usage(there).free
        if free < LEAST:
            yield f"The disk of {there} has only {free >> 20} MiB left. Make space, or choose another path."

    @cached_property
    def identity(self) -> str:
        """`local:` and a random id, kept in the store when it is first asked for."""
        file = Path(self.root, IDENTITY)
        with suppress(FileExistsError):
            if not file.exists():
                self._land(_fill, f"local:{os.urandom(16).hex()}\n".encode(), str(file), os.link)
                _flush(str(file))
        return file.read_text(encoding="ascii").strip()

    @cached_property
    def spool(self) -> Path:
        """A directory beside the blobs; what a process that was killed left in it a week ago is removed."""
        spool = Path(self.root, SPOOL)
        with suppress(OSError):
            for found in os.scandir(spool):
                if not found.name.endswith(".damaged") and time.time() - found.stat().st_mtime > LEFT:
                    os.unlink(found)
        return spool

    def upload(self, local_path: Path, key: str) -> None:
        """Take a file of the spool by renaming it; copy any other."""
        target = self._file(key)
        if local_path.parent == self.spool:
            # what is spooled is private; the directory shows what the process would give to a file it makes
            os.chmod(local_path, os.stat(self.spool).st_mode & 0o666)
            self._change(target, os.replace, local_path, target)
        else:
            self._land(shutil.copyfile, local_path, target, os.replace)

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes."""
        self._land(_fill, data, self._file(key), os.replace)

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free: of several links of that name the kernel makes one."""
        self._land(_fill, data, self._file(key), os.link)

    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file."""
        if not self.exists(key):
            raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key)
        shutil.copyfile(self._file(key), local_path)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        try:
            with open(self._file(key), "rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except (IsADirectoryError, NotADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key) from None

    def size(self, key: str) -> int | None:
        """The size of what is stored under a key."""
        try:
            found = os.stat(self._file(key))
            return found.st_size if stat.S_ISREG(found.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def modified(self, key: str) -> float:
        """When it was stored, by the clock of the filesystem."""
        if not self.exists(key):
            raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", key)
        return os.stat(self._file(key)).st_mtime

    def local_path(self, key: str) -> Path:
        """The file itself; it must not be written to."""
        return Path(self._file(key))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes."""
        folder = prefix.rpartition("/")[0]
        start = self._file(folder) if folder else self.root
        for key, size in _files(start, f"{folder}/" if folder else ""):
            if key.startswith(prefix) and not _is_internal(key):
                yield key, size

    def delete(self, key: str) -> None:
        """Remove what is stored under this key."""
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._file(key))

    def sync(self, keys: Iterable[str]) -> None:
        """Flush files and the directories that name them: few one by one, many by one flush of the whole disk."""
        files = {self._file(key) for key in keys}
        if len(files) > FEW and _flush_disk(self.root):
            return
        for path in (*files, *{os.path.dirname(file) for file in files}):
            _flush(path)

    def _file(self, key: str) -> str:
        inside = f"/{key}/"
        if "//" in inside or "/./" in inside or "/../" in inside or "\\" in key or "\0" in key or _is_internal(key):
            raise ValueError(
                f"{key!r} is not a key of a local artifact store: it must be a relative path of plain names, none of "
                f"which the store keeps for itself ({SPOOL}/…, {IDENTITY})."
            )
        return f"{self.root}/{key}"

    def _land(
        self, fill: Callable[[Any, str], object], content: Any, target: str, land: Callable[[str, str], None]
    ) -> None:
        """Fill a file of the spool, and give it its name once it is whole."""
        staged = f"{self.root}/{SPOOL}/{os.urandom(8).hex()}"
        try:
            self._change(staged, fill, content, staged)
            self._change(target, land, staged, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged)
            raise
        if land is os.link:
            os.unlink(staged)

    def _change(self, path: str, change: Callable[..., object], *arguments: Any) -> None:
        """Call what needs the directory of a path, which is made when it turns out to be missing."""
        try:
            try:
                change(*arguments)
            except FileNotFoundError:
                self._make_directories(os.path.dirname(path))
                change(*arguments)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError as exc:
            raise ArtifactStoreError(f"The artifact store {self.root} cannot be written to: {exc}.") from exc

    def _make_directories(self, needed: str) -> None:
        """Make a directory; of those for blobs all at once, so that this happens once and not for each of them."""
        blobs, _, prefix = needed.rpartition("/")
        if blobs == f"{self.root}/blobs" and prefix in PREFIXES:
            for each in PREFIXES:
                os.makedirs(f"{blobs}/{each}", exist_ok=True)
        os.makedirs(needed, exist_ok=True)


def _is_internal(key: str) -> bool:
    return key in (IDENTITY, SPOOL) or key.startswith(f"{SPOOL}/")


def _fill(data: bytes, path: str) -> None:
    """Write a new file with bare system calls: a file object would cost more than the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, memoryview(data)[written:])
    finally:
        os.close(handle)


def _files(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Files below a folder as keys with sizes; what vanishes meanwhile is left out."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files(entry.path, f"{prefix}{entry.name}/")
            continue
        with suppress(FileNotFoundError):
            yield f"{prefix}{entry.name}", entry.stat().st_size


def _flush(path: str) -> None:
    """Make a file or directory survive a power failure, if it is there."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_disk(folder: str) -> bool:
    """Make everything on the disk of a folder survive a power failure; whether the system can do that."""
    import ctypes  # noqa: PLC0415 - most runs make few files

    flush = getattr(ctypes.CDLL(None), "syncfs", None)  # of Linux
    if flush is None:
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        return int(flush(handle)) == 0
    finally:
        os.close(handle)
