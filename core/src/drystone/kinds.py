"""Orchestrators and artifact stores: the two kinds of component that every stack has.

A kind is an abstract class; its `kind` is the keyword of a stack.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import ClassVar

import attrs

from drystone.caches import blob_cache
from drystone.components import StackComponent
from drystone.errors import CapabilityError, StackError
from drystone.options import Resources


def _unanswered(message: str) -> str:
    raise StackError("Nobody answers what steps ask for here: no driver serves this run.")


@attrs.frozen(kw_only=True)
class RunContext:
    """What an orchestrator is told of the run it serves.

    Attributes:
        run: Its name; `pipeline` and `stack` are those of its pipeline and stack.
        steps: How many steps it has.
        modules: The modules that its steps are defined in, which workers may import ahead.
        root: The project's root.
        answer: Answers what a running step asks of the workspace, one JSON text for another; from any thread.
    """

    run: str
    pipeline: str
    stack: str
    steps: int
    modules: tuple[str, ...] = ()
    root: Path = attrs.field(factory=Path)
    answer: Callable[[str], str] = attrs.field(default=_unanswered, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class StepNeeds:
    """What is known of a step before a run, for the orchestrator to decide where it runs.

    Attributes:
        alone: Whether no other step of its pipeline can run beside it.
        importable: Whether another process could import it.
        timeout: Seconds after which it is to be ended, or None.
        resources: What it needs of the machine, or None.
    """

    name: str
    alone: bool
    importable: bool
    timeout: float | None = None
    resources: Resources | None = None


PARALLEL, TIMEOUT, RESOURCES, CANCEL, ISOLATION = "parallel", "timeout", "resources", "cancel", "isolation"
"""What an orchestrator may say that it is capable of."""

CREATE, SHARED, MAPPING, CLOCK = "create", "shared", "mapping", "clock"
"""What an artifact store may say that it is capable of: making a key for one of several writers alone, being the same
store on other machines, files to be mapped into memory, and saying when something was stored."""


@attrs.frozen(kw_only=True)
class Orchestrator(StackComponent, ABC):
    """Says where steps run; never what runs or in which order."""

    kind: ClassVar[str] = "orchestrator"

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do, of the five above. A pipeline that needs more is refused before it starts."""
        return frozenset({PARALLEL})

    @property
    def store_capabilities(self) -> frozenset[str]:
        """What it needs of the stack's artifact store, such as `shared` where steps run on other machines."""
        return frozenset()

    @abstractmethod
    def executor(self, run: RunContext) -> Executor:
        """A `concurrent.futures.Executor` for one run.

        The driver submits one module-level function and one JSON string per step, reads the JSON string it returns,
        and shuts the executor down when the run is over. It asks for one when the first step needs it.

        Whoever runs the function may pass it `ask=`, a function that takes a JSON text to `run.answer` and brings the
        answer back. The JSON object has `timeout` (seconds) and `resources` (`cpus`, `memory` in bytes, `gpus`), each
        null where the step says nothing. A future whose worker had to be ended raises `StepTimeoutError`,
        `MemoryLimitError` or `WorkerDiedError`; `cancel` on a running one ends its step where the orchestrator has the
        capability `cancel`.
        """

    def runs_inline(self, needs: StepNeeds) -> bool:
        """Whether the driver runs this step itself, in its own process, while no other is running there."""
        return False


@attrs.frozen(kw_only=True)
class ArtifactStore(StackComponent, ABC):
    """Keeps blobs under keys such as `blobs/3f/3f8a…`. Keys are relative, with `/` between their parts."""

    kind: ClassVar[str] = "artifact_store"

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do beyond what every store does: `create`, `shared`, `mapping`, `clock`."""
        return frozenset()

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells this store from others: its URL if it is shared, a random id kept in it if it is local."""

    @abstractmethod
    def upload(self, local_path: Path, key: str) -> None:
        """Store a file; it is complete under its key, or not there. A file in `spool` is taken, others are copied."""

    @abstractmethod
    def download(self, key: str, local_path: Path) -> None:
        """Copy what is stored to a local file.

        Raises:
            FileNotFoundError: Nothing is stored under this key.
        """

    @abstractmethod
    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on, at most `length` of them; None reads to the end.

        Raises:
            FileNotFoundError: Nothing is stored under this key.
        """

    @abstractmethod
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes in bytes, in no order."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove what is stored under this key; nothing happens if nothing is."""

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free; of several callers at once exactly one succeeds.

        Raises:
            FileExistsError: The key is taken.
            CapabilityError: The store has not the capability `create`, so it cannot promise that.
        """
        raise CapabilityError(
            f"The artifact store {self.identity} cannot create a key exclusively: it lacks the capability {CREATE!r}. "
            "Use a store that has it, such as LocalArtifactStore."
        )

    def modified(self, key: str) -> float:
        """When what is stored under a key was stored, in seconds since 1970 by the clock of the store.

        Raises:
            FileNotFoundError: Nothing is stored under this key.
            CapabilityError: The store has not the capability `clock`, so it cannot say.
        """
        raise CapabilityError(
            f"The artifact store {self.identity} cannot say when a key was stored: it lacks the capability {CLOCK!r}. "
            "Use a store that has it, such as LocalArtifactStore."
        )

    def now(self) -> float:
        """The time by the clock of the store, in seconds since 1970, by storing something for a moment.

        Raises:
            CapabilityError: The store has not the capability `clock`.
        """
        key = f"clock/{os.urandom(8).hex()}"
        self.write(key, b"")
        try:
            return self.modified(key)
        finally:
            self.delete(key)

    @property
    def is_remote(self) -> bool:
        """Whether what is read from it is kept in the local cache of blobs, since asking it again would take longer."""
        return MAPPING not in self.capabilities

    @property
    def spool(self) -> Path:
        """A local directory for files on their way into the store; where it can, on the store's own disk.

        If the store is remote, it is on the disk of the cache, which then keeps what was stored.
        """
        return blob_cache().spool if self.is_remote else Path(tempfile.gettempdir())

    def local_path(self, key: str) -> Path | None:
        """The local file behind a key, where there is one to be mapped; else None."""
        return None

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes; like `upload` of a file that holds them."""
        handle, name = tempfile.mkstemp(dir=self.spool)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            self.upload(Path(name), key)
        finally:
            Path(name).unlink(missing_ok=True)

    def size(self, key: str) -> int | None:
        """The size in bytes of what is stored under a key, or None if nothing is."""
        return next((size for found, size in self.list(key) if found == key), None)

    def exists(self, key: str) -> bool:
        """Whether something is stored under this key."""
        return self.size(key) is not None

    def sync(self, keys: Iterable[str]) -> None:
        """Make what is stored under these keys survive a power failure; nothing to do where every upload does."""
