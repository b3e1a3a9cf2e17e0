"""What has to be settled before a run: where it happens, its graph, what its references mean, whether it can run."""

from __future__ import annotations

import datetime
import logging
import string
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from drystone.annotations import abbreviated, described
from drystone.artifacts import ArtifactVersion, Reference
from drystone.capabilities import Need, unmet, way_out
from drystone.choices import Stacks
from drystone.declarations import Stored, checked_name, imported
from drystone.digests import SCRIPT_NAME, module_name
from drystone.environments import unfit
from drystone.errors import EncodingError, PlanError, suggestion
from drystone.fingerprints import Fingerprints
from drystone.graphs import Graph, Node, Value, lookups
from drystone.hits import Hits
from drystone.materializers import Materializers
from drystone.models import Model
from drystone.options import Retry
from drystone.orchestrators import ISOLATION, Orchestrator
from drystone.pipelines import Pipeline
from drystone.placements import INLINE, needs_by_orchestrator, orchestrator_for, orchestrators_of, placements
from drystone.plugins import Plugins, load_plugins
from drystone.projects import canonical_name, project_root, target_of
from drystone.stacks import Stack
from drystone.values import from_json, to_json
from drystone.workspaces import Workspace


@attrs.frozen(kw_only=True)
class ModelRole:
    """What a run is to a model: it makes a candidate version, serves the model, or uses a fixed version of it."""

    model: Model
    candidate: bool = False
    number: int | None = None
    version_name: str | None = None


@attrs.frozen(kw_only=True)
class Prepared:
    """A pipeline that is ready to run: where, its graph, its hits, and what it means in this workspace.

    Attributes:
        parameters: Of the pipeline, as JSON; an artifact as its name and version.
        references: Those of them that hold artifacts, so that they can be restored.
        asked: The options that were asked for beside the code, as JSON to restore them from.
        names: The artifact name of every output, in order, by node.
        found: What its references mean.
        where: Where each node runs: `inline` in this process, or `worker`.
        orchestrators: Those that the graph uses, by name; that of the stack itself has the empty one.
    """

    pipeline: Pipeline[Any, Any]
    root: Path
    workspace: Workspace
    stack: Stack
    plugins: Plugins
    graph: Graph
    hits: Hits
    role: ModelRole | None
    parameters: dict[str, Any]
    references: dict[str, Any]
    asked: dict[str, Any]
    names: Mapping[str, tuple[str, ...]]
    found: Mapping[Reference | ArtifactVersion, ArtifactVersion]
    where: Mapping[str, str]
    orchestrators: Mapping[str, Orchestrator]


def prepare(
    pipeline: Pipeline[Any, Any],
    parameters: Mapping[str, Any],
    *,
    workspace: Workspace | None = None,
    root: Path | None = None,
    copies: bool = True,
    provides: bool = True,
    apart: Collection[str] = (),
    at: datetime.datetime | None = None,
) -> Prepared:
    """Settle everything about a run, without starting it.

    Args:
        pipeline: What is to run.
        parameters: Its arguments.
        workspace: Where, if not in the current one.
        root: The project's root, if not that of the working directory.
        copies: Whether blobs that only another store has are brought into the stack's.
        provides: Whether what steps need to run, such as images, is made where it is missing.
        apart: Nodes that are better run in a process of their own, where that can be.
        at: When the run started, if it did: what `{date}` and `{time}` in names stand for.

    Raises:
        PipelineDefinitionError: The graph is wrong.
        NotFoundError: A reference leads nowhere.
        StackError: The stack cannot be found or built.
        PlanError: The stack cannot run it; all reasons are listed.
    """
    root = root or project_root()
    _name_script(root)
    plugins = load_plugins()
    workspace = workspace or Workspace.current()
    stacks = Stacks(root, plugins, workspace.published)
    defined = stacks.active(pipeline.options.stack)
    stack = defined.at(workspace.place_at(root))
    workspace.bind_store(stack.artifact_store)
    graph = pipeline.build(parameters)
    bindings = [binding for node in graph.nodes.values() for binding in node.bindings.values()]
    references = dict.fromkeys(reference for binding in bindings for reference in lookups(binding))
    found = {each: workspace.resolve(each) if isinstance(each, Reference) else each for each in references}
    now = (at or datetime.datetime.now()).astimezone()
    is_debugged = pipeline.options.debug
    where = dict.fromkeys(graph.nodes, INLINE) if is_debugged else placements(graph, stack, apart)
    needs = [] if is_debugged else unmet(graph, stack)
    problems = obstacles(graph, stack, workspace.materializers, where, needs)
    if problems:
        raise PlanError(*problems, *([way_out(graph, needs, stacks.usable(), plugins)] if needs else []))
    orchestrators = orchestrators_of(graph, stack)
    needed = needs_by_orchestrator(graph, stack, where)
    if provides:
        for name, steps in needed.items():
            orchestrators[name].provide([*steps.values()])
    environments = {
        name: orchestrators[on].environment(step) for on, steps in needed.items() for name, step in steps.items()
    }
    recorded, restored = _recorded(pipeline, parameters)
    role = _role(pipeline, parameters, workspace, now)
    prepared = Prepared(
        pipeline=pipeline,
        root=root,
        workspace=workspace,
        stack=stack,
        plugins=plugins,
        graph=graph,
        hits=Hits(
            workspace,
            stack.artifact_store,
            graph,
            pipeline.options,
            Fingerprints(root),
            found,
            copies=copies,
            components=defined.components,
            environments={name: each for name, each in environments.items() if each is not None},
        ),
        role=role,
        parameters=recorded,
        references=restored,
        asked=_recorded_options(pipeline, role),
        names={node.name: _artifact_names(node, graph, now) for node in graph.nodes.values()},
        found=found,
        where=where,
        orchestrators=orchestrators,
    )
    misfits = [*unfit(prepared.hits)]
    if misfits:
        raise PlanError(*misfits)
    for version in found.values():
        prepared.hits.ensure(version)
    return prepared


