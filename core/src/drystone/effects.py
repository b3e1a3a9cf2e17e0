"""What a running step reads from the workspace, and what it leaves there once it is committed."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import attrs

from drystone import errors
from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import LATEST, Artifact, Manifest
from drystone.contexts import checked_metadata
from drystone.declarations import given
from drystone.errors import DrystoneError, StepContextError, VersionPendingError, suggestion
from drystone.events import ArtifactSaved, DynamicInput
from drystone.graphs import filled
from drystone.materializers import Materializers
from drystone.plugins import load_plugins
from drystone.serialization import structure, to_text
from drystone.tasks import StepTask
from drystone.values import find_class, from_json


@attrs.frozen
class PendingArtifact:
    """What `save_artifact` returns inside a step: stored, and without a version until the step is committed."""

    name: str
    digest: str

    @property
    def version(self) -> int:
        """Not there yet.

        Raises:
            VersionPendingError: Always.
        """
        raise VersionPendingError(
            f"The artifact {self.name!r} gets its version when this step is committed. Afterwards it is found as "
            f"Artifact({self.name!r}).latest, and in the workspace."
        )


class StepEffects:
    """Stores what a step makes and collects what it asks for; implements `drystone.contexts.Effects`."""

    def __init__(self, task: StepTask, ask: Callable[[str], str] | None) -> None:
        self.store = _store(task.store)
        self.materializers = _materializers(task.allow_pickle)
        self.components = {kind: from_json(data) for kind, data in task.components.items()}
        self.metadata: dict[str, Any] = {}
        self.saved: list[ArtifactSaved] = []
        self.dynamic_inputs: dict[str, DynamicInput] = {}
        self._task = task
        self._ask = ask or functools.partial(asked, self.store, task.folder)
        self._of_outputs: dict[str, dict[str, Any]] = {}

    def log_metadata(self, values: Mapping[str, Any], artifact: str | None) -> None:
        """Note metadata of the step, or of one output by its own or its artifact's name."""
        if artifact is None:
            self.metadata.update(values)
            return
        names = {name: each.output for each in self._task.outputs for name in (each.output, each.name)}
        if artifact not in names:
            hint = suggestion(artifact, names, "Its outputs")
            raise StepContextError(f"Step {self._task.step!r} has no output {artifact!r} to log metadata of.{hint}")
        self._of_outputs.setdefault(names[artifact], {}).update(values)

    def save_artifact(self, value: Any, name: str, **options: Any) -> PendingArtifact:
        """Store a value; it becomes a version together with the step's outputs."""
        metadata = checked_metadata(options.pop("metadata", None) or {})
        artifact = Artifact(name, **{key: option for key, option in options.items() if option is not None})
        stored = self.materializers.save(value, artifact, self.store)
        return PendingArtifact(name, self._note(stored, name, artifact, None, metadata).digest)

    def load_artifact(self, name: str, version: int | str, **options: Any) -> Any:
        """The value of a version that the driver looks up, which makes it a dynamic input; or what this step saved."""
        own = [saved.manifest for saved in self.saved if saved.name == name]
        if own and version == LATEST:
            return self.materializers.load(own[-1], self.store, **options)
        reference = f"{name}@{version}"
        found = self.dynamic_inputs.get(reference) or self._found(name, version)
        self.dynamic_inputs[reference] = found
        return self.materializers.load(found.manifest, self.store, **options)

    def _found(self, name: str, version: int | str) -> DynamicInput:
        answer = json.loads(self._ask(to_text({"load": [name, version]})))
        if "error" in answer:
            kind, message = answer["error"]
            raise getattr(errors, kind, DrystoneError)(message)
        return structure(answer["found"], DynamicInput)

    def save_outputs(self, values: list[Any]) -> None:
        """Store what the step returned."""
        for task, value in zip(self._task.outputs, values, strict=True):
            save = self.materializers.save_parts if task.in_parts else self.materializers.save
            stored = save(value, task.artifact, self.store)
            self._note(stored, task.name, task.artifact, task.output, self._of_outputs.get(task.output, {}))

    def _note(
        self,
        stored: tuple[Manifest, dict[str, Any]],
        name: str,
        artifact: Artifact,
        output: str | None,
        metadata: Mapping[str, Any],
    ) -> Manifest:
        manifest, noted = stored
        self.saved.append(
            ArtifactSaved(
                name=name,
                kind=artifact.kind,
                manifest=manifest,
                metadata={**checked_metadata(noted), **metadata},
                tags=artifact.tags,
                run=self._task.run,
                step=self._task.step,
                output=output,
            )
        )
        return manifest

    @functools.cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The pipeline's parameters; read when they are asked for where they do not stand in the task."""
        at = self._task.parameters_at
        return (
            Parameters(self.store, at)
            if at
            else {name: from_json(each) for name, each in self._task.parameters.items()}
        )

    def argument(self, spec: Mapping[str, Any], columns: list[Any] | None = None) -> Any:
        """The value of one of the task's inputs; of frames perhaps only some columns."""
        if "value" in spec:
            return from_json(spec["value"])
        if "artifact" in spec:
            found = spec["artifact"]  # in the driver's own process as it is, else as JSON
            manifest = found if isinstance(found, Manifest) else structure(found, Manifest)
            return self.materializers.load(manifest, self.store, **given(columns=columns))
        items = [self.argument(item, columns) for item in spec["items"]]
        return filled(find_class(spec["kind"]), [from_json(key) for key in spec["keys"]], items)


class Parameters(Mapping[str, Any]):
    """Parameters that are stored for many tasks at once, and read when somebody wants one."""

    def __init__(self, store: ArtifactStore, key: str) -> None:
        self._read = functools.cache(lambda: from_json(json.loads(store.read_range(key, 0, None))))

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


@functools.lru_cache(maxsize=8)
def _store(text: str) -> ArtifactStore:
    store: ArtifactStore = from_json(json.loads(text))
    return store


@functools.cache
def _materializers(allow_pickle: bool) -> Materializers:
    return Materializers(load_plugins().materializers(), allow_pickle=allow_pickle)


PATIENCE = 1.0
"""Seconds between two looks for an answer, at most."""


def asked(store: ArtifactStore, folder: str, question: str) -> str:
    """Ask the driver through the artifact store, which is all that it and a worker elsewhere have in common."""
    name, pause = f"{time.time_ns():020}.json", 0.01
    store.write(f"{folder}/ask/{name}", question.encode())
    while True:
        with suppress(FileNotFoundError):
            return store.read_range(f"{folder}/answer/{name}", 0, None).decode()
        time.sleep(pause)
        pause = min(PATIENCE, pause * 1.5)
