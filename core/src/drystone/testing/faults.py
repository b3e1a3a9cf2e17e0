"""Faults on purpose: a store that fails, waits or takes the process down at certain calls, and a step that fails."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import attrs

from drystone import workers
from drystone.artifact_stores import ArtifactStore
from drystone.components import Place
from drystone.errors import StackError, suggestion
from drystone.pipelines import Step
from drystone.values import class_name, find_class

Calls = bool | tuple[int, ...]
"""Some calls of a method, counted from 1; True for each of them."""

METHODS = ("upload", "download", "read_range", "list", "delete", "create", "size", "sync")
"""Methods of an artifact store that can be made to fail; `write` counts as `upload`, `exists` as `size`."""

EXIT_CODE = 86
"""What a process exits with that dies of a fault."""


@attrs.frozen(kw_only=True)
class FaultyArtifactStore(ArtifactStore):
    """An artifact store that fails at certain calls; made by `faulty`.

    Attributes:
        inner: The store behind it.
        fail: Which calls of which methods raise the error, before anything is done.
        die: Which end the process on the spot, as a crash would.
        delay: Seconds that every call of a method waits first.
        error: The class and the arguments of what is raised.
        tally: A directory in which calls are counted, over all processes that use the store.
    """

    inner: ArtifactStore
    fail: dict[str, Calls] = attrs.field(factory=dict)
    die: dict[str, Calls] = attrs.field(factory=dict)
    delay: dict[str, float] = attrs.field(factory=dict)
    error: tuple[str, tuple[Any, ...]] = ("builtins:OSError", ())
    tally: str

    def at(self, place: Place) -> FaultyArtifactStore:
        """With the store behind it filled in."""
        inner = cast(ArtifactStore, self.inner.at(place))  # a component at its place is of its kind
        return attrs.evolve(self, inner=inner)

    def calls(self, method: str) -> int:
        """How often a method was called so far, in all processes."""
        return len(list(Path(self.tally).glob(f"{method}.*")))

    def _called(self, method: str) -> None:
        """Count a call, and let happen what is to happen at it."""
        number = next(each for each in itertools.count(self.calls(method) + 1) if self._is_first(f"{method}.{each}"))
        time.sleep(self.delay.get(method, 0))
        if _holds(self.die.get(method, ()), number):
            os._exit(EXIT_CODE)
        if _holds(self.fail.get(method, ()), number):
            cls, arguments = self.error
            raise find_class(cls)(*(arguments or (f"Call {number} of {method} was made to fail.",)))

    def _is_first(self, name: str) -> bool:
        """Whether nobody else has taken this number, in any thread or process."""
        try:
            os.close(os.open(f"{self.tally}/{name}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the store behind it."""
        return self.inner.capabilities

    @property
    def identity(self) -> str:
        """That of the store behind it."""
        return self.inner.identity

    @property
    def is_remote(self) -> bool:
        """Whether the store behind it is."""
        return self.inner.is_remote

    @property
    def spool(self) -> Path:
        """That of the store behind it."""
        return self.inner.spool

    def local_path(self, key: str) -> Path | None:
        """The file of the store behind it."""
        return self.inner.local_path(key)

    def upload(self, local_path: Path, key: str) -> None:
        """Store a file, unless this call is to fail."""
        self._called("upload")
        self.inner.upload(local_path, key)

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes, unless this upload is to fail."""
        self._called("upload")
        self.inner.write(key, data)

    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored, unless this call is to fail."""
        self._called("download")
        self.inner.download(key, local_path)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Read bytes, unless this call is to fail."""
        self._called("read_range")
        return self.inner.read_range(key, start, length)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """List keys, unless this call is to fail."""
        self._called("list")
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """Remove what is stored, unless this call is to fail."""
        self._called("delete")
        self.inner.delete(key)

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a free key, unless this call is to fail."""
        self._called("create")
        self.inner.create(key, data)

    def size(self, key: str) -> int | None:
        """The size of what is stored, unless this call is to fail."""
        self._called("size")
        return self.inner.size(key)

    def sync(self, keys: Iterable[str]) -> None:
        """Make what is stored durable, unless this call is to fail."""
        self._called("sync")
        self.inner.sync(keys)


def _holds(calls: Calls, number: int) -> bool:
    return calls if isinstance(calls, bool) else number in calls


def faulty(
    store: ArtifactStore,
    *,
    fail: Mapping[str, Iterable[int] | bool] | None = None,
    die: Mapping[str, Iterable[int] | bool] | None = None,
    delay: Mapping[str, float] | None = None,
    error: BaseException | type[BaseException] = OSError,
) -> FaultyArtifactStore:
    """An artifact store that fails at certain calls, to see what becomes of a pipeline, or of your own code, then.

    `faulty(store, fail={"upload": [1, 3]})` raises at the first and third upload. Calls are counted over all threads
    and worker processes.

    Args:
        store: The store behind it.
        fail: By method, the calls that raise, counted from 1; True for every call.
        die: By method, the calls that end the process at once, with exit code 86. On a stack that runs steps in the
            test's own process that is the test's process.
        delay: By method, seconds that every call waits.
        error: What is raised; an exception, or its class.

    Raises:
        StackError: A store has no method of that name.
    """
    asked = {name for given in (fail, die, delay) for name in given or ()}
    unknown = [f"{name!r}.{suggestion(name, METHODS, 'Methods')}" for name in sorted(asked - {*METHODS})]
    if unknown:
        raise StackError(f"An artifact store cannot fail at {' '.join(unknown)}")
    cls, arguments = (error, ()) if isinstance(error, type) else (type(error), error.args)
    return FaultyArtifactStore(
        inner=store,
        fail=_calls(fail),
        die=_calls(die),
        delay=dict(delay or {}),
        error=(class_name(cls), arguments),
        tally=_folder(),
    )


def _calls(given: Mapping[str, Iterable[int] | bool] | None) -> dict[str, Calls]:
    return {name: each if isinstance(each, bool) else tuple(each) for name, each in (given or {}).items()}


def _folder() -> str:
    """A directory that is removed when this process ends, and not when one that it forked does."""
    folder, owner = tempfile.mkdtemp(prefix="drystone-faults-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@attrs.define
class Failures:
    """How often a step was begun while it was made to fail."""

    calls: int = 0


@contextmanager
def fails(
    step: Step[Any, Any], times: int = 1, error: BaseException | type[BaseException] = RuntimeError
) -> Iterator[Failures]:
    """Inside the block the first attempts at a step fail before it does anything; those after them run as ever.

    Its code is the same to the cache, so what succeeds inside the block is a hit after it. It holds in this process:
    on the stack in memory, and wherever steps run in the driver.

    Args:
        step: The step, under whichever name or options it is called.
        times: How many attempts fail.
        error: What is raised; an exception, or its class.
    """
    original, seen = workers._call, Failures()
    numbers = itertools.count(1)

    def call(task: Any, definition: Any, effects: Any) -> None:
        if definition.fn is step.fn:
            seen.calls = number = next(numbers)
            if number <= times:
                told = f"Attempt {number} at step {task.step!r} was made to fail."
                raise error(told) if isinstance(error, type) else error
        original(task, definition, effects)

    workers._call = call
    try:
        yield seen
    finally:
        workers._call = original