def _recorded(pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters as JSON for people, and those that hold artifacts as JSON to restore them from.

    Raises:
        PlanError: Some have no JSON form; all are listed.
    """
    shown: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    problems = []
    for name, value in parameters.items():
        try:
            shown[name], exact[name] = to_json(_replaced(value, _text)), to_json(_replaced(value, _reference))
        except (EncodingError, RecursionError) as exc:
            problems.append(
                f"Parameter {name!r} of pipeline {pipeline.name!r} cannot be recorded: {exc} Pass something that names "
                "it, such as a string, and choose in the body of the pipeline."
            )
    if problems:
        raise PlanError(*problems)
    return shown, {name: value for name, value in exact.items() if value != shown[name]}


def _replaced(value: Any, replacement: Callable[[Any], Any]) -> Any:
    """A value with everything in it that is no container replaced."""
    if type(value) is dict:
        return {key: _replaced(item, replacement) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_replaced(item, replacement) for item in value)
    if isinstance(value, Retry):  # it says of which exceptions by their classes, or by a function
        return attrs.evolve(value, when=_replaced(value.when, replacement))
    return replacement(value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Stored) else value


def _reference(value: Any) -> Any:
    return Reference(value.name, value.version) if isinstance(value, ArtifactVersion) else value


@attrs.frozen
class ByName:
    """What stands in records for a function or class: where it is imported from."""

    target: str


def _recorded_options(pipeline: Pipeline[Any, Any], role: ModelRole | None) -> dict[str, Any]:
    """What was asked for beside the code, as JSON; the stack is recorded by its name, and debugging is for one time."""
    asked = {name: _exact(value) for name, value in pipeline.asked.items() if name not in ("stack", "debug")}
    if "steps" in asked:
        steps = pipeline.asked["steps"].items()
        asked["steps"] = {step: {name: _exact(value) for name, value in given.items()} for step, given in steps}
    if role is not None and role.version_name is not None:  # its placeholders mean what they meant at the start
        asked["version"] = role.version_name
    return asked


def _exact(value: Any) -> Any:
    """A value as JSON to restore it from; of what has no exact form, its name."""

    def leaf(each: Any) -> Any:
        if callable(each) and hasattr(each, "__qualname__"):
            return ByName(f"{module_name(each.__module__)}:{each.__qualname__}")
        return _reference(each)

    try:
        return to_json(_replaced(value, leaf))
    except (EncodingError, RecursionError):
        return to_json(ByName(abbreviated(value)))


def restored_options(run: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a run was asked for. Those that cannot be imported are left out, each with a warning."""
    steps = recorded.get("steps", {}).items()
    of_steps = {step: _restored(f"step {step!r} of run {run}", given) for step, given in steps}
    options = _restored(f"run {run}", {name: data for name, data in recorded.items() if name != "steps"})
    return options | ({"steps": of_steps} if of_steps else {})


def _restored(label: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    def leaf(value: Any) -> Any:
        return imported(value.target) if isinstance(value, ByName) else value

    options = {}
    for name, data in recorded.items():
        try:
            options[name] = _replaced(from_json(data), leaf)
        except (EncodingError, ImportError, AttributeError, ValueError) as exc:
            text = "%s of %s cannot be restored, so the run goes on without it: %s"
            logging.getLogger(__name__).warning(text, name, label, exc)
    return options


def _name_script(root: Path) -> None:
    """Register a script that runs as `__main__` under the name it would be imported by."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or hasattr(main, SCRIPT_NAME):
        return
    name = canonical_name(Path(file), root)
    setattr(main, SCRIPT_NAME, name)
    sys.modules.setdefault(name, main)


def _artifact_names(node: Node, graph: Graph, now: datetime.datetime) -> tuple[str, ...]:
    several = len(node.step.outputs) > 1
    return tuple(
        _filled(output.artifact.name, graph.parameters, now, f"Output {output.name!r} of step {node.name!r}")
        if output.artifact.name
        else ".".join([graph.pipeline, node.name, *[output.name] * several])
        for output in node.step.outputs
    )


def _filled(template: str, parameters: Mapping[str, Any], now: datetime.datetime, label: str) -> str:
    """A name with its placeholders filled in: `{date}`, `{time}` and parameters."""
    values = {"date": f"{now:%Y-%m-%d}", "time": f"{now:%H-%M-%S}", **parameters}
    try:
        for _, placeholder, _, _ in string.Formatter().parse(template):
            if placeholder is not None and placeholder not in values:
                hint = suggestion(placeholder, values, "It may hold")
                raise PlanError(f"{label} is named {template!r}, and nothing is called {placeholder!r}.{hint}")
        return checked_name(template.format(**values), label[0].lower() + label[1:])
    except (ValueError, TypeError) as exc:
        raise PlanError(f"{exc} It was made of {template!r}.") from None


def _role(
    pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any], workspace: Workspace, now: datetime.datetime
) -> ModelRole | None:
    model, version = pipeline.options.model, pipeline.options.version
    if version and not isinstance(model, Model):
        raise PlanError(
            f"{pipeline.label} makes no model version that could be named {version!r}: give it model=, as in "
            '@pipeline(model=Model("name")), or leave the name out.'
        )
    if model is None:
        return None
    if isinstance(model, Model):
        name = _filled(version, parameters, now, "The model version") if version else None
        return ModelRole(model=model, candidate=True, version_name=name)
    if model.is_shared:
        return ModelRole(model=model.model)
    return ModelRole(model=model.model, number=workspace.model_version(model.model.name, model.selector).number)


def obstacles(
    graph: Graph, stack: Stack, materializers: Materializers, where: Mapping[str, str], needs: Iterable[Need]
) -> list[str]:
    """Why this stack cannot run a graph, if it cannot, beginning with needs that it does not meet."""
    problems = [need.refusal(stack) for need in needs]
    for node in graph.nodes.values():
        unimportable = [] if where[node.name] == INLINE else _unimportable(node, stack)
        problems += [*_unpickled(node, materializers), *unimportable, *_unsendable(node)]
    return problems


def _unimportable(node: Node, stack: Stack) -> Iterator[str]:
    if ISOLATION in orchestrator_for(node, stack)[1].capabilities and target_of(node.step) is None:
        yield (
            f"Step {node.name!r} is to run in a process of its own on stack {stack.name!r}, but is defined inside a "
            "function, a notebook or a session, where no other process can import it. Move it to the top level of a "
            "module, or run it in this process: without on=, timeout= and resources=, with isolation='auto' or "
            "'inline'."
        )


def _unpickled(node: Node, materializers: Materializers) -> Iterator[str]:
    """Annotated outputs that only pickle could store, in a workspace that forbids it."""
    for output in node.step.outputs:
        if materializers.only_pickle(output.annotation) and not (
            materializers.allow_pickle or output.artifact.allow_pickle
        ):
            yield (
                f"Step {node.name!r} makes {output.name!r} as {described(output.annotation)}, which only pickle can "
                "store, and this workspace forbids pickle. Install a plugin for the type, or declare "
                "Artifact(allow_pickle=True)."
            )


def _unsendable(node: Node) -> Iterator[str]:
    for parameter, binding in node.bindings.items():
        if isinstance(binding, Value):
            try:
                to_json(binding.value)
            except (EncodingError, RecursionError) as exc:
                yield (
                    f"Parameter {parameter!r} of step {node.name!r} cannot be passed as it is: {exc} Make it the "
                    "output of a step, or save_artifact(value, name) and pass the version that returns."
                )
