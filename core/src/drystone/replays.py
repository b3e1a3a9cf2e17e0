"""Replays: one step of a recorded run again, on what it was given then, in this process, with the code as it is now.

Artifacts are on record, so they are loaded. Of plain arguments the ledger keeps digests and a text, which for numbers,
short strings and containers of them is how Python writes them; whatever else an argument was, today's pipeline may
still pass it. A value is taken only if its digest is the recorded one.
"""

from __future__ import annotations

import ast
import bdb
import contextvars
import itertools
import pdb
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from drystone import fans, parts
from drystone.arguments import USES, closure_of, content_digest, unread
from drystone.artifacts import LATEST, Artifact, ArtifactVersion, Manifest
from drystone.choices import Stacks
from drystone.comparisons import code_changes, recorded_text
from drystone.components import StackComponent
from drystone.contexts import StepContext, active
from drystone.declarations import given
from drystone.digests import digest_value
from drystone.documents import Document
from drystone.effects import PendingArtifact
from drystone.errors import ArtifactError, EncodingError, NotFoundError, ReplayError, StepFailedError, suggestion
from drystone.filesystems import FsspecArtifactStore
from drystone.fingerprints import Fingerprints
from drystone.functions import Output
from drystone.graphs import Binding, Items, Lookup, Node, OutputRef, Value, filled, members
from drystone.plugins import load_plugins
from drystone.preparation import restored_options
from drystone.projects import find_pipeline, project_root
from drystone.runs import Cause, Replay, Run, StepRun
from drystone.values import from_json
from drystone.workers import kept_surroundings
from drystone.workspaces import Workspace

Announce = Callable[[Replay], object]


def replayed(workspace: Workspace, run: str, step: str, *, debug: bool, announce: Announce | None) -> Replay:
    """Run a step again on its recorded inputs.

    Raises:
        ReplayError: It cannot be called as it was; the message lists why.
    """
    record, told, body, node, given = _recorded(workspace, run, step)
    arguments = given.arguments()
    replay = Replay(
        run=run, step=step, changes=tuple(_changes(workspace, record, body, node)), notes=tuple(given.notes)
    )
    if announce is not None:
        announce(replay)
    return Performance(workspace, record, told, node, debug).of(replay, arguments)


def recorded_arguments(workspace: Workspace, run: str, step: str) -> dict[str, Any]:
    """The arguments that a step was given in a run.

    Raises:
        ReplayError: Some cannot be had again; the message lists why.
    """
    return _recorded(workspace, run, step)[-1].arguments()


def _recorded(workspace: Workspace, run: str, step: str) -> tuple[Run, StepRun, Document, Node, Given]:
    """What is on record of a step, and what it was given."""
    with workspace.reading() as records:
        record = records.found_run(run)
        told = records.step_at(run, step)
        body = records.body_at(run, step)
    _check(record, told, body)
    assert body is not None
    node = _node(workspace, record, step)
    return record, told, body, node, Given(workspace, body, told, node)


def restored_parameters(workspace: Workspace, run: Run) -> dict[str, Any]:
    """The parameters that a run was started with, as values; the classes of some are imported."""
    with workspace.reading() as records:
        references = (records.index.get("run", run.name) or {}).get("references", {})
    return {name: from_json(value) for name, value in {**run.parameters, **references}.items()}


def _check(run: Run, told: StepRun, body: Document | None) -> None:
    step = told.name
    if told.counts:
        raise ReplayError(
            f"Step {step!r} of {run.name} is a map of {sum(told.counts.values())} elements. Replay one of them, as "
            f"{fans.element_name(step, 0)}."
        )
    if body is None or not (told.attempts or told.cached_from):
        raise ReplayError(
            f"Step {step!r} of {run.name} is {told.status}: it never began, so there is nothing that it was "
            "given. Replay a step that began, or the same step of another run."
        )
    if run.target is None:
        raise ReplayError(
            f"Step {step!r} of {run.name} cannot be replayed: its pipeline is defined inside a function or a session, "
            "so it cannot be imported. Call the step as the function it is, with values that Workspace.artifact loads."
        )


