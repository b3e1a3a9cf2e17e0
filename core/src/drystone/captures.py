"""What a step prints, kept: by file descriptor where the step has the process to itself, else by context."""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from drystone.logs import bound, read_log, read_on

INTERVAL = 0.1
"""Seconds between two looks at the logs of running steps."""

EARLY, QUICK = 1.0, 0.005
"""Seconds at the beginning of a step, and between two looks in them."""

FLOOD = 10 << 20
"""Bytes per second beyond which what is printed is written in groups of lines, as into any file."""

BURST = 1 << 16
"""Bytes that are no flood, however fast they come."""


class Log:
    """The output of one step while it runs.

    Attributes:
        file: Where it goes; a file of its own, since a child that outlives the step writes on.
        streams: What may hold some of it in their buffers.
        own: The stream that stands for descriptor 1, if there is one.
        terminal: The descriptor of a terminal that it is to appear on meanwhile, or None.
        postscript: What is to stand behind all that was printed.
        content: All of it, or of a long log the two ends; known at the end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr)
        self.own: io.TextIOWrapper | None = None
        self.terminal: int | None = None
        self.postscript = self.content = b""
        self.began = self._looked = time.monotonic()
        self._size = self._shown = 0

    def flush(self) -> None:
        """Empty the buffers of the streams that are there and open."""
        for stream in filter(None, self.streams):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()

    def look(self) -> None:
        """Keep it from filling the disk, and let others see what there is."""
        with contextlib.suppress(OSError, ValueError):
            bound(self.file.fileno())
            if self.own is not None:
                self.own.reconfigure(line_buffering=not self._is_flood())  # which empties its buffer, too
        self.show()

    def _is_flood(self) -> bool:
        """Whether so much was printed since this was last asked that a system call per line would take most time."""
        now, size = time.monotonic(), os.fstat(self.file.fileno()).st_size
        took, grown = now - self._looked, size - self._size
        self._looked, self._size = now, size
        return grown > max(BURST, FLOOD * took)

    def show(self) -> None:
        """Copy what is new to the terminal."""
        if self.terminal is None:
            return
        with contextlib.suppress(OSError):  # the terminal may be gone
            while True:
                piece, self._shown = read_on(self.file.fileno(), self._shown)
                if not piece:
                    return
                while piece:
                    piece = piece[os.write(self.terminal, piece) :]


class _Watch:
    """Looks at the logs of running steps from time to time: one thread, which stays as long as the process."""

    def __init__(self) -> None:
        self._logs: list[Log] = []
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_idle = False

    def _run(self) -> None:
        idle = 0.0
        while True:
            with self._lock:
                self._is_idle = idle > EARLY
                while self._is_idle and not self._logs:
                    self._lock.wait()
                self._is_idle = False
                now = time.monotonic()
                for log in self._logs:
                    if now - log.began > QUICK:
                        log.look()
                pause = QUICK if not self._logs or now - self._logs[-1].began < EARLY else INTERVAL
                idle = 0.0 if self._logs else idle + pause
            time.sleep(pause)

    @contextlib.contextmanager
    def over(self, log: Log) -> Iterator[None]:
        """Look at a log inside the block, and never when it is closed.

        To wake the thread costs as much as a short step, so it stays awake while one follows the other.
        """
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="drystone-logs", daemon=True)
                self._thread.start()
            self._logs.append(log)
            if self._is_idle:
                self._lock.notify()
        try:
            yield
        finally:
            with self._lock:
                if log in self._logs:
                    self._logs.remove(log)

    def hold(self) -> None:
        """Let nothing be half written, nor wait in a buffer to be written twice, when the process forks."""
        self._lock.acquire()
        for log in self._logs:
            log.flush()

    def go_on(self) -> None:
        """Continue in the process that forked."""
        self._lock.release()


_watch = _Watch()
os.register_at_fork(before=_watch.hold, after_in_parent=_watch.go_on, after_in_child=_watch.__init__)  # type: ignore[misc]


@contextlib.contextmanager
def captured(*, exclusive: bool, path: Path | str | None = None) -> Iterator[Log]:
    """Collect what is printed inside the block, and pass it on to where it would have gone.

    Args:
        exclusive: Nothing else runs in this process meanwhile, so file descriptors 1 and 2 can be redirected, which
            catches C extensions and child processes too.
        path: The file to collect it in, for others to follow; it stays. Where it cannot be made, and by default,
            a temporary file does.
    """
    with _opened(path) as file:
        log = Log(file)
        with _descriptors(log) if exclusive and _have_descriptors() else _context(log):
            yield log
        with contextlib.suppress(OSError):  # the disk may be full, but not what is stored
            file.write(log.postscript)
        log.content += log.postscript


def _opened(path: Path | str | None) -> IO[bytes]:
    """A new file; whoever writes to it appends, so that its end can be moved."""
    if path is not None:
        with contextlib.suppress(OSError):
            try:
                return _made(path)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            except FileExistsError:  # of a dead attempt, whose orphans may still write to it
                os.unlink(path)
            return _made(path)
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


def _made(path: Path | str) -> IO[bytes]:
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666), "r+b", 0)


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
    log.own = sys.stdout = sys.stderr = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    log.streams = (*former, log.own)
    log.terminal = saved[0] if os.isatty(saved[0]) else None
    try:
        with _watch.over(log):
            yield
    finally:
        log.flush()
        with contextlib.suppress(ValueError):
            log.own.reconfigure(line_buffering=True)
        log.content = read_log(log.file.fileno())
        sys.stdout, sys.stderr = former
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
        if log.terminal is not None:
            log.show()
        elif log.content:
            _pass_on(sys.stdout, log.content)
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
        with _watch.over(log):
            yield
    finally:
        _log.reset(token)
        _share(-1)
        log.content = read_log(log.file.fileno())


def _share(users: int) -> None:
    """Put context streams before the standard ones with the first user, and take them away with the last."""
    with _ContextStream.lock:
        if _ContextStream.users == 0:
            sys.stdout, sys.stderr = _ContextStream(sys.stdout), _ContextStream(sys.stderr)
        _ContextStream.users += users
        if _ContextStream.users == 0:
            sys.stdout = getattr(sys.stdout, "original", sys.stdout)
            sys.stderr = getattr(sys.stderr, "original", sys.stderr)
