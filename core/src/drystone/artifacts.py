"""Artifacts: the declaration users write, the references they pass, and the records of what was stored."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

import attrs

LATEST = "latest"

SOURCE = "drystone.workspaces:Workspace"
"""Where a reference that is loaded outside a run looks things up; imported on that first load, never before."""


class Source(Protocol):
    """What a record asks for more than it holds. `Workspace` implements it."""

    def load_version(self, version: ArtifactVersion) -> Any:
        """The value of an artifact version."""

    def read_log(self, digest: str, store: str) -> str:
        """The text of a step's log."""

    def find_artifact(self, name: str, version: int | str) -> ArtifactVersion:
        """One version of an artifact."""

    def resolve(self, reference: Reference) -> ArtifactVersion:
        """The version that a lazy reference means now."""


def source_field() -> Any:
    """The private field of a record: the source that handed it out; not compared, shown or serialized."""
    return attrs.field(default=None, eq=False, repr=False, alias="source", metadata={"transient": True})


@attrs.frozen
class Blob:
    """One file of an artifact: where it stands inside, its digest and its size in bytes."""

    path: str
    digest: str
    size: int


@attrs.frozen(kw_only=True)
class Manifest:
    """What an artifact consists of. Immutable, and the same for equal content in every store.

    Attributes:
        digest: Over the type, the materializer and every blob.
        type: Canonical name of the value's class.
        materializer: Name of the materializer that wrote it, and that can read it.
        materializer_version: Its version when it wrote.
        blobs: The files.
        store: Identity of the artifact store that holds the blobs.
        provider: Distribution that provided the materializer.
    """

    digest: str
    type: str
    materializer: str
    materializer_version: int
    blobs: tuple[Blob, ...]
    store: str = attrs.field(eq=False)
    provider: str = attrs.field(default="", eq=False)
    trusted: tuple[str, ...] = ()
    allow_pickle: bool = False

    @property
    def size(self) -> int:
        """The size of all blobs together, in bytes."""
        return sum(blob.size for blob in self.blobs)


@attrs.frozen(kw_only=True)
class ArtifactVersion:
    """One immutable version of an artifact.

    Attributes:
        version: Its number: 1, 2, 3 … per name, never used twice.
        kind: `data`, `model`, or a name of your own.
        metadata: What the materializer noted and what steps logged.
        tags: Plain tags map to True, keyed tags to their value.
        produced_by: Name of the run and the step, as `("training-3", "train")`; None if saved outside a run.
    """

    name: str
    version: int
    kind: str
    manifest: Manifest = attrs.field(repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    tags: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    created_at: datetime.datetime = attrs.field(repr=False)
    produced_by: tuple[str, str] | None = None
    _source: Source | None = source_field()  # noqa: RUF009 - an attrs field

    @property
    def digest(self) -> str:
        """The digest of the content: equal for equal values, whatever their name."""
        return self.manifest.digest

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.manifest.size

    @property
    def type(self) -> str:
        """The canonical name of the value's class."""
        return self.manifest.type

    @property
    def materializer(self) -> str:
        """The name of the materializer that reads and writes it."""
        return self.manifest.materializer

    def load(self) -> Any:
        """The value, memory-mapped where its format allows that.

        Raises:
            BlobLostError: Its bytes are missing or damaged.
            MaterializerError: Nothing installed can read it, or it is pickled and this workspace forbids that.
        """
        return (self._source or current_source()).load_version(self)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@attrs.frozen
class Reference:
    """An artifact that is named now and found at the start of a run.

    Attributes:
        name: The artifact's name.
        version: A number or `"latest"`.
        model: If given, the model version it must be linked to: `(model, number | name | stage | "latest" | "shared")`.
    """

    name: str
    version: int | str = LATEST
    model: tuple[str, int | str | None] | None = None

    def load(self) -> Any:
        """The value it means now. In a pipeline pass the reference itself: the run resolves and records it."""
        return current_source().resolve(self).load()

    def __str__(self) -> str:
        if self.model is None:
            return f"{self.name}@{self.version}"
        model, version = self.model
        of = model if version is None else f"{model}@{version}"
        return f"{self.name} of {of}" if self.version == LATEST else f"{self.name}@{self.version} of {of}"


def _strings(values: Any) -> tuple[str, ...]:
    """Names of types, given as strings or as the types themselves."""
    return tuple(each if isinstance(each, str) else f"{each.__module__}.{each.__qualname__}" for each in values)


@attrs.frozen
class Artifact:
    """Declares what a step's output is called and how it is kept: `Annotated[pd.DataFrame, Artifact("features")]`.

    Attributes:
        name: May hold `{date}`, `{time}` and the names of parameters; a default is derived from the step.
        kind: `data` (the default), `model`, or a name of your own.
        tags: Put on every version.
        trusted: Types outside the vetted list that may be loaded from this artifact (scikit-learn estimators).
        allow_pickle: Write and read it with pickle, even where the workspace forbids that.
    """

    name: str | None = None
    kind: str = attrs.field(default="data", kw_only=True)
    tags: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    trusted: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_strings)
    allow_pickle: bool = attrs.field(default=False, kw_only=True)

    @property
    def latest(self) -> Reference:
        """The newest version, found when a run starts."""
        return Reference(self._named())

    def version(self, version: int) -> Reference:
        """One fixed version."""
        return Reference(self._named(), version)

    def _named(self) -> str:
        if self.name is None:
            raise ValueError('This artifact has no name to look up. Name it: Artifact("features").')
        return self.name


def current_source() -> Source:
    """The source of the workspace that is active here."""
    module, name = SOURCE.split(":")
    current: Callable[[], Source] = getattr(import_module(module), name).current
    return current()