def _node(workspace: Workspace, run: Run, step: str) -> Node:
    """The step as it stands in today's pipeline."""
    found = find_pipeline(run.target or "", _root(run))
    asked = {name: given for name, given in run.options.items() if name == "steps"}  # others change no argument
    pipeline = found.with_options(**restored_options(run.name, asked))
    parameters = restored_parameters(workspace, run)
    known = {name: value for name, value in parameters.items() if name in pipeline.signature.parameters}
    graph = pipeline.build(pipeline.parameters(**known))
    element = fans.element_address(step)
    if element is not None and element[0] in graph.nodes:
        return _element(graph.nodes[element[0]], *element)
    if step not in graph.nodes:
        raise ReplayError(
            f"Pipeline {run.target} has no step {step!r} any more.{suggestion(step, graph.nodes, 'Its steps')} Check "
            "out the code that ran, and replay there."
        )
    return graph.nodes[step]


def _element(node: Node, step: str, index: int) -> Node:
    """An element of a map as it stands in today's pipeline, as far as its lists are known there."""
    lists = {name: members(node.bindings[name]) for name in node.mapped}
    found = fans.places(node.fan, {name: len(each) for name, each in lists.items()}) if all(lists.values()) else ()
    places = next(itertools.islice(found, index, None), {})
    own = {name: lists[name][place] for name, place in places.items()}
    bindings = {**node.bindings, **own}
    return attrs.evolve(node, name=fans.element_name(step, index), bindings=bindings, of=(step, index))


def _root(run: Run) -> Path:
    """The project's root: where it was, or where it is if that is no more."""
    root = Path(run.root or "")
    return root if run.root and root.is_dir() else project_root()


def _components(workspace: Workspace, run: Run, node: Node) -> dict[str, StackComponent]:
    """What the step uses, of the stack that it ran on as that is defined today."""
    uses = node.step.options.uses
    if not uses:
        return {}
    root = _root(run)
    stack = Stacks(root, load_plugins(), workspace.published).get(run.stack)
    missing = [kind for kind in uses if kind not in stack.components]
    if missing:
        raise ReplayError(f"Step {node.name!r} uses {', '.join(missing)}, which the stack {run.stack!r} has no more.")
    bound = stack.at(workspace.place_at(root))
    return {kind: bound.components[kind] for kind in uses}


def _changes(workspace: Workspace, run: Run, body: Document, node: Node) -> Iterator[Cause]:
    """How the code that a step reaches differs today from the recorded one."""
    components = _components(workspace, run, node)
    closure = closure_of(node, Fingerprints(_root(run)), components)
    with workspace.reading() as records:
        before = records.index.get("code", body["closure"]) if body["closure"] else None
        if before is None:
            yield Cause("unknown", "nobody knows of which code the recorded result was made")
        elif closure.digest != body["closure"]:
            yield from code_changes(before, closure.recorded(), recorded_text(records.index), closure.text)
    yield from unread(closure)


