"""The records of what was stored: versions of artifacts, and what they consist of."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from drystone.declarations import LATEST as LATEST
from drystone.declarations import Artifact as Artifact
from drystone.declarations import ColumnLabels, RowSpan, Stored, current_source, given
from drystone.declarations import Reference as Reference


class Source(Protocol):
    """What a record asks for more than it holds. `Workspace` implements it."""

    def load_version(self, version: ArtifactVersion, **options: Any) -> Any:
        """The value of an artifact version, or the part of it that the options ask for."""

    def read_log(self, digest: str, store: str) -> str:
        """The text of a step's log."""

    def elements(self, run: str, step: str) -> Sequence[Any]:
        """The elements of a map, as `StepRun` records."""

    def read_live_log(self, run: str, step: str, attempt: int) -> str:
        """The text of a step's log so far."""

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
        store: Identity of the artifact store that the blobs were saved into.
        copies: Identities of further stores that several machines reach and that are known to hold the blobs as well.
        provider: Distribution that provided the materializer.
        inside: Names and versions of the materializers that wrote the parts of a list.
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
    inside: tuple[tuple[str, int], ...] = ()
    copies: tuple[str, ...] = attrs.field(default=(), eq=False, metadata={"sparse": True})

    @property
    def stores(self) -> tuple[str, ...]:
        """Identities of every store that is known to hold the blobs."""
        return (self.store, *self.copies)

    @property
    def maker(self) -> tuple[str, int]:
        """Name and version of the materializer."""
        return self.materializer, self.materializer_version

    @property
    def size(self) -> int:
        """The size of all blobs together, in bytes."""
        return sum(blob.size for blob in self.blobs)


@attrs.frozen(kw_only=True)
class ArtifactVersion(Stored):
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

    def load(self, *, columns: ColumnLabels | None = None, rows: RowSpan | None = None, **options: Any) -> Any:
        """The value, or a part of it; memory-mapped where its format allows that.

        Of a part that an artifact store elsewhere holds, only that part is transferred.

        Args:
            columns: Of a frame, the labels of the columns that are wanted, in this order; all by default.
            rows: Of a frame, the rows that are wanted, by position: `slice(-100, None)`, `range(0, 1000)`.
            **options: Whatever else the materializer of the value takes.

        Raises:
            BlobLostError: Its bytes are missing or damaged.
            NotFoundError: It has no such column or row.
            MaterializerError: Nothing installed can read it, or read it in part; or it is pickled and this workspace
                forbids that.
        """
        return (self._source or current_source()).load_version(self, **given(columns=columns, rows=rows, **options))

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
