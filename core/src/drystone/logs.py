"""Logs of steps as files: bounded on the disk while they grow, followed meanwhile, and of long ones the two ends."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

LIMIT = 16 << 20
"""Bytes of a step's log that are kept; of a longer one the beginning and the end."""

HALF = LIMIT // 2

SLACK = 4 << 20
"""Bytes that a growing log may take up on the disk beyond `LIMIT` before its middle is freed."""

PIECE = 1 << 20
"""Bytes that are read at once."""

BLOCK = 1 << 16
"""Holes begin and end at multiples of this, so that they are holes and not zeros, whatever the filesystem's blocks."""

KEEP_SIZE, PUNCH_HOLE = 1, 2
"""What Linux calls the two halves of freeing the middle of a file."""

F_PUNCHHOLE = 99
"""What macOS calls it."""


def live_path(directory: Path, run: str, step: str, attempt: int) -> Path:
    """Where, below a workspace's directory, the log of an attempt at a step is while that runs."""
    return directory / "live" / quote(run, safe="") / f"{quote(step, safe='[]')}-{attempt}.log"


def step_of(path: Path) -> str:
    """The step whose log is at such a path."""
    return unquote(path.stem.rpartition("-")[0])


def read_log(file: int) -> bytes:
    """What a log holds; of over `LIMIT` bytes the two ends, and between them how much is missing."""
    size = os.fstat(file).st_size
    if size <= LIMIT:
        return os.pread(file, size, 0)
    return os.pread(file, HALF, 0) + _left_out(size - LIMIT) + os.pread(file, HALF, size - HALF)


def read_log_file(path: Path | str) -> bytes:
    """What a log holds whose worker may have died; nothing if there is none."""
    with suppress(OSError), open(path, "rb", buffering=0) as file:
        return read_log(file.fileno())
    return b""


def _left_out(size: int) -> bytes:
    return f"\n… {size} bytes left out …\n".encode()


def bound_log_file(path: Path | str) -> None:
    """Keep somebody else's log from filling the disk; to be called while that grows, ten times a second.

    A worker bounds its own, but not while a C extension that prints keeps the interpreter's lock.
    """
    with suppress(OSError), open(path, "r+b", buffering=0) as file:
        bound(file.fileno())


def bound(file: int) -> None:
    """Free the middle of a log that takes up too much of the disk. Its ends stay, and all positions in it."""
    status = os.fstat(file)
    end = (status.st_size - HALF) // BLOCK * BLOCK
    if status.st_blocks * 512 <= LIMIT + SLACK or end <= HALF:
        return
    try:
        _punch(file, HALF, end - HALF)
    except OSError:
        _cut(file, status.st_size)


def _punch(file: int, start: int, length: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(file, F_PUNCHHOLE, struct.pack("IIqq", 0, 0, start, length))
        return
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        raise OSError(errno.ENOSYS, "this C library cannot free parts of a file")
    if fallocate(file, KEEP_SIZE | PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "the middle of the file cannot be freed")


def _cut(file: int, size: int) -> None:
    """What is left where a filesystem knows no holes: move the end. What is printed in this instant may be lost."""
    end = os.pread(file, HALF, size - HALF)
    os.ftruncate(file, HALF)
    os.pwrite(file, _left_out(size - LIMIT) + end, HALF)


def read_on(file: int, position: int) -> tuple[bytes, int]:
    """The next piece of a growing log, and the position behind it. It is empty if there is no more yet.

    What was freed before it could be read is told as missing.
    """
    while position < (size := os.fstat(file).st_size):
        start = min(os.lseek(file, position, os.SEEK_DATA), size)
        if start > position:
            return _left_out(start - position), start
        piece = os.pread(file, PIECE, position)
        piece = piece[: os.lseek(file, position, os.SEEK_HOLE) - position]  # behind that it was freed meanwhile
        if piece:
            return piece, position + len(piece)
    return b"", min(position, size)


class LogReader:
    """Reads a log while it grows, and what it held to the end when it is gone, if it was found before.

    Attributes:
        was_found: Whether it has ever been there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._position = 0
        self.was_found = False

    def read(self) -> bytes:
        """What was added since the last call, or some of it; empty if there is nothing more yet."""
        if self._file is None:
            with suppress(OSError):
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self.was_found = True
        if self._file is None:
            return b""
        with suppress(OSError):  # where somebody shortens it in this moment
            piece, self._position = read_on(self._file, self._position)
            return piece
        return b""

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
