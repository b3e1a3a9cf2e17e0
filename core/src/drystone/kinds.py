"""The kinds of component that core knows. A kind is an abstract class; its `kind` is the keyword of a stack."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self

import attrs

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

CREATE, SHARED, MAPPING = "create", "shared", "mapping"
"""What an artifact store may say that it is capable of: making a key for one of several writers alone, being the same
store on other machines, and files to be mapped into memory."""

LIST, DELETE = "list", "delete"
"""What a container registry may say that it is capable of."""


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
        """What it can do beyond what every store does: `create`, `shared`, `mapping`."""
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

    @property
    def spool(self) -> Path:
        """A local directory for files on their way into the store; where it can, on the store's own disk."""
        return Path(tempfile.gettempdir())

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


_IMAGE = re.compile(
    r"(?P<repository>[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@attrs.frozen(kw_only=True)
class ContainerRegistry(StackComponent, ABC):
    """Holds container images; orchestrators that run containers push to it and pull from it.

    An image is called `flights:3fa2` or, by its digest, `flights@sha256:…`, below the registry's `uri`. A tag can be
    moved to another image, a digest is one image for ever, so `push` returns the reference by digest, and that is what
    is recorded and run::

        reference = registry.push("sha256:4bc5…", "flights:3fa2")   # localhost:5000/team/flights@sha256:…
        registry.digest("flights:3fa2")                             # sha256:…, or None: it has to be built
        image = registry.pull(reference)                            # the engine knows it now, by this id

    Credentials are settings of type `Secret`. Whatever a registry is asked raises `RegistryUnreachableError` if it does
    not answer and `RegistryAccessError` if it refuses the credentials; neither message holds a secret. All methods may
    be called from several threads.
    """

    kind: ClassVar[str] = "container_registry"

    @property
    @abstractmethod
    def uri(self) -> str:
        """The registry and the path below which images are kept, as `localhost:5000/team`."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do beyond what every registry does: `list`, `delete`."""
        return frozenset()

    @abstractmethod
    def push(self, image: str, name: str) -> str:
        """Store an image that the local container engine has; returns its reference by digest.

        A tag in the name is moved to it, whatever it was before.

        Args:
            image: Its id in the engine.
            name: What it is to be called here, as `flights:3fa2`.

        Raises:
            ImageNotFoundError: The engine has no such image. Nothing was stored.
            ValueError: That is no name of an image.
        """

    @abstractmethod
    def pull(self, name: str) -> str:
        """Give an image to the local container engine; returns its id there.

        Args:
            name: As `push` returned it, or below `uri`: `flights:3fa2`.

        Raises:
            ImageNotFoundError: The registry has no such image.
            ValueError: That is no name of an image, or another registry's.
        """

    @abstractmethod
    def digest(self, name: str) -> str | None:
        """The digest of the image that a name stands for, as `sha256:…`; None if it stands for none."""

    def tags(self, repository: str) -> list[str]:
        """The tags in a repository, as `flights`, in order; none if there is no such repository.

        Raises:
            CapabilityError: The registry has not the capability `list`.
        """
        raise self._incapable(LIST, "list tags")

    def delete(self, name: str) -> None:
        """Remove an image, called by tag or digest, with all its tags; nothing happens if there is none.

        Raises:
            CapabilityError: The registry has not the capability `delete`.
        """
        raise self._incapable(DELETE, "delete images")

    def _incapable(self, capability: str, what: str) -> CapabilityError:
        return CapabilityError(
            f"The container registry {self.uri} cannot {what}: it lacks the capability {capability!r}. Use its own "
            "tools for that."
        )

    def reference(self, name: str) -> str:
        """A name below `uri`, or one that has it in front already, with it in front.

        Raises:
            ValueError: That is no name of an image, or another registry's.
        """
        uri = self.uri.rstrip("/")
        own = name.removeprefix(f"{uri}/")
        if not _IMAGE.fullmatch(own) or (own == name and is_host(name.partition("/")[0]) and "/" in name):
            raise ValueError(
                f"{name!r} is no image of the registry {uri}. Write it as 'flights:3fa2' or 'flights@sha256:…': lower "
                "case letters and digits, with '.', '_', '-' and '/' between them."
            )
        return f"{uri}/{own}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, by whichever spelling of the loopback address; others cannot reach it there.

        A container engine speaks plain HTTP to such a registry.
        """
        return is_loopback(self.uri.partition("://")[2] or self.uri)


def is_host(text: str) -> bool:
    """Whether the first part of an image's name is a host and no path, by the rule of container engines."""
    return "." in text or ":" in text or text == "localhost"


def is_loopback(address: str) -> bool:
    """Whether an address, as `127.0.0.1:5000/team` or `[::1]`, leads to this machine itself."""
    host = address.partition("/")[0].lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host
    host = host.partition(":")[0] if host.count(":") == 1 else host
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        found = ipaddress.ip_address(host)
        found = getattr(found, "ipv4_mapped", None) or found
        return found.is_loopback or found.is_unspecified
    with suppress(OSError):  # as in 127.1, which the system takes for 127.0.0.1
        return host[:1].isdigit() and socket.inet_aton(host)[0] in (0, 127)
    return False


Ring = Callable[[str, datetime.datetime], None]
"""What a timer calls when a key is due, with the key and the time it was set to."""


class Timer(ABC):
    """Alarms by key, made by `Scheduler.timer`. All methods may be called from any thread, also while it rings.

    A key that was set rings once, at its time or as soon as possible after it, never before, and however late that is:
    a time in the past rings at once. Rings come in threads of the timer, so a slow one holds up no other, and one that
    raises is logged and harms no other. When the clock is set, times that are not due any more wait; nothing rings
    twice.
    """

    @abstractmethod
    def set(self, key: str, at: datetime.datetime) -> None:
        """Let a key ring at a time; one that is set already and has not rung rings then instead.

        Raises:
            ValueError: The time has no time zone.
            RuntimeError: The timer is closed.
        """

    @abstractmethod
    def unset(self, key: str) -> None:
        """Let a key ring no more; nothing happens if it is not set, or rings already."""

    @abstractmethod
    def close(self) -> None:
        """Let nothing ring any more, and wait for rings that have begun, unless this is called by one of them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@attrs.frozen(kw_only=True)
class Scheduler(StackComponent, ABC):
    """Waits for points in time, and nothing else.

    What is scheduled, which ticks there are and what became of them stands in the ledger, and is the same with every
    scheduler. A scheduler keeps nothing that outlives its process: whoever uses it sets every key anew after a start::

        with scheduler.timer(ring) as timer:
            timer.set("weekly", next_monday)    # calls ring("weekly", next_monday) then, in another thread
            timer.set("weekly", next_tuesday)   # moves it
            timer.unset("weekly")
    """

    kind: ClassVar[str] = "scheduler"

    @abstractmethod
    def timer(self, ring: Ring) -> Timer:
        """A timer that calls `ring(key, at)`; it works until it is closed."""
