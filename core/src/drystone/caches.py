"""The cache of blobs from artifact stores elsewhere: one for all stores, workspaces and processes of a user.

A blob stands under its digest, so whoever has fetched it has fetched it for all. It arrives under another name, is
hashed there, and is renamed: whatever was killed on the way left nothing under a digest. Whoever fetches a blob, or
reads one, holds a lock of the operating system on its file, which ends with its process.

The access time of a file says when it was last used, and is set by hand since many systems do not keep it; the
modification time says when its content was last checked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import attrs
from blake3 import blake3

from drystone.errors import StackError

HOME = "DRYSTONE_CACHE"
"""The environment variable that puts the cache elsewhere than the user's other caches."""

SIZE = "DRYSTONE_CACHE_SIZE"
"""The environment variable that says how large the cache may become, as in `20GiB`; 0 switches it off."""

LARGEST = 10 << 30
"""How large it may become where nobody says so, unless a tenth of its disk is less."""

CHECKED = 64 << 20
"""Blobs up to this size are hashed whenever they are read; larger ones are mapped, and `verify` hashes them."""

ARRIVING, SPOOL = "arriving", "spool"
"""Directories for files on their way into the cache, and into stores."""

LEFT = 7 * 24 * 3600
"""Seconds after which nobody is still writing a file of the spool."""

SWEPT = 0.9
"""What a sweep leaves of the size that the cache may have, so that the next one is some time off."""

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    f"{prefix}iB": 1 << 10 * power for power, prefix in enumerate("KMGT", start=1)
}


def file_digest(path: Path) -> str:
    """The BLAKE3 digest of a file's content, read by mapping it."""
    return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def is_whole(file: Path, digest: str, size: int, limit: int) -> bool:
    """Whether a file has the right size and, if it is no larger than the limit, the right content."""
    found = file.stat().st_size
    return found == size and (found > limit or file_digest(file) == digest)


def directory() -> Path:
    """Where this user's cache is: `DRYSTONE_CACHE`, or `drystone` in `XDG_CACHE_HOME`, or in `~/.cache`."""
    if text := os.environ.get(HOME):
        return Path(text).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME", "")
    # of a user without a home it is a directory that nobody can make, rather than one where they happen to be
    return Path("/", home if os.path.isabs(home) else os.path.expanduser("~/.cache"), "drystone")


