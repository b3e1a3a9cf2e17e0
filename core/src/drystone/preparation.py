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
from drystone.components import RESOURCES, TIMEOUT, Place
from drystone.digests import SCRIPT_NAME
from drystone.errors import EncodingError, PlanError, suggestion
from drystone.fingerprints import Fingerprints
from drystone.graphs import Graph, Node, Value, lookups
from drystone.journals import Journal, ModelRole
from drystone.models import Model, ModelReference
from drystone.pipelines import Pipeline
from drystone.planning import Planner, refused_pickles
from drystone.plugins import Plugins, load_plugins
from drystone.projects import canonical_name, project_root
from drystone.stacks import Stack, find_stacks
from drystone.values import to_json
from drystone.workspaces import Workspace


@attrs.frozen(kw_only=True)
class Setting:
    """Where a pipeline is planned and run."""

    root: Path
    workspace: Workspace
    stack: Stack
    plugins: Plugins


@attrs.frozen(kw_only=True)
class Prepared:
    """A pipeline that is ready to run: its graph, its planner, and what it means in this workspace."""

    pipeline: Pipeline[Any, Any]
    setting: Setting
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
    """
    options = pipeline.options
    root = project_root()
    _name_script(root)
    plugins = load_plugins()
    workspace = workspace or Workspace.current()
    stack = find_stacks(root, plugins).active(options.stack).at(Place(root=root, workspace=workspace.directory))
    workspace.bind_store(stack.artifact_store)
    graph = pipeline.build(parameters)
    now = datetime.datetime.now().astimezone()
    version = filled(options.version, parameters, now, "The model version") if options.version else None
    found = {reference: _resolved(reference, workspace) for reference in _references(graph)}
    return Prepared(
        pipeline=pipeline,
        setting=Setting(root=root, workspace=workspace, stack=stack, plugins=plugins),
        graph=graph,
        planner=Planner(workspace, stack.artifact_store, graph, options, Fingerprints(root), found),
        role=role_of(options.model, workspace, version),
        names=_artifact_names(graph, now),
        found=found,
    )


def _references(graph: Graph) -> dict[Reference | ArtifactVersion, None]:
    return {
        reference: None
        for node in graph.nodes.values()
        for binding in node.bindings.values()
        for reference in lookups(binding)
    }


def _resolved(reference: Reference | ArtifactVersion, workspace: Workspace) -> ArtifactVersion:
    return workspace.resolve(reference) if isinstance(reference, Reference) else reference


def _artifact_names(graph: Graph, now: datetime.datetime) -> dict[str, tuple[str, ...]]:
    """The artifact name of every output, in order, by node."""
    return {
        node.name: tuple(
            filled(output.artifact.name, graph.parameters, now, f"Output {output.name!r} of step {node.name!r}")
            if output.artifact.name
            else ".".join([graph.pipeline, node.name, *([output.name] if len(node.step.outputs) > 1 else [])])
            for output in node.step.outputs
        )
        for node in graph.nodes.values()
    }


def _name_script(root: Path) -> None:
    """Register a script that runs as `__main__` under the name it would be imported by."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or hasattr(main, SCRIPT_NAME):
        return
    name = canonical_name(Path(file), root)
    setattr(main, SCRIPT_NAME, name)
    sys.modules.setdefault(name, main)


def check(prepared: Prepared) -> None:
    """Refuse what this stack cannot run.

    Raises:
        PlanError: Lists everything.
    """
    stack, graph = prepared.setting.stack, prepared.graph
    can = stack.orchestrator.capabilities
    problems = refused_pickles(graph, prepared.setting.workspace)
    for node in graph.nodes.values():
        options = node.step.options
        for capability, wanted in ((TIMEOUT, options.timeout), (RESOURCES, options.resources)):
            if wanted is not None and capability not in can:
                problems.append(
                    f"Step {node.name!r} needs {capability}, which the orchestrator {stack.orchestrator.name!r} of "
                    f"stack {stack.name!r} cannot provide. Remove {capability}= from the step, or run it on a "
                    f"stack whose orchestrator has the capability {capability!r}."
                )
        problems += _unsendable(node)
    if problems:
        raise PlanError(*problems)
    for version in prepared.found.values():
        prepared.planner.ensure(version)


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
    if isinstance(value, ArtifactVersion | Reference):
        return to_json(str(value))
    return to_json(value)


def journal_of(prepared: Prepared, run: str, epoch: int) -> Journal:
    """The journal of one run."""
    setting = prepared.setting
    return Journal(
        setting.workspace,
        prepared.graph,
        run,
        epoch,
        prepared.role,
        prepared.names,
        prepared.found,
        setting.stack.artifact_store.identity,
    )


def filled(template: str, parameters: Mapping[str, Any], now: datetime.datetime, label: str) -> str:
    """A name with its placeholders filled in: `{date}`, `{time}` and parameters.

    Raises:
        PlanError: It has a placeholder that is neither.
    """
    values = {**parameters, "date": f"{now:%Y-%m-%d}", "time": f"{now:%H-%M-%S}"}
    for _, placeholder, _, _ in string.Formatter().parse(template):
        if placeholder is not None and placeholder not in values:
            hint = suggestion(placeholder, values, "It may hold")
            raise PlanError(f"{label} is named {template!r}, and nothing is called {placeholder!r}.{hint}")
    return template.format(**values)


def role_of(model: Model | ModelReference | None, workspace: Workspace, version_name: str | None) -> ModelRole | None:
    """What a run with this `model=` option is to its model.

    Raises:
        NotFoundError: It names a version or a stage that does not exist.
    """
    if model is None:
        return None
    if isinstance(model, Model):
        return ModelRole(model=model, candidate=True, version_name=version_name)
    if model.is_shared:
        return ModelRole(model=model.model)
    return ModelRole(model=model.model, number=workspace.model_version(model.model.name, model.selector).number)
