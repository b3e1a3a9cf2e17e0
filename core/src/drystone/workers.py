"""Run one `StepTask`: load its inputs, call the step, store its outputs, answer with a `StepResult`.

A worker only computes. It never opens the ledger; what the step asks of the workspace is returned with the result.

Executors are given `run_task`. What launches commands runs `python -m drystone.workers TASK`: the variables of
`JOB_VARIABLES` say where that task is, and the project's code comes along with it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.blobs import store_bytes
from drystone.bundles import unpack
from drystone.captures import captured
from drystone.contexts import StepContext, active
from drystone.effects import StepEffects
from drystone.errors import PlanError, shortened
from drystone.failures import Failure, failure_of
from drystone.fingerprints import Fingerprints, classes_of
from drystone.functions import Declared
from drystone.graphs import importing
from drystone.plugins import load_plugins
from drystone.projects import put_on_path
from drystone.secrets import Secret, handed
from drystone.serialization import structure, to_text, unstructure
from drystone.tasks import RESULT, TASK, UNABLE, Answer, StepResult, StepTask
from drystone.values import from_json

Ask = Callable[[str], str]
"""Brings what a step asks of the workspace to the driver, and the answer back; both are JSON."""

here: dict[str, tuple[Declared[Any, Any], Ask]] = {}
"""Steps of runs that this very process drives, by task id, and who answers them: what was planned is what runs."""


def preload(modules: Iterable[str]) -> None:
    """Import what tasks need, and the modules of steps, before there is a task.

    What is wrong with a module is for the task that needs it to say. Pipelines that it calls are refused.
    """
    load_plugins().materializers()
    for module in modules:
        token = importing.set(module)
        try:
            import_module(module)
        except BaseException:
            continue
        finally:
            importing.reset(token)


def run_task(text: str, ask: Ask | None = None) -> str:
    """Run a task given as JSON; answers with the JSON of its result. What executors are given.

    Args:
        text: A `StepTask`.
        ask: What brings questions to the driver, where there is a way shorter than through the artifact store.
    """
    result, raised = perform(structure(json.loads(text), StepTask), ask)
    answer = Answer(to_text(unstructure(result)))
    answer.exception = raised
    return answer


def perform(
    task: StepTask, ask: Ask | None = None, *, collects: bool = True
) -> tuple[StepResult, BaseException | None]:
    """Run a task; returns its result, and what it raised, if anything.

    Args:
        task: The task.
        ask: See `run_task`.
        collects: Whether what it prints is collected; else somebody else does, and the traceback is printed as well.
    """
    known = here.get(task.id) if task.pid == os.getpid() else None
    effects = StepEffects(task, known[1] if known else ask)
    raised: BaseException | None = None
    failure: Failure | None = None
    log: str | None = None
    prints = task.debug or not collects
    with contextlib.nullcontext() if prints else captured(exclusive=task.exclusive, path=task.log) as output:
        try:
            with kept_surroundings() if task.exclusive else contextlib.nullcontext():
                _call(task, known[0] if known else _imported(task), effects)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # panics of libraries that are written in Rust are no Exception
            raised, failure = exc, failure_of(exc)  # kept with what it printed, and shown by whoever reports it
            if output is not None:
                output.postscript = failure.traceback.encode("utf-8", "backslashreplace")
            if prints:
                print(failure.traceback, file=sys.stderr, flush=True)  # noqa: T201 - to whoever reads along
            if task.debug:
                import_module("pdb").post_mortem(exc.__traceback__)  # which takes long to import
    try:
        log = store_bytes(effects.store, output.content) if output is not None and output.content else None
    except Exception as exc:
        if failure is None:  # why the step itself failed says more
            raised, failure = exc, failure_of(exc)
    result = StepResult(
        id=task.id,
        saved=() if failure else tuple(effects.saved),
        metadata=effects.metadata,
        log=log,
        failure=failure and attrs.evolve(failure, traceback=shortened(failure.traceback)),
        dynamic_inputs=effects.dynamic_inputs,
    )
    return result, raised


def _call(task: StepTask, definition: Declared[Any, Any], effects: StepEffects) -> None:
    columns = definition.columns
    arguments = {name: effects.argument(spec, columns.get(name)) for name, spec in task.inputs.items()}
    context = StepContext(
        run=task.run,
        pipeline=task.pipeline,
        step=task.step,
        parameters=effects.parameters,
        model_version=task.model_version,
        attempt=task.attempt,
        components=effects.components,
        effects=effects,
    )

    def call() -> Any:
        active.set(context)
        return definition.fn(**arguments)

    effects.save_outputs(definition.taken_apart(contextvars.copy_context().run(call)))


def _imported(task: StepTask) -> Declared[Any, Any]:
    """The step of a task, imported, if its code is what was planned.

    Raises:
        PlanError: It cannot be imported, or is not what the driver knows.
    """
    module, _, name = task.code.partition(":")
    if "<" in name:
        raise PlanError(
            f"Step {task.step!r} ({name}) is defined inside a function, so another process cannot import it. Move it "
            "to the top level of a module, or run on a stack whose orchestrator works in this process."
        )
    if task.bundle is None:  # else it is there, with the code
        put_on_path(Path(task.root))
    token = importing.set(task.code)
    try:
        definition: Declared[Any, Any] = attrgetter(name)(import_module(module))
    finally:
        importing.reset(token)
    if task.closure is not None:
        _check_code(task, definition)
    return definition


@functools.cache
def _fingerprints(root: str) -> Fingerprints:
    return Fingerprints(Path(root))


def _check_code(task: StepTask, definition: Declared[Any, Any]) -> None:
    values = [from_json(spec["value"]) for spec in task.inputs.values() if "value" in spec]
    values += map(from_json, task.components.values())
    classes = dict.fromkeys(each for value in values for each in classes_of(value))
    closure = _fingerprints(task.root).closure(definition, classes)
    if task.closure != (closure.digest if task.bundle is None else closure.code):
        edited = f" ({', '.join(closure.edited)})" if closure.edited else ""
        raise PlanError(
            f"The code of step {task.step!r} is not here what it was when the run was planned: a file was edited"
            f"{edited}, or the packages of this environment are others. Run the pipeline again."
        )


@contextlib.contextmanager
def kept_surroundings() -> Iterator[None]:
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


STORE, SECRETS, SECRET_VARIABLES = JOB_VARIABLES = (
    "DRYSTONE_ARTIFACT_STORE",
    "DRYSTONE_SECRETS",
    "DRYSTONE_SECRET_ENVIRONMENT",
)
"""What a launched worker finds in its environment, each as JSON: the artifact store with its task; where secrets are
handed to it, `-` for the first line of its standard input, or a file; and the variables that take some of them."""


def main(uri: str) -> int:
    """Run the task that an orchestrator has launched a command for.

    What it prints is the log of the step, both streams in the order of what was printed.

    Returns:
        The exit code: 1 if the step failed, `UNABLE` if it was something outside the step, which is printed.
    """
    os.dup2(1, 2)
    try:
        return _run(uri)
    except Exception:
        traceback.print_exc()
        return UNABLE


def _run(uri: str) -> int:
    _take_secrets()
    store: ArtifactStore = from_json(json.loads(os.environ[STORE]))
    folder = uri.removeprefix(f"{store.identity}/").removesuffix(f"/{TASK}")
    task = structure(json.loads(store.read_range(f"{folder}/{TASK}", 0, None)), StepTask)
    if task.bundle is not None:
        with tempfile.TemporaryDirectory(prefix="drystone-") as place:
            return _answered(attrs.evolve(task, root=_unpacked(task.bundle, store, Path(place))), store)
    return _answered(task, store)


def _answered(task: StepTask, store: ArtifactStore) -> int:
    result, _ = perform(task, collects=False)
    store.write(f"{task.folder}/{RESULT}", to_text(unstructure(result)).encode())
    return 1 if result.failure else 0


def _unpacked(bundle: str, store: ArtifactStore, place: Path) -> str:
    """Make a project's code importable; the project's root, which is the working directory from then on."""
    paths = [str(each) for each in unpack(bundle, store, place)]
    sys.path[:0] = paths
    os.chdir(paths[0])
    return paths[0]


def _take_secrets() -> None:
    """Take what this process was handed, and put into the environment what belongs there."""
    place = os.environ.pop(SECRETS, None)
    if place is not None:
        handed.update(json.loads(sys.stdin.readline() if place == "-" else Path(place).read_text()))
    variables = json.loads(os.environ.pop(SECRET_VARIABLES, "{}"))
    os.environ.update({name: Secret(reference).resolve() for name, reference in variables.items()})


def command(arguments: list[str]) -> int:
    """What `python -m drystone.workers` does: only what an orchestrator has launched has a task."""
    if len(arguments) != 1 or STORE not in os.environ:
        sys.stderr.write(
            "python -m drystone.workers is the command that orchestrators launch for a step: they give it the uri of a "
            f"task, and the artifact store in {STORE}. To run a pipeline, call it, or use the command line: "
            "drystone run PIPELINE.\n"
        )
        return 2
    return main(*arguments)


if __name__ == "__main__":  # as the module that everything else imports, which is another one than this
    sys.exit(import_module("drystone.workers").command(sys.argv[1:]))
