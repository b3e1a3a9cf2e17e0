"""Capabilities: what the steps of a graph need of a stack, and which stacks and components have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.catalogs import providers
from drystone.components import StackComponent
from drystone.errors import DrystoneError, DuplicateComponentError, suggestion
from drystone.graphs import Graph
from drystone.orchestrators import RESOURCES, TIMEOUT, Orchestrator
from drystone.plugins import Plugins
from drystone.stacks import Stack


@attrs.frozen
class Need:
    """Something that a stack must have.

    Attributes:
        who: Who needs it, as messages begin with it.
        kind: Of the component that must have it, or be there.
        on: Which of the `step_orchestrators` that is; None for a component of the stack itself.
        capability: What that must be capable of; empty if it only must be there.
        remedy: What to do without it.
    """

    who: str
    kind: str
    capability: str = ""
    remedy: str = ""
    on: str | None = None

    def component(self, stack: Stack) -> StackComponent | None:
        """What must have it, if the stack has that."""
        return stack.components.get(self.kind) if self.on is None else stack.step_orchestrators.get(self.on)

    def is_met(self, stack: Stack) -> bool:
        """Whether a stack has it."""
        component = self.component(stack)
        return component is not None and (not self.capability or self.capability in _capabilities(component))

    def refusal(self, stack: Stack) -> str:
        """What a run is refused with."""
        component = self.component(stack)
        if component is not None:
            return (
                f"{self.who} needs {self.capability}, which the {self.kind.replace('_', ' ')} {component.name!r}"
                f"{_for(self.on)} of stack {stack.name!r} cannot provide.{self.remedy}"
            )
        if self.on is None:
            return f"{self.who} uses the component {self.kind!r}, which stack {stack.name!r} does not have."
        hint = suggestion(self.on, stack.step_orchestrators, "It has")
        return f"{self.who} is to run on {self.on!r}, an orchestrator that stack {stack.name!r} does not have.{hint}"


def needs_of(graph: Graph, stack: Stack) -> Iterator[Need]:
    """What the steps of a graph, and the orchestrators of a stack that they run on, need."""
    for node in graph.nodes.values():
        who, options = f"Step {node.name!r}", node.step.options
        if options.on is not None and options.on not in stack.step_orchestrators:
            yield Need(who, Orchestrator.kind, on=options.on)
            wanted = {}
        else:
            wanted = {TIMEOUT: options.timeout, RESOURCES: options.resources}
        for capability in (each for each, value in wanted.items() if value is not None):
            remedy = f" Remove {capability}= from the step, or run it on another stack."
            yield Need(who, Orchestrator.kind, capability, remedy, options.on)
        yield from (Need(who, kind) for kind in options.uses)
    for on in dict.fromkeys(node.step.options.on for node in graph.nodes.values()):
        yield from needs_of_stores(stack, on)


def needs_of_stores(stack: Stack, on: str | None) -> Iterator[Need]:
    """What one of the orchestrators of a stack, if it is there, needs of the artifact store."""
    if on is None or on in stack.step_orchestrators:
        orchestrator = stack.orchestrator_of(on)
        for capability in sorted(orchestrator.store_capabilities):
            yield Need(f"The orchestrator {orchestrator.name!r}{_for(on)}", ArtifactStore.kind, capability)


def _for(on: str | None) -> str:
    return "" if on is None else f" for steps on {on!r}"


def unmet(graph: Graph, stack: Stack) -> list[Need]:
    """The needs that a stack does not meet."""
    return [need for need in needs_of(graph, stack) if not need.is_met(stack)]


def way_out(graph: Graph, needs: Iterable[Need], stacks: Iterable[Stack], plugins: Plugins) -> str:
    """Where a graph can run: stacks that meet all its needs, else installed components that meet some."""
    others = list(stacks)
    able = [f"{stack.name!r}" for stack in others if not unmet(graph, stack)]
    if able:
        return f"Stacks that have all of it: {', '.join(able)}."
    wanted = {(need.kind, need.on, need.capability): need for need in needs}
    sentences = [_offers(need, others, plugins) for need in wanted.values()]
    return f"No stack of this project has all of it. {' '.join(sentences)}"


def _offers(need: Need, stacks: Iterable[Stack], plugins: Plugins) -> str:
    """The stacks that meet one need, and the installed components that would."""
    able = f" capable of {need.capability}" if need.capability else ""
    what = f"{need.kind.replace('_', ' ')}{_for(need.on)}{able}".capitalize()
    names = [stack.name for stack in stacks if need.is_met(stack)]
    if need.on is not None and not need.capability and not names:
        return f"{what}: no stack has one. Give a stack one: step_orchestrators={{{need.on!r}: …}}."
    try:
        components = plugins.unique("drystone_components").items()
    except DuplicateComponentError as exc:
        return str(exc)
    installed = [name for (kind, name), (cls, _) in components if kind == need.kind and _may(cls, need.capability)]
    found = [f"of stack {name!r}" for name in names] + [f"{name!r} is installed" for name in installed]
    known = providers(need.kind)
    elsewhere = f", which {' and '.join(known)} may bring" if known else ""
    return f"{what}: {', '.join(found) or f'nothing that is installed{elsewhere}'}."


def _may(cls: type, capability: str) -> bool:
    """Whether components of a class have a capability, as far as one without settings tells."""
    try:
        return not capability or capability in _capabilities(cls())
    except (DrystoneError, TypeError):  # it needs settings
        return False


def _capabilities(component: object) -> frozenset[str]:
    return getattr(component, "capabilities", frozenset())