class Given:
    """What a step was given in a run.

    Attributes:
        notes: Where today's function takes other arguments than the recorded one did.
    """

    def __init__(self, workspace: Workspace, body: Document, told: StepRun, node: Node) -> None:
        self.notes: list[str] = []
        self._workspace = workspace
        self._body = body
        self._told = told
        self._node = node
        self._problems: list[str] = []

    def arguments(self) -> dict[str, Any]:
        """The arguments, by parameter of today's function.

        Raises:
            ReplayError: Lists those that cannot be had again.
        """
        recorded = {*self._body["input_digests"], *self._body["parameters"]}
        recorded = {name for name in recorded if not name.startswith(USES)}
        bindings = self._node.bindings
        self.notes += [f"{name} was passed then, and is no parameter now" for name in sorted(recorded - {*bindings})]
        found = {name: self._argument(name, binding) for name, binding in bindings.items() if name in recorded}
        for name in bindings.keys() - recorded:
            found[name] = self._new(name, bindings[name])
        if self._problems:
            raise ReplayError(*self._problems)
        columns = self._node.step.columns
        return {name: self._loaded(each, columns.get(name)) for name, each in found.items()}

    def _argument(self, name: str, binding: Binding) -> Binding:
        """What a parameter was bound to, with recorded artifacts in place of what makes them."""
        inputs = {**self._body["inputs"], **self._told.inputs}
        if name in inputs or name in self._body["parameters"]:
            return self._recorded(name) if name in inputs else self._plain(name, binding)
        rebuilt = self._rebuilt(name, binding)
        digest = self._body["input_digests"][name]
        if not self._problems and content_digest(rebuilt, lambda each: _version(each).digest) != digest:
            self._problems.append(
                f"Argument {name!r} held artifacts among other things, and today's pipeline puts it together in "
                "another way. Check out the code that ran, and replay there."
            )
        return rebuilt

    def _recorded(self, place: str) -> Binding:
        found = self._told.inputs.get(place)
        if found is None:
            name, version = self._body["inputs"][place]
            self._problems.append(f"Argument {place!r} was {name}@{version}, which was deleted.")
            return Value(None)
        return Lookup(found)

    def _rebuilt(self, place: str, binding: Binding) -> Binding:
        if place in self._body["inputs"]:
            return self._recorded(place)
        if isinstance(binding, Items):
            keys = binding.keys or range(len(binding.items))
            items = zip(keys, binding.items, strict=True)
            return attrs.evolve(binding, items=tuple(self._rebuilt(f"{place}[{key!r}]", each) for key, each in items))
        return binding if isinstance(binding, Value) else Value(None)

    def _plain(self, name: str, binding: Binding) -> Value:
        """A plain argument: as the recorded text reads, or as it is passed today, whichever has the recorded digest."""
        text, digest = self._body["parameters"][name], self._body["values"].get(name)
        today = [binding] if isinstance(binding, Value) else []
        if digest is None and today:
            self.notes.append(f"{name} is what is passed today: its recorded value has no digest to compare it with")
            return today[0]
        found = next((each for each in [*_read(text), *today] if _has_digest(each.value, digest)), None)
        if found is None:
            self._problems.append(
                f"Argument {name!r} was {text}, which is on record only as this text, and today's pipeline passes "
                "another value. Check out the code that ran, and replay there."
            )
        return found or Value(None)

    def _new(self, name: str, binding: Binding) -> Binding:
        """A parameter that the function did not have."""
        if isinstance(binding, Value):
            self.notes.append(f"{name} is new, and is what is passed today")
        else:
            self._problems.append(
                f"Argument {name!r} is new, and is made by other steps: no artifact on record belongs to it. Give it a "
                "default to replay this step."
            )
        return binding

    def _loaded(self, binding: Binding, columns: list[Any] | None) -> Any:
        if isinstance(binding, Lookup):
            return self._read(_version(binding), columns)
        if isinstance(binding, Items):
            items = [self._loaded(each, columns) for each in binding.items]
            return filled(binding.container, binding.keys, items)
        assert isinstance(binding, Value)
        return binding.value

    def _read(self, version: ArtifactVersion, columns: list[Any] | None) -> Any:
        try:
            return self._workspace.load_version(version, **given(columns=columns))
        except (ArtifactError, NotFoundError) as exc:
            raise ReplayError(f"The input {version} cannot be read: {exc}") from exc


def _version(binding: OutputRef | Lookup) -> ArtifactVersion:
    """What stands in place of an output or a reference: always a version that is on record."""
    assert isinstance(binding, Lookup)
    assert isinstance(binding.reference, ArtifactVersion)
    return binding.reference