def allowed_size() -> int:
    """How many bytes the cache may have.

    Raises:
        StackError: `DRYSTONE_CACHE_SIZE` is no size.
    """
    text = os.environ.get(SIZE, "").strip()
    if not text:
        there = next(each for each in (directory(), *directory().parents) if each.exists())
        return min(LARGEST, shutil.disk_usage(there).total // 10)
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([A-Za-z]*)", text)
    units = {name.lower(): factor for name, factor in UNITS.items()}
    if found is None or found[2].lower() not in units:
        raise StackError(
            f"{SIZE} is {text!r}, which is no size. Write a number of bytes, or one with a unit ({', '.join(UNITS)[2:]}"
            "), as 20GiB; 0 switches the cache of blobs off."
        )
    return int(float(found[1]) * units[found[2].lower()])


class DamagedError(Exception):
    """What arrived is not what its digest says; never leaves core."""


@attrs.frozen(kw_only=True)
class CacheInfo:
    """What the cache holds.

    Attributes:
        path: Its directory.
        files: How many blobs it has.
        size: How many bytes they have.
        limit: How many they may have.
    """

    path: Path
    files: int
    size: int
    limit: int


@attrs.frozen
class BlobCache:
    """Blobs as files that can be mapped, the latest used of which are kept.

    Attributes:
        root: Its directory.
        limit: How many bytes it may have; with 0 it keeps nothing.
    """

    root: Path
    limit: int

    def find(self, digest: str, size: int, checked: int = CHECKED) -> BinaryIO | None:
        """A file with a blob's content, which stays as long as it is open; None if the cache has it not.

        Args:
            digest: That of the blob.
            size: Its size in bytes.
            checked: Up to which size it is hashed.
        """
        file = self._opened(digest)
        with suppress(OSError):
            if file is None or self._is_good(Path(file.name), digest, size, checked):
                return file
        if file is not None:
            file.close()
        return None

    def _opened(self, digest: str) -> BinaryIO | None:
        """An open file that is locked against eviction; None if there is none, or if it goes at this moment."""
        try:
            file = self._path(digest).open("rb")
        except OSError:
            return None
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file.fileno()).st_nlink:
                return file
        file.close()
        return None

    def _is_good(self, path: Path, digest: str, size: int, checked: int) -> bool:
        """Whether a file is the blob; it then counts as used, else it goes.

        A large one is hashed once more after the machine was started: what was renamed before a power failure may
        not have reached the disk.
        """
        found = path.stat()
        unchecked = size <= checked or found.st_mtime < _started()
        if not is_whole(path, digest, size, size if unchecked else 0):
            path.unlink(missing_ok=True)
            return False
        now = time.time_ns()
        os.utime(path, ns=(now, now if unchecked else found.st_mtime_ns))
        return True

    def fetch(self, digest: str, size: int, download: Callable[[Path], None]) -> BinaryIO | None:
        """The same, downloaded if the cache has it not; of several who want it one downloads, the others wait for it.

        None if the cache cannot keep it: it is larger than the cache may be, the disk is full or cannot be written to.

        Args:
            digest: That of the blob.
            size: Its size in bytes.
            download: Writes the content to a path; what it raises is raised here.

        Raises:
            DamagedError: What was downloaded is not the blob.
        """
        found = self.find(digest, size)
        if found is not None or size > self.limit:
            return found
        with self._arriving(digest) as arriving:
            found = self.find(digest, size)
            if found is not None or arriving is None or not self._has_room(size):
                return found
            try:
                download(arriving)
            except Exception as exc:
                if _is_full(exc):
                    return None
                raise
            return self._land(arriving, digest, size)

    def _land(self, arriving: Path, digest: str, size: int) -> BinaryIO | None:
        """Check what has arrived, and give it its name; what is locked is not evicted before it is opened by that."""
        if not is_whole(arriving, digest, size, size):
            raise DamagedError(digest)
        with suppress(OSError), arriving.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            self._name(arriving, digest, size)
            return self._opened(digest)
        return None

    def _name(self, arriving: Path, digest: str, size: int) -> None:
        """Give a file its name, in the place of others if they become too many.

        Its bytes are counted first, so that a crash makes the count too high and never too low. One small file is read
        and written for that; all others are listed when there are too many of them, which is once for each tenth of
        the cache that is new.
        """
        with self._counter() as counter:
            counted = _counted(counter)
            if counted + size > self.limit:
                counted = self._sweep(counter, self.limit * SWEPT - size)
            _count(counter, counted + size)
            os.utime(arriving)
            arriving.replace(self._path(digest))

    def keep(self, digest: str, source: Path | bytes) -> None:
        """Keep what has just been stored elsewhere, if that costs next to nothing: a link to a file, or a few bytes."""
        with suppress(OSError):
            size = len(source) if isinstance(source, bytes) else source.stat().st_size
            if size > self.limit or self._path(digest).exists():
                return
            with self._arriving(digest) as arriving:
                if arriving is not None and self._has_room(size):
                    if isinstance(source, bytes):
                        arriving.write_bytes(source)
                    else:
                        os.link(source, arriving)
                    self._name(arriving, digest, size)

    @property
    def spool(self) -> Path:
        """A directory for files on their way into a store; on the disk of the cache, which can then keep them."""
        with suppress(OSError):
            self._make()
            if self.limit and os.access(self.root / SPOOL, os.W_OK):
                return self.root / SPOOL
        return Path(tempfile.gettempdir())

    def info(self) -> CacheInfo:
        """What it holds; this looks at every file."""
        sizes = [found.st_size for _, found in self._files()]
        return CacheInfo(path=self.root, files=len(sizes), size=sum(sizes), limit=self.limit)

    def clear(self) -> None:
        """Remove what nobody is reading."""
        with suppress(OSError), self._counter() as counter:
            self._sweep(counter, 0)

    def _path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest

    @contextmanager
    def _arriving(self, digest: str) -> Iterator[Path | None]:
        """A path for a blob on its way, for one process alone; others wait. None where the cache cannot be written to.

        What a process left there that was killed is in nobody's way.
        """
        arriving, lock = self.root / ARRIVING / digest, self.root / ARRIVING / f"{digest}.lock"
        try:
            self._make()
            handle = _locked(lock)
        except OSError:
            yield None
            return
        try:
            yield arriving
        finally:
            _release(handle, arriving, lock)

    def _make(self) -> None:
        """Make the directories, for nobody else to look into."""
        if not (self.root / SPOOL).exists():
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in (ARRIVING, *(f"{number:02x}" for number in range(256)), SPOOL):
                (self.root / name).mkdir(exist_ok=True)

    @contextmanager
    def _counter(self) -> Iterator[BinaryIO]:
        """The file that says how many bytes the cache has, for one process alone."""
        handle = _locked(self.root / "size", keep=True)
        with os.fdopen(handle, "r+b", buffering=0) as counter:
            yield counter

    def _has_room(self, size: int) -> bool:
        """Whether the disk has room for so many bytes more, if need be in the place of others."""
        with suppress(OSError):
            short = size - shutil.disk_usage(self.root).free
            if short <= 0:
                return True
            with self._counter() as counter:
                left = self._sweep(counter, 1 << 62)
                return left > short and self._sweep(counter, left - short) <= left - short
        return False

    def _sweep(self, counter: BinaryIO, most: float) -> int:
        """Remove what was used longest ago until no more bytes than these are left; returns how many are."""
        for lock in (self.root / ARRIVING).glob("*.lock"):
            with suppress(OSError):  # somebody is fetching it
                _release(_locked(lock, wait=False), lock.with_suffix(""), lock)
        for spooled in (self.root / SPOOL).iterdir():
            with suppress(OSError):
                if time.time() - spooled.stat().st_mtime > LEFT:
                    spooled.unlink()
        files = sorted(self._files(), key=lambda each: each[1].st_atime_ns)
        left = sum(found.st_size for _, found in files)
        for path, found in files:
            if left <= most:
                break
            left -= found.st_size * _evicted(path)
        _count(counter, left)
        return left

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        for number in range(256):
            with suppress(OSError):
                for entry in os.scandir(self.root / f"{number:02x}"):
                    with suppress(FileNotFoundError):
                        yield entry.path, entry.stat()


