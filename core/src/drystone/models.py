"""The records of models: versions, what they hold, and who moved which stage."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import attrs

from drystone.artifacts import ArtifactVersion, Reference, Source, source_field
from drystone.declarations import SHARED as SHARED
from drystone.declarations import Model as Model
from drystone.declarations import current_source
from drystone.errors import NotFoundError, suggestion

COMMON_STAGES = ("staging", "production")
"""Stages that no version can be named like, in a model whose versions have never held one, too."""


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
            NotFoundError: Nothing of that name, or not that version of it, is linked.
        """
        known = {**self.inputs, **self.artifacts}
        if name not in known:
            hint = suggestion(name, known, "Linked to it")
            raise NotFoundError(f"{self} has no artifact named {name!r}.{hint}")
        newest = known[name]
        if version in (None, newest.version):
            return newest
        return (self._source or current_source()).resolve(Reference(name, version, (self.model, self.number)))

    def __str__(self) -> str:
        return f"{self.model}@{self.number}"


@attrs.frozen(kw_only=True)
class ModelRecord:
    """A model as a listing shows it: its newest version and who holds which stage."""

    name: str
    description: str = ""
    tags: Mapping[str, Any] = attrs.field(factory=dict)
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
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
