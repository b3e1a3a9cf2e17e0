"""The driver's side of processes: connections to workers, and crews of workers that share a template."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TextIO

from drystone import RunContext
from drystone_local.processes import end
from drystone_local.serving import HEADER, framed
from drystone_local.tasks import Task
from drystone_local.templates import ENDED, FORKED, NUMBERS

START = """
import json, sys
settings = json.load(sys.stdin)
sys.path[:] = settings["path"]
from drystone_local.wardens import main
main(**settings)
"""
"""The program of a warden."""

CHUNK = 1 << 18
"""Bytes that are read at once."""

PATIENCE = 10.0
"""Seconds that a warden may take to end everything."""


def settings(run: RunContext, fork: bool) -> dict[str, Any]:
    """How the processes of a crew get to import what the driver imports."""
    path = [*map(_absolute, sys.path)]
    root = _absolute(os.fspath(run.root))
    files = {name: getattr(sys.modules.get(name), "__file__", None) or "" for name in run.modules}
    return {
        "fork": fork,
        "modules": run.modules,
        "path": [each for each in (path if root in path else [root, *path]) if each],
        "arguments": sys.argv,
        "files": {name: _absolute(file) for name, file in files.items() if file.endswith(".py")},
    }


def _absolute(path: str) -> str:
    """A path that means the same wherever a step changes to; empty if the working directory is gone."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return ""


class Worker:
    """A worker as the driver sees it, with the task it was given; nothing here ever waits.

    Attributes:
        threads: That its libraries use; None for the usual number.
        process: Its process id, once it was started.
        is_ready: Whether it takes tasks.
        is_leaving: Whether it is to take no more.
        is_open: Whether something may still come from it.
        has_more: Whether something may be there to be received at once.
        verdict: What its task ends in, decided before the process is dead.
        started: When it began with its task, by the monotonic clock.
        look_at: When to look at its memory next.
    """

    def __init__(self, channel: socket.socket, threads: int | None) -> None:
        channel.setblocking(False)
        self.threads, self._channel = threads, channel
        self.process: int | None = None
        self.task: Task | None = None
        self.is_ready = self.is_leaving = False
        self.is_open = self.has_more = True
        self.verdict: BaseException | None = None
        self.started = self.look_at = 0.0
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()

    def fileno(self) -> int:
        """Of its socket."""
        return self._channel.fileno()

    def send(self, kind: bytes, payload: bytes) -> bool:
        """Send a message, or as much as fits; whether some of it has to wait."""
        self._outgoing.append(memoryview(framed(kind, payload)))
        return self.flush()

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outgoing)

    def flush(self) -> bool:
        """Go on sending; whether some has to wait."""
        try:
            while self._outgoing:
                part = self._outgoing.popleft()
                sent = self._channel.send(part)
                if sent < len(part):
                    self._outgoing.appendleft(part[sent:])
        except BlockingIOError:
            self._outgoing.appendleft(part)
        except OSError:  # it is dead, as is told otherwise
            self._outgoing.clear()
        return self.is_behind

    def receive(self) -> list[tuple[bytes, bytes]]:
        """The messages that are complete, after reading what is there, at most `CHUNK`."""
        try:
            data = self._channel.recv(CHUNK)
        except BlockingIOError:
            self.has_more = False
            return []
        except OSError:
            data = b""
        self.is_open = self.has_more = bool(data)
        self._incoming += data
        return list(self._complete())

    def rest(self) -> Iterator[tuple[bytes, bytes]]:
        """The messages that it left before it died."""
        self.has_more = self.is_open
        while self.has_more:
            yield from self.receive()

    def _complete(self) -> Iterator[tuple[bytes, bytes]]:
        while len(self._incoming) >= HEADER:
            end = HEADER + int.from_bytes(self._incoming[1:HEADER], "big")
            if len(self._incoming) < end:
                return
            message = bytes(self._incoming[:1]), bytes(self._incoming[HEADER:end])
            del self._incoming[:end]
            yield message

    def kill(self) -> None:
        """End the process with everything it started; its crew hears of it."""
        if self.process is not None:
            end(self.process)

    def close(self) -> None:
        """Let it go: it ends when it next looks for a task."""
        self._channel.close()


class Crew:
    """A warden, its template and their workers: all that use one number of threads.

    Args:
        threads: That one; None for the usual.
        settings: What the template imports, and how.
        environment: Of all these processes.
    """

    def __init__(self, threads: int | None, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.threads = threads
        self._watch, watch = socket.socketpair()
        self._work, work = socket.socketpair()
        self._incoming = bytearray()
        self.starting: deque[Worker] = deque()
        self.workers: dict[int, Worker] = {}
        told = {**settings, "watch": watch.fileno(), "work": work.fileno()}
        try:
            self._warden = _started(environment, watch, work)
        except BaseException:
            self.disown()
            raise
        finally:
            watch.close()
            work.close()
        assert self._warden.stdin is not None  # for type checkers
        with suppress(OSError), self._warden.stdin as pipe:  # it may be dead, which is noticed otherwise
            pipe.write(json.dumps(told).encode())

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """One whose end means that the warden is dead, and the one on which `receive` finds what is told of workers."""
        return self._watch, self._work

    def hire(self) -> Worker:
        """Ask for one more worker."""
        mine, its = socket.socketpair()
        worker = Worker(mine, self.threads)
        self.starting.append(worker)
        with its, suppress(OSError):  # it may be dead, which is noticed otherwise
            socket.send_fds(self._work, [b"+"], [its.fileno()])
        return worker

    def receive(self) -> Iterator[tuple[Worker, str | int]]:
        """Workers that have ended with their exit codes, and those that could not be started with the reason.

        Raises:
            EOFError: Nobody is there to tell.
        """
        self._incoming += _there(self._work) or b""
        while len(self._incoming) > NUMBERS:
            kind, first, second = self._incoming[:1], self._number(1), self._number(1 + NUMBERS // 2)
            del self._incoming[: 1 + NUMBERS]
            if kind == FORKED:
                worker = self.starting.popleft()
                worker.process, self.workers[first] = first, worker
            elif kind == ENDED:
                yield self.workers.pop(first), second
            else:
                yield self.starting.popleft(), os.strerror(first)
        if _there(self._watch) == b"":
            raise EOFError

    def _number(self, start: int) -> int:
        return int.from_bytes(self._incoming[start : start + NUMBERS // 2], "big", signed=True)

    def disown(self) -> None:
        """Close the sockets alone, in a process that was forked from the driver."""
        self._watch.close()
        self._work.close()
        for worker in (*self.starting, *self.workers.values()):
            worker.close()

    def close(self) -> None:
        """End the warden and everything below it, and wait for that."""
        self.disown()
        try:
            self._warden.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._warden.kill()
            self._warden.wait()


def _started(environment: Mapping[str, str], *sockets: socket.socket) -> subprocess.Popen[bytes]:
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()  # as multiprocessing does
    return subprocess.Popen(
        [sys.executable, *flags, "-P", "-c", START],
        stdin=subprocess.PIPE,
        stdout=_descriptor(sys.stdout),
        stderr=_descriptor(sys.stderr),
        env=environment,
        pass_fds=[each.fileno() for each in sockets],
        start_new_session=True,
    )


def _descriptor(stream: TextIO | None) -> int | None:
    """Where a standard stream of the driver leads, which may be redirected; None if that is no file."""
    with suppress(AttributeError, OSError, ValueError):
        return stream.fileno() if stream is not None else None
    return None


def _there(channel: socket.socket) -> bytes | None:
    """What can be read at once: None if nothing is there, empty at the end."""
    try:
        return channel.recv(CHUNK, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
