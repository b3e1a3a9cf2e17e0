"""What has to be settled before a run: where it happens, its graph, what its references mean, whether it can run."""

from __future__ import annotations

import datetime
import string
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from drystone.artifacts import ArtifactVersion, Reference
from drystone.components import RESOURCES, TIMEOUT, Place, Stack
from drystone.declarations import checked_name
from drystone.digests import SCRIPT_NAME
from drystone.errors import EncodingError, PlanError, suggestion
from drystone.fingerprints import Fingerprints
from drystone.graphs import Graph, Node, Value, lookups
from drystone.models import Model
from drystone.pipelines import Pipeline, StepOptions
from drystone.planning import Planner, refused_pickles
from drystone.plugins import Plugins, load_plugins
from drystone.projects import canonical_name, project_root
from drystone.stacks import find_stacks
from drystone.values import to_json
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
    """A pipeline that is ready to run: where, its graph, its planner, and what it means in this workspace.

    Attributes:
        names: The artifact name of every output, in order, by node.
        found: What its references mean.
    """

    pipeline: Pipeline[Any, Any]
    root: Path
    workspace: Workspace
    stack: Stack
    plugins: Plugins
    graph: Graph
    planner: Planner
    role: ModelRole | None
    names: Mapping[str, tuple[str, ...]]
    found: Mapping[Reference | ArtifactVersion, ArtifactVersion]


def prepare(
    pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any], workspace: Workspace | None = None
) -> Prepared:
    """Settle everything about a run, without starting it.

    Raises:
        PipelineDefinitionError: The graph is wrong.
        NotFoundError: A reference leads nowhere.
        StackError: The stack cannot be found or built.
        PlanError: The stack cannot run it; all reasons are listed.
    """
    root = project_root()
    _name_script(root)
    plugins = load_plugins()
    workspace = workspace or Workspace.current()
    stack = find_stacks(root, plugins).active(pipeline.options.stack)
    stack = stack.at(Place(root=root, workspace=workspace.directory))
    workspace.bind_store(stack.artifact_store)
    graph = pipeline.build(parameters)
    bindings = [binding for node in graph.nodes.values() for binding in node.bindings.values()]
    references = dict.fromkeys(reference for binding in bindings for reference in lookups(binding))
    found = {each: workspace.resolve(each) if isinstance(each, Reference) else each for each in references}
    now = datetime.datetime.now().astimezone()
    prepared = Prepared(
        pipeline=pipeline,
        root=root,
        workspace=workspace,
        stack=stack,
        plugins=plugins,
        graph=graph,
        planner=Planner(workspace, stack.artifact_store, graph, pipeline.options, Fingerprints(root), found),
        role=_role(pipeline, parameters, workspace, now),
        names={node.name: _artifact_names(node, graph, now) for node in graph.nodes.values()},
        found=found,
    )
    _check(prepared)
    return prepared


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
    values = {**parameters, "date": f"{now:%Y-%m-%d}", "time": f"{now:%H-%M-%S}"}
    for _, placeholder, _, _ in string.Formatter().parse(template):
        if placeholder is not None and placeholder not in values:
            hint = suggestion(placeholder, values, "It may hold")
            raise PlanError(f"{label} is named {template!r}, and nothing is called {placeholder!r}.{hint}")
    try:
        return checked_name(template.format(**values), label[0].lower() + label[1:])
    except ValueError as exc:
        raise PlanError(f"{exc} It was made of {template!r}.") from None


def _role(
    pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any], workspace: Workspace, now: datetime.datetime
) -> ModelRole | None:
    model, version = pipeline.options.model, pipeline.options.version
    if model is None:
        return None
    if isinstance(model, Model):
        name = _filled(version, parameters, now, "The model version") if version else None
        return ModelRole(model=model, candidate=True, version_name=name)
    if model.is_shared:
        return ModelRole(model=model.model)
    return ModelRole(model=model.model, number=workspace.model_version(model.model.name, model.selector).number)


def _check(prepared: Prepared) -> None:
    """Refuse what this stack cannot run, and inputs that cannot be read."""
    problems = refused_pickles(prepared.graph, prepared.workspace)
    for node in prepared.graph.nodes.values():
        problems += [*_incapable(node, prepared.stack), *_unsendable(node)]
    if problems:
        raise PlanError(*problems)
    for version in prepared.found.values():
        prepared.planner.ensure(version)


def _incapable(node: Node, stack: Stack) -> Iterator[str]:
    options: StepOptions = node.step.options
    for capability, wanted in ((TIMEOUT, options.timeout), (RESOURCES, options.resources)):
        if wanted is not None and capability not in stack.orchestrator.capabilities:
            yield (
                f"Step {node.name!r} needs {capability}, which the orchestrator {stack.orchestrator.name!r} of stack "
                f"{stack.name!r} cannot provide. Remove {capability}= from the step, or run it on a stack whose "
                f"orchestrator has the capability {capability!r}."
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


def shown_parameter(value: Any) -> Any:
    """A pipeline parameter as JSON; an artifact as its name and version."""
    return to_json(str(value) if isinstance(value, ArtifactVersion | Reference) else value)
