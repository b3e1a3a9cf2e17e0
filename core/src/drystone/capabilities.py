"""Capabilities: what the steps of a graph need of a stack, and which stacks and components have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.catalogs import providers
from drystone.errors import DrystoneError, DuplicateComponentError
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
        capability: What that must be capable of; empty if it only must be there.
        remedy: What to do without it.
    """

    who: str
    kind: str
    capability: str = ""
    remedy: str = ""

    def is_met(self, stack: Stack) -> bool:
        """Whether a stack has it."""
        component = stack.components.get(self.kind)
        return component is not None and (not self.capability or self.capability in _capabilities(component))

    def refusal(self, stack: Stack) -> str:
        """What a run is refused with."""
        if not self.capability:
            return f"{self.who} uses the component {self.kind!r}, which stack {stack.name!r} does not have."
        component = stack.components[self.kind]
        return (
            f"{self.who} needs {self.capability}, which the {self.kind.replace('_', ' ')} {component.name!r} of stack "
            f"{stack.name!r} cannot provide.{self.remedy}"
        )


def needs_of(graph: Graph, stack: Stack) -> Iterator[Need]:
    """What the steps of a graph, and the orchestrator of a stack, need."""
    for node in graph.nodes.values():
        who, options = f"Step {node.name!r}", node.step.options
        for capability, wanted in ((TIMEOUT, options.timeout), (RESOURCES, options.resources)):
            if wanted is not None:
                remedy = f" Remove {capability}= from the step, or run it on another stack."
                yield Need(who, Orchestrator.kind, capability, remedy)
        yield from (Need(who, kind) for kind in options.uses)
    for capability in sorted(stack.orchestrator.store_capabilities):
        yield Need(f"The orchestrator {stack.orchestrator.name!r}", ArtifactStore.kind, capability)


def unmet(graph: Graph, stack: Stack) -> list[Need]:
    """The needs that a stack does not meet."""
    return [need for need in needs_of(graph, stack) if not need.is_met(stack)]


def way_out(graph: Graph, needs: Iterable[Need], stacks: Iterable[Stack], plugins: Plugins) -> str:
    """Where a graph can run: stacks that meet all its needs, else installed components that meet some."""
    others = list(stacks)
    able = [f"{stack.name!r}" for stack in others if not unmet(graph, stack)]
    if able:
        return f"Stacks that have all of it: {', '.join(able)}."
    wanted = {(need.kind, need.capability): need for need in needs}
    sentences = [_offers(need, others, plugins) for need in wanted.values()]
    return f"No stack of this project has all of it. {' '.join(sentences)}"


def _offers(need: Need, stacks: Iterable[Stack], plugins: Plugins) -> str:
    """The stacks that meet one need, and the installed components that would."""
    what = f"{need.kind.replace('_', ' ')} {f'capable of {need.capability}' if need.capability else ''}".rstrip()
    names = [stack.name for stack in stacks if need.is_met(stack)]
    try:
        components = plugins.unique("drystone_components").items()
    except DuplicateComponentError as exc:
        return str(exc)
    installed = [name for (kind, name), (cls, _) in components if kind == need.kind and _may(cls, need.capability)]
    found = [f"of stack {name!r}" for name in names] + [f"{name!r} is installed" for name in installed]
    known = providers(need.kind)
    elsewhere = f", which {' and '.join(known)} may bring" if known else ""
    return f"{what.capitalize()}: {', '.join(found) or f'nothing that is installed{elsewhere}'}."


def _may(cls: type, capability: str) -> bool:
    """Whether components of a class have a capability, as far as one without settings tells."""
    try:
        return not capability or capability in _capabilities(cls())
    except (DrystoneError, TypeError):  # it needs settings
        return False


def _capabilities(component: object) -> frozenset[str]:
    return getattr(component, "capabilities", frozenset())
