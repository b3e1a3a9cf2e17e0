"""Run one `StepTask`: load its inputs, call the step, store its outputs, answer with a `StepResult`.

A worker only computes. It never opens the ledger; what the step asks of the workspace is returned with the result.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

import attrs

from drystone.annotations import Declared, accepts, described
from drystone.artifacts import Artifact, Manifest
from drystone.blobs import store_bytes
from drystone.captures import captured
from drystone.components import ArtifactStore
from drystone.contexts import StepContext, active, checked_metadata
from drystone.errors import (
    OutputError,
    PlanError,
    StepContextError,
    VersionPendingError,
    message_of,
    shortened,
    suggestion,
)
from drystone.events import ArtifactSaved, Pair
from drystone.graphs import importing
from drystone.materializers import Materializers
from drystone.plugins import load_plugins
from drystone.serialization import structure, to_text, unstructure
from drystone.values import from_json

here: dict[str, Declared[Any, Any]] = {}
"""Steps of runs that this very process drives, by task id: what was planned is what runs, importable or not."""


OWN = f"{os.path.dirname(__file__)}{os.sep}"
"""Where our own code is, which tracebacks leave out."""


@attrs.frozen(kw_only=True)
class OutputTask:
    """How one output is to be kept: what the step calls it, the artifact's name, and how that is declared."""

    output: str
    name: str
    artifact: Artifact


@attrs.frozen(kw_only=True)
class StepTask:
    """Everything a worker is told.

    Attributes:
        id: Unique to this attempt.
        code: `module:function`, to be imported where this is not the driver's process.
        inputs: By parameter: `{"value": …}`, `{"artifact": manifest}` or `{"items": […], "kind": …, "keys": …}`.
        parameters: The pipeline's, as JSON.
        store: The artifact store, as JSON.
        exclusive: Whether nothing else runs in the worker's process meanwhile.
        pid: Process id of the driver.
        timeout: Seconds after which whoever supervises the worker ends it.
        resources: `cpus`, `memory` in bytes and `gpus` that it may use.
        log: The file of this machine that takes what is printed, for others to follow; None where there is none.
    """

    id: str
    run: str
    pipeline: str
    step: str
    attempt: int
    code: str
    inputs: dict[str, Any]
    outputs: tuple[OutputTask, ...]
    parameters: dict[str, Any]
    model_version: Pair | None
    store: str
    allow_pickle: bool
    exclusive: bool
    pid: int
    timeout: float | None = None
    resources: dict[str, Any] | None = None
    log: str | None = None


@attrs.frozen(kw_only=True)
class Failure:
    """An exception, as text that can cross a process."""

    type: str
    message: str
    traceback: str


@attrs.frozen(kw_only=True)
class StepResult:
    """What a worker answers. After a failure nothing is saved, and what was logged stays with the attempt."""

    saved: tuple[ArtifactSaved, ...] = ()
    metadata: dict[str, Any] = attrs.field(factory=dict)
    log: str | None = None
    failure: Failure | None = None


class Answer(str):
    """The JSON of a `StepResult`; inside one process it brings the exception itself along."""

    exception: BaseException | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


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

    def __init__(self, task: StepTask) -> None:
        self.store = _store(task.store)
        self.materializers = _materializers(task.allow_pickle)
        self.metadata: dict[str, Any] = {}
        self.saved: list[ArtifactSaved] = []
        self._task = task
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
        return PendingArtifact(name, self._save(value, name, artifact, None, metadata).digest)

    def save_outputs(self, values: list[Any]) -> None:
        """Store what the step returned."""
        for task, value in zip(self._task.outputs, values, strict=True):
            self._save(value, task.name, task.artifact, task.output, self._of_outputs.get(task.output, {}))

    def _save(
        self, value: Any, name: str, artifact: Artifact, output: str | None, metadata: Mapping[str, Any]
    ) -> Manifest:
        manifest, noted = self.materializers.save(value, artifact, self.store)
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

    def argument(self, spec: Mapping[str, Any]) -> Any:
        """The value of one of the task's inputs."""
        if "value" in spec:
            return from_json(spec["value"])
        if "artifact" in spec:
            return self.materializers.load(structure(spec["artifact"], Manifest), self.store)
        items = [self.argument(item) for item in spec["items"]]
        if spec["kind"] == "dict":
            return dict(zip((from_json(key) for key in spec["keys"]), items, strict=True))
        return tuple(items) if spec["kind"] == "tuple" else items


@functools.lru_cache(maxsize=8)
def _store(text: str) -> ArtifactStore:
    store: ArtifactStore = from_json(json.loads(text))
    return store


@functools.cache
def _materializers(allow_pickle: bool) -> Materializers:
    return Materializers(load_plugins().materializers(), allow_pickle=allow_pickle)


