"""Promotions: versions of models made by hand, what is linked to them, and who holds which stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drystone.artifacts import ArtifactVersion
from drystone.decisions import ANYONE, created, promotion, rollback
from drystone.events import Event, Linked, StageMoved
from drystone.index import Index
from drystone.models import Model, ModelVersion
from drystone.plugins import load_plugins
from drystone.queries import name_of
from drystone.shelves import Shelf


class Promotions(Shelf):
    """The versions and stages of a workspace's models."""

    def create_model_version(
        self, model: str | Model, name: str | None = None, *, tags: Mapping[str, Any] | None = None
    ) -> ModelVersion:
        """Make a version of a model by hand.

        Raises:
            StageError: The name means something else already.
        """
        commit = self.commit(lambda view: created(view, name_of(model), name, dict(tags or {})))
        assert commit is not None
        return self.model_version(model, commit.events[-1]["number"])

    def link(self, target: ModelVersion | Model, version: ArtifactVersion) -> None:
        """Make an artifact version part of a model version, or of a model as a whole."""
        model, number = (target.model, target.number) if isinstance(target, ModelVersion) else (target.name, None)
        link = Linked(model=model, number=number, artifact=version.name, version=version.version)
        self.commit(lambda view: [link])

    def promote(
        self,
        model: str | Model,
        version: int | str | ModelVersion,
        stage: str,
        *,
        expect: int | None = ANYONE,
        override_reason: str | None = None,
        reason: str | None = None,
    ) -> ModelVersion:
        """Give a stage to a version of a model; who holds it now loses it in the same instant.

        Args:
            model: Or its name.
            version: Its number, name, `latest`, or record.
            stage: `production`, `staging`, or a name of your own.
            expect: The number that must hold the stage now, or None for nobody; else nothing happens.
            override_reason: Why the promotion is right although a gate refuses it.
            reason: Why, for the history.

        Raises:
            StageError: Its run did not succeed, somebody else holds the stage than expected, or the workspace is shared
                and only a store of one machine has its artifacts.
        """
        selector = version.number if isinstance(version, ModelVersion) else version
        why = reason or override_reason
        chosen, shared = (name_of(model), selector, stage, expect, why), self.url is not None
        return self._moved(model, stage, lambda view: promotion(view, *chosen, shared=shared))

    def rollback(self, model: str | Model, stage: str, *, reason: str | None = None) -> ModelVersion:
        """Give a stage back to who held it before the last promotion that is not yet rolled back.

        Raises:
            StageError: There is nothing to go back to.
        """
        return self._moved(model, stage, lambda view: rollback(view, name_of(model), stage, reason))

    def _moved(self, model: str | Model, stage: str, decide: Callable[[Index], Sequence[Event]]) -> ModelVersion:
        """Move a stage, and tell whoever listens; returns who holds it then."""
        commit, plugins = self.commit(decide), load_plugins()
        if commit is not None and plugins.listens("drystone_model_promoted"):
            number = next(each["number"] for each in commit.events if each["type"] == StageMoved.TYPE)
            moves = [move for move in self.stage_history(model, stage) if move.number == number]
            plugins.tell("drystone_model_promoted", stage_move=moves[-1])
        return self.model_version(model, stage)
