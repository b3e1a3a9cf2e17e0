"""The process that workers are copies of: it imports what they need once, and forks one whenever the driver asks.

Where forking is not safe, it imports nothing, and workers are fresh interpreters.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from drystone import preload
from drystone_local.processes import LINUX, reaped
from drystone_local.serving import work_through

FORKED, REFUSED, ENDED = b"F", b"N", b"E"
"""What the driver is told: a worker was started, could not be started, has ended. Two numbers follow."""

NUMBERS = 16
"""Bytes of those."""

START = """
import sys
setup = {0}
sys.path[:] = setup["path"]
from drystone_local.templates import prepare, work_through
prepare(**setup)
work_through({1})
"""
"""The program of a worker that is a fresh interpreter."""

SAFE = {"jemalloc_bg_thd"}
"""Names of native threads that take care of a fork."""


def serve(work: socket.socket, ready: int, *, fork: bool, modules: Sequence[str], **setup: Any) -> NoReturn:
    """Fork workers until the driver closes its end of `work`, then kill them.

    Args:
        work: Each byte from the driver asks for a worker, and brings the worker's socket.
        ready: A file descriptor; one byte is written to it when everything is imported.
        fork: Whether workers are copies of this process; else they are fresh interpreters.
        modules: What to import ahead.
        setup: For `prepare`.
    """
    prepare(**setup)
    if fork:
        with _silence():
            preload(modules)
        if modules and _has_threads():
            os._exit(1)  # and is started again without them
        gc.collect()
        gc.freeze()  # so that the collector does not touch, and thereby copy, what all workers share
    os.write(ready, b"1")
    os.close(ready)
    Template(work, None if fork else {**setup}).run()


def prepare(*, path: Sequence[str], arguments: Sequence[str], files: Mapping[str, str]) -> None:
    """Make imports find what they find in the driver.

    Args:
        path: Its `sys.path`.
        arguments: Its `sys.argv`.
        files: Its modules that hold steps; a name may be one that no import would find, as that of a script in a
            folder with a dot.
    """
    sys.path[:] = path
    sys.argv[:] = arguments
    sys.meta_path.insert(0, _Files(files))
    sys.meta_path.append(_Folders(files))


class _Files:
    """Finds modules by the files they have in the driver."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = self._files.get(name)
        if file is None or not os.path.isfile(file):
            return None
        inside = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
        return spec_from_file_location(name, file, submodule_search_locations=inside)


class _Folders:
    """Takes for packages what stands before the dots in the names of such modules, if nothing else is found."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._names = {
            ".".join(parts[:end]) for parts in (name.split(".") for name in files) for end in range(1, len(parts))
        }

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, None, is_package=True) if name in self._names else None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what is printed: the driver imported the same modules, and showed it."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        saved = os.dup(1), os.dup(2)
        for descriptor in (1, 2):
            os.dup2(nothing.fileno(), descriptor)
        try:
            yield
        finally:
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _has_threads() -> bool:
    """Whether there are threads that a forked process would miss.

    Those of numerical libraries bear the name of the process, and their libraries start them again.
    """
    names = {Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}
    own = Path("/proc/self/comm").read_text().strip()
    return threading.active_count() > 1 or bool(names - {own} - SAFE)


class Template:
    """Starts workers and waits for their ends.

    Args:
        work: The driver's requests.
        setup: For `prepare` in workers that are fresh interpreters; None where they are copies of this process.
    """

    def __init__(self, work: socket.socket, setup: dict[str, Any] | None) -> None:
        self._work, self._setup = work, setup
        self._workers: set[int] = set()
        self._warden = os.getppid()
        self._woken, self._wake = socket.socketpair()
        for each in (self._woken, self._wake):
            each.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def run(self) -> NoReturn:
        """Serve until the driver is gone."""
        with suppress(OSError):
            while self._serves():
                pass
        adopted = LINUX and os.getppid() == self._warden  # which sees to their end
        for worker in () if adopted else self._workers:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker, signal.SIGKILL)
        os._exit(0)

    def _serves(self) -> bool:
        readable, _, _ = select.select([self._work, self._woken], [], [])
        if self._woken in readable:
            self._woken.recv(4096)
            for process, code in reaped():
                if process in self._workers:  # the modules may have started others
                    self._workers.discard(process)
                    self._tell(ENDED, process, code)
        if self._work in readable:
            asked, descriptors, _, _ = socket.recv_fds(self._work, 1, 1)
            if not asked:
                return False
            self._start(descriptors[0])
        return True

    def _tell(self, what: bytes, *numbers: int) -> None:
        self._work.sendall(what + b"".join(number.to_bytes(NUMBERS // 2, "big", signed=True) for number in numbers))

    def _start(self, descriptor: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the threads that `_has_threads` knows of
                process = os.fork()
        except OSError as exc:
            self._tell(REFUSED, exc.errno or 0, 0)
        else:
            if process == 0:
                self._become(descriptor)
            self._workers.add(process)
            self._tell(FORKED, process, 0)
        os.close(descriptor)

    def _become(self, descriptor: int) -> NoReturn:
        """Go on as a worker."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._work, self._woken, self._wake):
            each.close()
        if self._setup is None:
            work_through(descriptor)
        os.set_inheritable(descriptor, True)
        started = [*sys.orig_argv[:-1], START.format(json.dumps(self._setup), descriptor)]
        os.execv(sys.executable, started)
