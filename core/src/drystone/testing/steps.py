"""One step, run as a pipeline would run it, and the inputs that it had in a recorded run."""

from __future__ import annotations

import contextvars
import json
import os
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Artifact, ArtifactVersion, Manifest, Reference
from drystone.blobs import blob_key
from drystone.components import Place
from drystone.digests import module_name
from drystone.errors import DrystoneError, ParameterError, ReplayError, message_of
from drystone.events import ArtifactSaved, DynamicInput
from drystone.fitting import accepts
from drystone.graphs import unlike
from drystone.materializers import Materializers
from drystone.pipelines import Step
from drystone.plugins import load_plugins
from drystone.projects import project_root, workspace_directory
from drystone.replays import recorded_arguments
from drystone.runs import Run
from drystone.serialization import to_text, unstructure
from drystone.stacks import Stack
from drystone.tasks import OutputTask, StepResult, StepTask
from drystone.testing.assertions import workspace_of
from drystone.testing.memory_stacks import forget, memory_stack
from drystone.values import dumps, to_json
from drystone.workers import here, perform
from drystone.workspaces import Workspace


@attrs.frozen(kw_only=True)
class StepOutcome:
    """What became of one step.

    Attributes:
        outputs: What it returned, stored and loaded again, by output name; none if it failed.
        saved: What it passed to `save_artifact`, by name, loaded again.
        metadata: What it logged of itself; what it logged of an output, or its materializer noted, is in
            `output_metadata`, by output name.
        log: What it printed and logged.
        error: What it raised, or None.
    """

    outputs: Mapping[str, Any] = attrs.field(factory=dict)
    saved: Mapping[str, Any] = attrs.field(factory=dict)
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    output_metadata: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    log: str = ""
    error: BaseException | None = None

    @property
    def output(self) -> Any:
        """The one output. If the step failed, this raises what it raised.

        Raises:
            LookupError: It has none, or several.
        """
        if self.error is not None:
            raise self.error
        if len(self.outputs) != 1:
            raise LookupError(f"The step has {len(self.outputs)} outputs: {', '.join(self.outputs) or 'none'}.")
        return next(iter(self.outputs.values()))


def run_step(
    step: Step[Any, Any],
    *args: Any,
    _stack: Stack | None = None,
    _context: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> StepOutcome:
    """Run one step as a pipeline would, once, in this process; what it raises is in the outcome.

    Its arguments are checked, stored and loaded; artifact versions are loaded. What it returns is checked, stored and
    loaded. `load_artifact` in it finds what the current workspace has. Nothing is recorded.

    Args:
        step: The step.
        *args: Its arguments.
        _stack: Where values are stored, and whose components it may use; in memory by default.
        _context: What `get_context()` says: `run`, `pipeline`, `parameters`, `model_version`, `attempt`.
        **kwargs: Its arguments. `run=`, of a step that has no parameter of that name, is a recorded run: what is not
            given here is what the step was given there.

    Raises:
        ParameterError: The arguments do not fit.
        ReplayError: The recorded ones cannot be had again.
    """
    if "run" not in step.signature.parameters and isinstance(kwargs.get("run"), Run):
        given = dict(zip(step.signature.parameters, args, strict=False)) | kwargs
        args, kwargs = (), recorded_inputs(given.pop("run"), step.name) | given
    arguments = _checked(step, step.bound_arguments(args, kwargs))
    place = Place(root=project_root(), workspace=workspace_directory(project_root()))
    stack = _stack or memory_stack()
    try:
        return _Bench(stack.at(place), place).run(step, arguments, _context or {})
    finally:
        if _stack is None:
            forget(stack)


def recorded_inputs(run: Run, step: str) -> dict[str, Any]:
    """The arguments that a step had in a recorded run, artifacts loaded.

    Raises:
        ReplayError: Some cannot be had again; says which, and why.
    """
    workspace = workspace_of(run)
    if workspace is None:
        raise ReplayError(f"{run.name} is a record without its workspace. Take it from Workspace.run({run.name!r}).")
    return recorded_arguments(workspace, run.name, step)


def _checked(step: Step[Any, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: each.load() if isinstance(each, ArtifactVersion) else each for name, each in arguments.items()}
    problems = [
        f"{step.label} {unlike(name, step.annotations[name], value)}"
        for name, value in found.items()
        if not accepts(value, step.annotations.get(name, Any))
    ]
    if problems:
        raise ParameterError(*problems)
    return found


class _Bench:
    """Runs steps on a stack, and answers what they ask."""

    def __init__(self, stack: Stack, place: Place) -> None:
        self._stack = stack
        self._root = place.root
        self._store: ArtifactStore = stack.artifact_store
        self._materializers = Materializers(load_plugins().materializers(), allow_pickle=True)

    def run(self, step: Step[Any, Any], arguments: Mapping[str, Any], context: Mapping[str, Any]) -> StepOutcome:
        task = self._task(step, arguments, context)
        here[task.id] = (step, self._answer)
        try:
            return self._outcome(*perform(task))
        finally:
            del here[task.id]

    def _task(self, step: Step[Any, Any], arguments: Mapping[str, Any], context: Mapping[str, Any]) -> StepTask:
        told = {"run": "test-1", "pipeline": "test", "parameters": {}, "model_version": None, "attempt": 1, **context}
        parameters = {name: to_json(value) for name, value in told.pop("parameters").items()}
        return StepTask(
            **told,
            parameters=parameters,
            id=uuid.uuid4().hex,
            step=step.name,
            code=f"{module_name(step.fn.__module__)}:{step.fn.__qualname__}",
            closure=None,
            root=str(self._root),
            inputs={name: {"artifact": self._saved(value)} for name, value in arguments.items()},
            outputs=tuple(
                OutputTask(output=each.name, name=each.artifact.name or each.name, artifact=each.artifact)
                for each in step.outputs
            ),
            store=dumps(to_json(self._store)),
            components={kind: to_json(self._stack.components[kind]) for kind in step.options.uses},
            allow_pickle=True,
            exclusive=True,
            pid=os.getpid(),
        )

    def _saved(self, value: Any) -> Manifest:
        return self._materializers.save(value, Artifact(), self._store)[0]

    def _answer(self, question: str) -> str:
        """What the step loads; outside its context, since steps do not use the workspace."""
        return contextvars.Context().run(self._found, question)

    def _found(self, question: str) -> str:
        """What there is in the current workspace, by way of this store."""
        try:
            found = Workspace.current().resolve(Reference(*json.loads(question)["load"]))
            version = DynamicInput(name=found.name, version=found.version, manifest=self._saved(found.load()))
            return to_text({"found": unstructure(version)})
        except DrystoneError as exc:
            return to_text({"error": [type(exc).__name__, message_of(exc)]})

    def _outcome(self, result: StepResult, raised: BaseException | None) -> StepOutcome:
        outputs = {each.output: each for each in result.saved if each.output is not None}
        log = self._store.read_range(blob_key(result.log), 0, None) if result.log else b""
        return StepOutcome(
            outputs={name: self._loaded(each) for name, each in outputs.items()},
            saved={each.name: self._loaded(each) for each in result.saved if each.output is None},
            metadata=result.metadata,
            output_metadata={name: each.metadata for name, each in outputs.items()},
            log=log.decode("utf-8", "replace"),
            error=raised,
        )

    def _loaded(self, saved: ArtifactSaved) -> Any:
        return self._materializers.load(saved.manifest, self._store)
