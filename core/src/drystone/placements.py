"""Placements: which steps of a graph the driver runs in its own process, known before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate

from drystone.graphs import Graph, Node
from drystone.orchestrators import ISOLATION, Orchestrator, StepNeeds
from drystone.projects import target_of
from drystone.stacks import Stack

INLINE, WORKER = "inline", "worker"


def placements(graph: Graph, stack: Stack, apart: Collection[str] = ()) -> dict[str, str]:
    """Where each node runs: `inline` or `worker`.

    Args:
        graph: The graph.
        stack: Has the orchestrators, each of which decides for its nodes.
        apart: Nodes that took a driver down before; where it can be, they get a process of their own.
    """
    lonely = {name for name in alone(graph) if not graph.nodes[name].mapped}  # elements run beside each other
    found = {}
    for node in graph.nodes.values():
        orchestrator, needs = orchestrator_for(node, stack)[1], needs_of(node, node.name in lonely)
        isolated = node.name in apart and needs.importable and ISOLATION in orchestrator.capabilities
        inline = orchestrator.runs_inline(needs) and not isolated
        found[node.name] = INLINE if inline else WORKER
    return found


def orchestrator_for(node: Node, stack: Stack) -> tuple[str, Orchestrator]:
    """Where a node runs: the name of the stack's orchestrator for such steps, which is empty for its own, and that.

    Where the stack has none of the name that the step says, it is the stack's own: plans refuse that, and where a run
    is debugged, the driver runs all steps itself.
    """
    on = node.step.options.on
    known = on if on in stack.step_orchestrators else None
    return known or "", stack.orchestrator_of(known)


def orchestrators_of(graph: Graph, stack: Stack) -> dict[str, Orchestrator]:
    """Those of a stack that a graph uses, by name; that of the stack itself has the empty one."""
    return dict(orchestrator_for(node, stack) for node in graph.nodes.values())


def needs_by_orchestrator(graph: Graph, stack: Stack, where: Mapping[str, str]) -> dict[str, dict[str, StepNeeds]]:
    """What is known of the nodes that may find another environment, by name, by that of their orchestrator."""
    found: dict[str, dict[str, StepNeeds]] = {}
    for node in graph.nodes.values():
        on, orchestrator = orchestrator_for(node, stack)
        if where[node.name] != INLINE and _has_environments(orchestrator):
            found.setdefault(on, {})[node.name] = needs_of(node, alone=False)
    return found


def _has_environments(orchestrator: Orchestrator) -> bool:
    """Whether there is something to ask: thousands of nodes take their time."""
    kind = type(orchestrator)
    return kind.environment is not Orchestrator.environment or kind.provide is not Orchestrator.provide


def needs_of(node: Node, alone: bool) -> StepNeeds:
    """What the orchestrator is told of a node."""
    options = node.step.options
    return StepNeeds(
        name=node.name,
        alone=alone,
        importable=target_of(node.step) is not None,
        timeout=options.timeout,
        resources=options.resources,
    )


def alone(graph: Graph) -> Iterator[str]:
    """The nodes that every other node comes before or after, in a time that grows with the number of edges.

    In the order of execution, a node is one of them if it is the only one up to there that nothing up to there needs,
    and the only one from there on that needs nothing from there on.
    """
    names = list(graph.nodes)
    place, last = {name: index for index, name in enumerate(names)}, len(names) - 1
    needed, needs = [last + 1] * len(names), [-1] * len(names)
    for before, after in graph.edges:
        needed[place[before]] = min(needed[place[before]], place[after])
        needs[place[after]] = max(needs[place[after]], place[before])
    latest = [-1, *accumulate(needed, max)]
    earliest = [*reversed([*accumulate(reversed(needs), min)]), last + 1]
    for index, name in enumerate(names):
        if latest[index] <= index <= earliest[index + 1]:
            yield name
