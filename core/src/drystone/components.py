"""Stacks, and the components they are made of.

A component is one attrs class whose fields are its settings. A kind is an abstract class; the name a stack uses for it
is its `kind`.
"""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs

from drystone.digests import type_name
from drystone.errors import StackError, listed, suggestion
from drystone.pipelines import Resources


@attrs.frozen
class Secret:
    """A reference to a secret: `Secret("env:S3_KEY")` reads the environment variable when it is needed.

    Only the reference is shown, published and kept; the text never is.
    """

    reference: str = attrs.field()

    @reference.validator
    def _check(self, attribute: object, value: str) -> None:
        scheme, _, name = value.partition(":")
        if scheme != "env" or not name:
            raise StackError(
                'A secret is written as a reference, like Secret("env:S3_KEY"). Known schemes: env. If this was the '
                "secret itself, it does not belong in code."
            )

    def resolve(self) -> str:
        """The secret's text.

        Raises:
            StackError: The environment variable is not set.
        """
        name = self.reference.partition(":")[2]
        if name not in os.environ:
            raise StackError(f"The secret {self.reference!r} is not there: set the environment variable {name}.")
        return os.environ[name]


@attrs.frozen(kw_only=True)
class Place:
    """Where a stack is used: the project's root and the workspace's local directory."""

    root: Path
    workspace: Path


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


@attrs.frozen(kw_only=True)
class StackComponent:
    """One configured object in a stack; the fields of its class are its settings.

    Class attributes:
        kind: The keyword a stack takes it by, as `orchestrator`. Set by the abstract class of the kind.
        name: The short name for the command line; by default the class name without its kind, in lower case.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__dict__.get("name"):
            kind = "".join(part.title() for part in cls.kind.split("_"))
            cls.name = (cls.__name__.removesuffix(kind) or cls.__name__).lower()

    def __new__(cls, *values: Any, **settings: Any) -> Self:
        """Refuse settings that the class does not have.

        Raises:
            StackError: Names each of them, and those it has.
        """
        signature = inspect.signature(cls.__init__)
        try:
            if values or settings:  # with neither, pickle and copy make an object that they fill themselves
                signature.bind(None, *values, **settings)
        except TypeError as exc:
            _, *known = signature.parameters
            unknown = [
                f"{cls.__name__} has no setting {name!r}.{suggestion(name, known, 'Its settings')}"
                for name in settings
                if name not in known
            ]
            other = f"{cls.__name__}(…): {exc}. Its settings: {', '.join(known) or 'none'}."
            raise StackError(listed(unknown or [other])) from None
        return super().__new__(cls)

    def at(self, place: Place) -> StackComponent:
        """This component with whatever depends on the place filled in; called when its stack is used."""
        return self


PARALLEL, TIMEOUT, RESOURCES, CANCEL, ISOLATION = "parallel", "timeout", "resources", "cancel", "isolation"
"""What an orchestrator may say that it is capable of."""


@attrs.frozen(kw_only=True)
class Orchestrator(StackComponent, ABC):
    """Says where steps run; never what runs or in which order."""

    kind: ClassVar[str] = "orchestrator"

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do, of the five above. A pipeline that needs more is refused before it starts."""
        return frozenset({PARALLEL})

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

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free; of several callers at once exactly one succeeds.

        Raises:
            FileExistsError: The key is taken.
        """

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


@attrs.frozen(kw_only=True)
class ContainerRegistry(StackComponent, ABC):
    """Holds container images; orchestrators that run containers push to it and pull from it."""

    kind: ClassVar[str] = "container_registry"

    @property
    @abstractmethod
    def uri(self) -> str:
        """The registry and the path below which images are kept, as `localhost:5000/team`."""


@attrs.frozen(init=False, repr=False)
class Stack:
    """A name and one component per kind.

    `Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())`; every further kind is a
    keyword of its own, and an attribute: `stack.container_registry`.

    Raises:
        StackError: A kind is missing or filled with something else. All such problems are listed.
    """

    name: str
    components: Mapping[str, StackComponent] = attrs.field(hash=False)

    if TYPE_CHECKING:
        orchestrator: Orchestrator
        artifact_store: ArtifactStore

        def __init__(
            self, name: str, *, orchestrator: Orchestrator, artifact_store: ArtifactStore, **others: StackComponent
        ) -> None: ...

    else:  # a missing kind is a StackError that says so, not a TypeError

        def __init__(self, name: str, **components: StackComponent) -> None:
            problems = [f"Stack {name!r}: {problem}" for problem in _problems(name, components)]
            if problems:
                raise StackError(listed(problems))
            self.__attrs_init__(name, MappingProxyType(components))

    def __getattr__(self, kind: str) -> Any:
        if kind not in self.components:
            hint = suggestion(kind, self.components, "Its components")
            raise AttributeError(f"Stack {self.name!r} has no {kind!r}.{hint}")
        return self.components[kind]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, dict(self.components))

    def __repr__(self) -> str:
        parts = [repr(self.name), *(f"{kind}={component!r}" for kind, component in self.components.items())]
        return f"Stack({', '.join(parts)})"

    def evolve(self, name: str, **components: StackComponent) -> Stack:
        """A stack with another name, and other components in place of some of these or beside them."""
        return _restored(name, {**self.components, **components})

    def at(self, place: Place) -> Stack:
        """This stack with every component filled in for the place where it is used."""
        return _restored(self.name, {kind: component.at(place) for kind, component in self.components.items()})

    def describe(self) -> dict[str, Any]:
        """The stack as JSON values, secrets as their references."""
        components = {
            kind: {"class": type_name(type(component)), "name": component.name, "settings": _setting(component)}
            for kind, component in self.components.items()
        }
        return {"name": self.name, "components": components}


def _restored(name: str, components: dict[str, Any]) -> Stack:
    return Stack(name, **components)


def _problems(name: object, components: Mapping[str, object]) -> Iterator[str]:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        yield "A stack's name starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'."
    for kind in (Orchestrator.kind, ArtifactStore.kind):
        if kind not in components:
            yield f"It has no {kind}. Every stack needs one: {kind}=…"
    for kind, component in components.items():
        if isinstance(component, type):
            yield f"{kind} is the class {component.__name__}. Write {component.__name__}(…)."
        elif not isinstance(component, StackComponent):
            yield f"{kind} is {component!r}, which is no stack component."
        elif not component.kind:
            yield f'{kind} is {component!r}, whose class says no kind. Write kind = "{kind}" in it.'
        elif component.kind != kind:
            yield f"{kind} is {component!r}, but its kind is {component.kind!r}. Write {component.kind}=…"


def _setting(value: Any, *, shown: bool = True) -> Any:
    """A setting as JSON; what its class keeps out of its repr is hidden, except that secrets show references."""
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, Mapping):
        return {str(key): _setting(item, shown=shown) for key, item in value.items()}
    if not shown:
        return "…"
    if isinstance(value, list | tuple | set | frozenset):
        return [_setting(item) for item in value]
    if attrs.has(type(value)):
        fields = [field for field in attrs.fields(type(value)) if field.init and not field.name.startswith("_")]
        return {field.name: _setting(getattr(value, field.name), shown=bool(field.repr)) for field in fields}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
