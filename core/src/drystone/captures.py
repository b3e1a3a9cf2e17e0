"""What a step prints, kept: by file descriptor where the step has the process to itself, else by context."""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

LIMIT = 16 << 20
"""Bytes of a step's log that are kept; of a longer one the beginning and the end."""

FOLLOW = 0.1
"""Seconds between two looks at the output of a running step, on a terminal."""


class Log:
    """The output of one step while it runs.

    Attributes:
        file: Where it goes; a file of its own, since a child that outlives the step writes on.
        streams: What may hold some of it in their buffers.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr)

    def read(self) -> bytes:
        """What was printed, also through streams of before the step; of over `LIMIT` bytes the two ends."""
        self.flush()
        size = os.fstat(self.file.fileno()).st_size
        if size <= LIMIT:
            return os.pread(self.file.fileno(), size, 0)
        half = LIMIT // 2
        head, tail = os.pread(self.file.fileno(), half, 0), os.pread(self.file.fileno(), half, size - half)
        return head + f"\n… {size - LIMIT} bytes left out …\n".encode() + tail

    def flush(self) -> None:
        """Empty the buffers of the streams that are there and open."""
        for stream in filter(None, self.streams):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


@contextlib.contextmanager
def captured(*, exclusive: bool, path: str | None = None) -> Iterator[Log]:
    """Collect what is printed inside the block, and pass it on to where it would have gone.

    Args:
        exclusive: Nothing else runs in this process meanwhile, so file descriptors 1 and 2 can be redirected, which
            catches C extensions and child processes too.
        path: The file to collect it in, for others to follow; where it cannot be made, or none is given, nobody can.
    """
    with _file(path) as file:
        log = Log(file)
        with _descriptors(log) if exclusive and _have_descriptors() else _context(log):
            yield log


def _file(path: str | None) -> IO[bytes]:
    if path is not None:
        with contextlib.suppress(OSError):
            try:
                return open(path, "w+b", buffering=0)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                return open(path, "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _have_descriptors() -> bool:
    """Whether file descriptors 1 and 2 are the standard streams; of a process that lacks them they may be any file."""
    return all(stream is not None and not stream.closed for stream in (sys.__stdout__, sys.__stderr__))


@contextlib.contextmanager
def _descriptors(log: Log) -> Iterator[None]:
    log.flush()
    former, saved = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    for descriptor in (1, 2):
        os.dup2(log.file.fileno(), descriptor)
    # Whoever holds on to this stream afterwards, such as a logging handler, writes to where descriptor 1 then leads.
    own = sys.stdout = sys.stderr = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    log.streams = (*former, own)
    follower = _Follower(log, saved[0]) if os.isatty(saved[0]) else None
    try:
        yield
    finally:
        printed = log.read()
        sys.stdout, sys.stderr = former
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
        if follower is not None:
            follower.stop()
        elif printed:
            _pass_on(sys.stdout, printed)
        for original in saved:
            os.close(original)


def _pass_on(stream: TextIO | None, printed: bytes) -> None:
    """Write to a stream, byte by byte where it can; nobody may read it any more, and the log has everything."""
    with contextlib.suppress(OSError, ValueError):
        if stream is None:
            return
        if hasattr(stream, "buffer"):
            stream.buffer.write(printed)
        else:
            stream.write(printed.decode("utf-8", "replace"))
        stream.flush()


class _Follower:
    """Copies a growing log to a terminal."""

    def __init__(self, log: Log, terminal: int) -> None:
        self._log, self._terminal, self._copied = log, terminal, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="drystone-log", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._done.wait(FOLLOW):
            self._copy()

    def _copy(self) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            while data := os.pread(self._log.file.fileno(), 1 << 16, self._copied):
                self._copied += os.write(self._terminal, data)

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._copy()


_log: contextvars.ContextVar[Log | None] = contextvars.ContextVar("drystone_log", default=None)


class _ContextStream(io.TextIOBase):
    """A standard stream that writes to the log of the step whose context it is used in."""

    lock = threading.Lock()
    users = 0

    def __init__(self, original: TextIO | None) -> None:
        self.original = original

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        log = _log.get()
        if log is not None:
            with contextlib.suppress(ValueError):  # its step is over, but not the thread that writes
                log.file.write(text.encode("utf-8", "backslashreplace"))
        if self.original is not None:
            with contextlib.suppress(OSError, ValueError) if log is not None else contextlib.nullcontext():
                self.original.write(text)
        return len(text)

    def flush(self) -> None:
        if self.original is not None:
            with contextlib.suppress(OSError, ValueError):
                self.original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


@contextlib.contextmanager
def _context(log: Log) -> Iterator[None]:
    _share(1)
    token = _log.set(log)
    try:
        yield
    finally:
        _log.reset(token)
        _share(-1)


def _share(users: int) -> None:
    """Put context streams before the standard ones with the first user, and take them away with the last."""
    with _ContextStream.lock:
        if _ContextStream.users == 0:
            sys.stdout, sys.stderr = _ContextStream(sys.stdout), _ContextStream(sys.stderr)
        _ContextStream.users += users
        if _ContextStream.users == 0:
            sys.stdout = getattr(sys.stdout, "original", sys.stdout)
            sys.stderr = getattr(sys.stderr, "original", sys.stderr)


def kept(path: Path) -> bytes:
    """What a log file holds, as `Log.read` keeps it."""
    with path.open("rb") as file:
        return Log(file).read()