def preload(modules: Iterable[str]) -> None:
    """Import what tasks need, and the modules of steps, before there is a task.

    What is wrong with a module is for the task that needs it to say. Pipelines that it calls are refused.
    """
    _materializers(allow_pickle=False)
    _materializers(allow_pickle=True)
    for module in modules:
        token = importing.set(module)
        try:
            import_module(module)
        except BaseException:
            continue
        finally:
            importing.reset(token)


def run_task(text: str, ask: Callable[[str], str] | None = None) -> str:
    """Run a task given as JSON; answers with the JSON of its result. What executors are given.

    Args:
        text: A `StepTask`.
        ask: Brings what the step asks of the workspace to the driver, and the answer back; both are JSON.
    """
    task = structure(json.loads(text), StepTask)
    effects = StepEffects(task)
    raised: BaseException | None = None
    failure: Failure | None = None
    log: str | None = None
    with captured(exclusive=task.exclusive) as output:
        try:
            with _kept_surroundings() if task.exclusive else contextlib.nullcontext():
                _perform(task, effects)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # panics of libraries that are written in Rust are no Exception
            raised, failure = exc, _failure(exc)
        printed = output.read()
    if failure is not None:  # kept with what the step printed, and shown by whoever reports the failure
        printed += failure.traceback.encode("utf-8", "backslashreplace")
    try:
        log = store_bytes(effects.store, printed) if printed else None
    except Exception as exc:
        if failure is None:  # why the step itself failed says more
            raised, failure = exc, _failure(exc)
    result = StepResult(
        saved=() if failure else tuple(effects.saved),
        metadata=effects.metadata,
        log=log,
        failure=failure and attrs.evolve(failure, traceback=shortened(failure.traceback)),
    )
    answer = Answer(to_text(unstructure(result)))
    answer.exception = raised
    return answer


def _perform(task: StepTask, effects: StepEffects) -> None:
    definition = here[task.id] if task.pid == os.getpid() and task.id in here else _imported(task)
    arguments = {name: effects.argument(spec) for name, spec in task.inputs.items()}
    context = StepContext(
        run=task.run,
        pipeline=task.pipeline,
        step=task.step,
        parameters={name: from_json(value) for name, value in task.parameters.items()},
        model_version=task.model_version,
        attempt=task.attempt,
        effects=effects,
    )

    def call() -> Any:
        active.set(context)
        return definition.fn(**arguments)

    effects.save_outputs(_outputs(definition, contextvars.copy_context().run(call)))


def _imported(task: StepTask) -> Declared[Any, Any]:
    module, _, name = task.code.partition(":")
    if "<" in name:
        raise PlanError(
            f"Step {task.step!r} ({name}) is defined inside a function, so another process cannot import it. Move it "
            "to the top level of a module, or run on a stack whose orchestrator works in this process."
        )
    token = importing.set(task.code)
    try:
        definition: Declared[Any, Any] = attrgetter(name)(import_module(module))
    finally:
        importing.reset(token)
    return definition


def _outputs(definition: Declared[Any, Any], returned: Any) -> list[Any]:
    """The values of a step's outputs, each of the type that was promised.

    Raises:
        OutputError: Lists what is wrong.
    """
    outputs, name = definition.outputs, definition.name
    if not outputs and returned is not None:
        raise OutputError(
            f"Step {name!r} is annotated `-> None`, but returned {described(type(returned))}. Annotate what it "
            "returns, or return nothing."
        )
    values = returned if definition.returns_tuple else [returned] * len(outputs)
    if not isinstance(values, list | tuple) or len(values) != len(outputs):
        raise OutputError(f"Step {name!r} is annotated with {len(outputs)} outputs, but returned {returned!r:.200}.")
    wrong = [
        f"Output {output.name!r} of step {name!r} is annotated {described(output.annotation)}, but is "
        f"{described(type(value))}."
        for output, value in zip(outputs, values, strict=True)
        if not accepts(value, output.annotation)
    ]
    if wrong:
        raise OutputError(" ".join(wrong) + " Nothing was stored. Correct the annotation or what the step returns.")
    return list(values)


@contextlib.contextmanager
def _kept_surroundings() -> Iterator[None]:
    """Give back working directory and environment as they were."""
    directory, environment = os.getcwd(), _environment()
    try:
        yield
    finally:
        if _environment() != environment:
            os.environ.clear()
            os.environ.update({os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()})
        os.chdir(directory)


def _environment() -> dict[bytes, bytes]:
    """A copy of the environment; through its public face that costs a tenth of a millisecond of decoding."""
    return dict(vars(os.environ)["_data"])


def _failure(exc: BaseException) -> Failure:
    """What was raised, with its traceback from the first frame that is not our own."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(OWN):
        frames = frames.tb_next
    shown = "".join(traceback.format_exception(type(exc), exc, frames, chain=frames is not None))
    message = f"exited with {exc.code!r:.200}" if isinstance(exc, SystemExit) else message_of(exc)
    return Failure(type=type(exc).__qualname__, message=message, traceback=shown)
