"""What a workspace answers: runs, artifacts, models, and what planning asks of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drystone.artifacts import LATEST, ArtifactVersion, Reference
from drystone.databases import Database
from drystone.errors import NotFoundError
from drystone.index import of_whole_model
from drystone.ledgers import FORMAT
from drystone.lineages import lineage
from drystone.models import Model, ModelRecord, ModelVersion, StageMove
from drystone.promotions import number_of
from drystone.records import CachedStep, Conditions, Execution
from drystone.runs import Run, StepRun


def name_of(model: str | Model) -> str:
    """The name of a model, given itself or by name."""
    return model if isinstance(model, str) else model.name


class Queries:
    """The reading side of a workspace."""

    directory: Path
    _database: Database

    def info(self) -> dict[str, Any]:
        """What the workspace is and how much it holds."""
        with self._database.snapshot() as session:
            head = session.ledger.head()
            counts = session.index.counts()
        return {"location": str(self.directory), "format": FORMAT, "commits": head.seq, "head": head.digest} | counts

    def run(self, name: str) -> Run:
        """One run, as `training-17`.

        Raises:
            NotFoundError: There is none of that name.
        """
        with self._database.snapshot() as session:
            return session.records.run(name)

    def runs(
        self,
        *,
        pipeline: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        model: str | Model | None = None,
        limit: int | None = 50,
    ) -> list[Run]:
        """Runs, the newest first. A tag is given as `name` or `name=value`."""
        conditions = Conditions()
        conditions.equal("r.pipeline", pipeline)
        conditions.equal("r.status", status)
        conditions.equal("r.model", model and name_of(model))
        conditions.tagged("run", "r.name", tag)
        with self._database.snapshot() as session:
            return session.records.runs(conditions, limit)

    def step_run(self, run: str, step: str) -> StepRun:
        """One step of a run that has begun or ended; costs the same however many steps the run has."""
        with self._database.session() as session:
            return session.records.step(run, step)

    def raw_parameters(self, run: str) -> dict[str, Any]:
        """The parameters of a run, as the ledger keeps them."""
        return dict(self.run(run).parameters)

    def run_steps_by_key(self, run: str) -> dict[str, tuple[str | None, Mapping[str, ArtifactVersion]]]:
        """Cache key and outputs of every complete step of a run, by step."""
        with self._database.session() as session:
            return session.records.keyed_steps(run)

    def cached_step(self, key: str, newer_than: datetime.datetime | None = None) -> CachedStep | None:
        """The newest result that was stored under a cache key."""
        with self._database.session() as session:
            return session.records.cached_step(key, newer_than)

    def last_execution(self, pipeline: str, step: str) -> Execution | None:
        """What the newest complete run of a step was made of."""
        with self._database.session() as session:
            return session.records.last_execution(pipeline, step)

    def code(self, closure: str) -> tuple[dict[str, str], str, dict[str, str]] | None:
        """Members, Python version and packages of a recorded code closure."""
        with self._database.session() as session:
            return session.index.code(closure)

    def source(self, digest: str) -> tuple[str, str] | None:
        """Name and text of a recorded member of a closure."""
        with self._database.session() as session:
            return session.index.source(digest)

    def artifact(self, name: str, version: int | str = LATEST) -> ArtifactVersion:
        """One version of an artifact.

        Raises:
            NotFoundError: There is none of that name or number.
        """
        with self._database.snapshot() as session:
            return session.records.artifact(name, version)

    find_artifact = artifact

    def artifacts(
        self,
        *,
        name: str | None = None,
        tag: str | None = None,
        kind: str | None = None,
        run: str | None = None,
        limit: int | None = 50,
    ) -> list[ArtifactVersion]:
        """Artifact versions, the newest first. A tag is given as `name` or `name=value`."""
        conditions = Conditions()
        conditions.equal("v.name", name)
        conditions.equal("v.kind", kind)
        conditions.equal("v.run", run)
        conditions.tagged("artifact", "v.name || '@' || v.version", tag)
        with self._database.snapshot() as session:
            return session.records.artifacts(conditions, limit)

    def resolve(self, reference: Reference) -> ArtifactVersion:
        """The artifact version that a lazy reference means now.

        Raises:
            NotFoundError: It means none; the message says what there is.
        """
        with self._database.snapshot() as session:
            if reference.model is None:
                return session.records.artifact(reference.name, reference.version)
            view, (model, selector) = session.index, reference.model
            number = None if selector is None or of_whole_model(selector) else number_of(view, model, selector)
            version = view.newest_linked(model, number, reference.name, reference.version)
            if version is None:
                of = model if number is None else f"{model}@{number}"
                known = ", ".join(view.linked_names(model, number)) or "nothing"
                raise NotFoundError(f"{of} has no artifact {reference.name!r}. Linked to it: {known}.")
            return session.records.artifact(reference.name, version)

    def lineage(self, version: ArtifactVersion, depth: int = 8) -> dict[str, Any]:
        """What an artifact version was made of and what was made of it, as a tree of plain values."""
        with self._database.snapshot() as session:
            return lineage(session.records, version, depth)

    def models(self, *, tag: str | None = None, limit: int | None = 50) -> list[ModelRecord]:
        """Models, by name."""
        conditions = Conditions()
        conditions.tagged("model", "m.name", tag)
        with self._database.snapshot() as session:
            return session.records.models(conditions, limit)

    def model_version(self, model: str | Model, version: int | str = LATEST) -> ModelVersion:
        """One version of a model, by number, name, stage, or `latest`: the highest whose run succeeded.

        Raises:
            NotFoundError: There is none.
        """
        with self._database.snapshot() as session:
            return session.records.model_version(name_of(model), number_of(session.index, name_of(model), version))

    def model_versions(
        self, model: str | Model, *, tag: str | None = None, limit: int | None = 50
    ) -> list[ModelVersion]:
        """Versions of a model, the newest first."""
        conditions = Conditions()
        conditions.equal("m.model", name_of(model))
        conditions.tagged("model_version", "m.model || '@' || m.number", tag)
        with self._database.snapshot() as session:
            return session.records.model_versions(conditions, limit)

    def compare(self, model: str | Model, versions: Iterable[int | str]) -> dict[int, dict[str, Any]]:
        """The metadata of some versions of a model, by number."""
        found = [self.model_version(model, version) for version in versions]
        return {each.number: dict(each.metadata) for each in found}

    def stage_history(self, model: str | Model, stage: str | None = None) -> list[StageMove]:
        """Every move of a model's stages, the oldest first."""
        with self._database.session() as session:
            name = name_of(model)
            return session.records.stage_moves(session.index.stage_moves(name, stage), name)
