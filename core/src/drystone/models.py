"""Models: what groups the pipelines, artifacts and metadata of one business problem."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import attrs

from drystone.artifacts import LATEST, ArtifactVersion, Reference, Source, source_field
from drystone.errors import NotFoundError, suggestion

SHARED = "shared"


@attrs.frozen
class Model:
    """Declares a model: `delays = Model("flight_delays")`.

    A pipeline with `model=delays` makes a new version per run that executes anything; one with `model=delays.shared`
    serves the model without making versions; one with `model=delays.version("production")` uses what was promoted.
    """

    name: str
    tags: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    description: str = attrs.field(default="", kw_only=True)

    def version(self, version: int | str) -> ModelReference:
        """A version by number, name, stage or as `"latest"`; found when a run starts."""
        return ModelReference(self, version)

    def artifact(self, name: str) -> Reference:
        """The newest version of an artifact that is linked to this model or to any of its versions."""
        return Reference(name, LATEST, (self.name, None))

    @property
    def shared(self) -> ModelReference:
        """This model, for pipelines that serve it without making a candidate version."""
        return ModelReference(self, SHARED)


@attrs.frozen
class ModelReference:
    """A model version that is named now and found when a run starts."""

    model: Model
    selector: int | str

    @property
    def is_shared(self) -> bool:
        """Whether it stands for the model itself rather than for one version."""
        return self.selector == SHARED

    def artifact(self, name: str) -> Reference:
        """An artifact of that version: what its run produced or was linked to it."""
        return Reference(name, LATEST, (self.model.name, None if self.is_shared else self.selector))

    def __str__(self) -> str:
        return f"{self.model.name}@{self.selector}"


@attrs.frozen(kw_only=True)
class ModelVersion:
    """One version of a model.

    Attributes:
        number: 1, 2, 3 … per model, never used twice.
        name: A name of its own, or None.
        status: Status of the run that made it.
        stages: Stages it holds now, as `("production",)`.
        archived: It held a stage once and holds none now.
        artifacts: The newest linked version of each artifact that its runs produced, by name.
        inputs: What its runs consumed from this model, by name.
        runs: Names of the runs that belong to it.
    """

    model: str
    number: int
    name: str | None = None
    status: str = "running"
    stages: tuple[str, ...] = ()
    archived: bool = False
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    artifacts: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    inputs: Mapping[str, ArtifactVersion] = attrs.field(factory=dict, repr=False)
    runs: tuple[str, ...] = ()
    created_at: datetime.datetime = attrs.field(repr=False)
    _source: Source | None = source_field()  # noqa: RUF009 - an attrs field

    def artifact(self, name: str, version: int | None = None) -> ArtifactVersion:
        """An artifact linked to this version: the newest of that name, or the given one.

        Raises:
            NotFoundError: Nothing of that name is linked.
        """
        known = {**self.inputs, **self.artifacts}
        if name not in known:
            hint = suggestion(name, known, "Linked to it")
            raise NotFoundError(f"{self} has no artifact named {name!r}.{hint}")
        newest = known[name]
        if version is None or version == newest.version or self._source is None:
            return newest
        return self._source.find_artifact(name, version)

    def __str__(self) -> str:
        return f"{self.model}@{self.number}"


@attrs.frozen(kw_only=True)
class ModelRecord:
    """A model as a listing shows it: its newest version and who holds which stage."""

    name: str
    description: str = ""
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    latest: int | None = None
    versions: int = 0
    stages: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class StageMove:
    """One line of a stage's history: who moved it when, from which version to which."""

    model: str
    stage: str
    number: int | None
    previous: int | None
    at: datetime.datetime
    author: str
    action: str
    reason: str | None = None