def _read(text: str) -> Iterator[Value]:
    try:
        yield Value(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return


def _has_digest(value: Any, digest: str | None) -> bool:
    try:
        return digest_value(value) == digest
    except EncodingError:
        return False


class Performance:
    """One call of a step on given arguments; what it stores goes to a store that is thrown away."""

    def __init__(self, workspace: Workspace, run: Run, told: StepRun, node: Node, debug: bool) -> None:
        self._workspace = workspace
        self._run = run
        self._told = told
        self._node = node
        self._debug = debug
        self._kept: dict[str, Manifest] = {}
        self.metadata: dict[str, Any] = {}

    def of(self, replay: Replay, arguments: Mapping[str, Any]) -> Replay:
        """The replay with what came out."""
        with tempfile.TemporaryDirectory(prefix="drystone-replay-") as place:
            self._store = FsspecArtifactStore(url=f"file://{place}")
            outputs = self._node.step.outputs
            with kept_surroundings():
                returned = contextvars.copy_context().run(self._call, arguments)
            values = self._node.step.taken_apart(returned)
            recorded = self._told.outputs
            made = [self._made(value, each, recorded) for value, each in zip(values, outputs, strict=True)]
        names = [each.name for each in outputs]
        return attrs.evolve(
            replay,
            outputs=dict(zip(names, values, strict=True)),
            recorded=recorded,
            equal={name: self._equal(recorded.get(name), new) for name, new in zip(names, made, strict=True)},
            metadata=self.metadata,
        )

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        number = self._run.model_version
        active.set(
            StepContext(
                run=self._run.name,
                pipeline=self._run.pipeline,
                step=self._node.name,
                parameters={name: from_json(value) for name, value in self._run.parameters.items()},
                model_version=(number.model, number.number) if number else None,
                components=_components(self._workspace, self._run, self._node),
                effects=self,
            )
        )
        try:
            return self._node.step.fn(**arguments)
        except bdb.BdbQuit:  # the user has left the debugger at a breakpoint of his own
            raise KeyboardInterrupt from None
        except SystemExit as exc:
            raise StepFailedError(f"Step {self._node.name!r} exited with {exc.code!r:.200}.") from exc
        except Exception as exc:
            if self._debug and exc.__traceback__ is not None:
                frames = exc.__traceback__.tb_next or exc.__traceback__
                traceback.print_exception(type(exc), exc, frames)
                pdb.post_mortem(frames)
            raise

    def _made(self, value: Any, output: Output, recorded: Mapping[str, ArtifactVersion]) -> Manifest:
        """An output stored as the recorded one is: whole, or part by part."""
        then = recorded.get(output.name)
        if then is not None and then.materializer == parts.NAME and type(value) in parts.TYPES.values():
            return self._workspace.materializers.save_parts(value, output.artifact, self._store)[0]
        return self._saved(value, output.artifact)

    def _saved(self, value: Any, artifact: Artifact) -> Manifest:
        return self._workspace.materializers.save(value, artifact, self._store)[0]

    def _equal(self, recorded: ArtifactVersion | None, made: Manifest) -> bool | None:
        if recorded is None or recorded.digest == made.digest:
            return None if recorded is None else True
        return False if self._workspace.materializers.deterministic(made) else None

    def log_metadata(self, values: Mapping[str, Any], artifact: str | None) -> None:
        """Keep metadata of the step for whoever replays it."""
        self.metadata |= values if artifact is None else {f"{artifact}.{name}": each for name, each in values.items()}

    def save_artifact(self, value: Any, name: str, **options: Any) -> PendingArtifact:
        """Store a value where it is found by this call of the step alone."""
        options.pop("metadata", None)
        given = {key: option for key, option in options.items() if option is not None}
        self._kept[name] = self._saved(value, Artifact(name, **given))
        return PendingArtifact(name, self._kept[name].digest)

    def load_artifact(self, name: str, version: int | str, **options: Any) -> Any:
        """The value that the step loaded then; of what it did not load then, what there is today."""
        if name in self._kept and version == LATEST:
            return self._workspace.materializers.load(self._kept[name], self._store, **options)
        then = self._told.dynamic_inputs
        return (then.get(f"{name}@{version}") or self._workspace.artifact(name, version)).load(**options)
