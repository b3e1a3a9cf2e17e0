"""Announcements: hooks of steps and pipelines, and plugins that listen, are told how a run goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from drystone.errors import message_of
from drystone.events import ArtifactSaved, MetadataLogged
from drystone.ledgers import Commit
from drystone.preparation import Prepared
from drystone.runs import StepRun

INTERVAL = 0.1
"""Seconds between two words on how far a map is, at least."""


class Announcer:
    """Tells whoever listens to one run.

    Attributes:
        steps: Whether anybody wants to hear of every step.
    """

    def __init__(self, prepared: Prepared, run: str) -> None:
        self.steps = prepared.plugins.listens("drystone_step_started", "drystone_step_finished")
        self._saves_matter = prepared.plugins.listens("drystone_artifact_saved")
        self._is_followed = prepared.plugins.listens("drystone_step_progressed")
        self._told_at: dict[str, float] = {}
        self._maps: dict[str, StepRun] = {}
        self._workspace = prepared.workspace
        self._plugins = prepared.plugins
        self._run = run

    def progressed(self, step: str, counts: Mapping[str, int]) -> None:
        """Tell how far a map is, at most every tenth of a second."""
        now = time.monotonic()
        if not self._is_followed or now - self._told_at.get(step, 0.0) < INTERVAL:
            return
        self._told_at[step] = now
        if step not in self._maps:  # looked up once, since its lists may be long
            with self._workspace.reading() as records:
                self._maps[step] = records.found_step(self._run, step)
        self._note(
            self._plugins.emit("drystone_step_progressed", step_run=attrs.evolve(self._maps[step], counts=counts))
        )

    def committed(self, commits: list[Commit]) -> None:
        """Tell of the artifacts that commits have saved, which are done with then."""
        events = [event for commit in commits for event in commit.events] if self._saves_matter else []
        commits.clear()
        for event in (each for each in events if each["type"] == ArtifactSaved.TYPE):
            with self._workspace.reading() as records:
                version = records.found_version(event["name"], event["version"])
            self._note(self._plugins.emit("drystone_artifact_saved", artifact_version=version))

    def tell(self, event: str, step: str | None = None, hook: Callable[[Any], object] | None = None) -> None:
        """Call a hook, and the plugins that listen to an event; their errors are noted and change nothing."""
        workspace, plugins = self._workspace, self._plugins
        if hook is None and not plugins.listens(event):
            return
        with workspace.reading() as records:
            record: Any = records.found_run(self._run) if step is None else records.found_step(self._run, step)
        errors = []
        try:
            if hook is not None:
                hook(record)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            errors.append(f"{getattr(hook, '__qualname__', hook)}: {type(exc).__name__}: {message_of(exc)}")
        errors += plugins.emit(event, **{"run" if step is None else "step_run": record})
        self._note(errors)

    def _note(self, errors: list[str]) -> None:
        if errors:
            before = self._workspace.run(self._run).metadata.get("hook_errors", [])
            noted = MetadataLogged(kind="run", record=self._run, values={"hook_errors": [*before, *errors]})
            self._workspace.commit(lambda view: [noted])