def blob_cache() -> BlobCache:
    """The cache of this user.

    Raises:
        StackError: `DRYSTONE_CACHE_SIZE` is no size.
    """
    return BlobCache(directory() / "blobs", allowed_size())


def _started() -> float:
    """When the machine was started, or later: the clock may stand still while it sleeps."""
    return time.time() - time.monotonic()


def _locked(path: Path, *, keep: bool = False, wait: bool = True) -> int:
    """An open file that is locked for this process alone, and has not been removed by who held it before."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if keep or os.fstat(handle).st_nlink:
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _counted(counter: BinaryIO) -> int:
    """How many bytes the cache has; more than any may have, if nobody knows."""
    text = os.pread(counter.fileno(), 32, 0)
    return int(text) if text.isdigit() else 1 << 62


def _count(counter: BinaryIO, size: int) -> None:
    os.pwrite(counter.fileno(), f"{size:032}".encode(), 0)


def _release(handle: int, arriving: Path, lock: Path) -> None:
    """Let go of a lock, with whatever is left of what it was for."""
    with suppress(OSError):
        arriving.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    fcntl.flock(handle, fcntl.LOCK_UN)  # closing would not do that where a child has inherited it
    os.close(handle)


def _evicted(path: str) -> bool:
    """Remove a file, unless somebody is reading it; a mapping of it stays."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    except OSError:
        return False
    return True


def _is_full(exc: BaseException | None) -> bool:
    """Whether an exception, or what it was made of, says that the disk is full."""
    while exc is not None:
        if getattr(exc, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
