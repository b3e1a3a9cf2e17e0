"""Frontiers: the nodes of a graph that can begin, as those before them end."""

from __future__ import annotations

from collections import deque

from drystone.graphs import Graph, Node
from drystone.runs import COMPLETE


class Frontier:
    """Where a walk through a graph stands.

    Attributes:
        ready: What can begin: nodes of the graph, and elements of its maps.
        statuses: How the nodes that have ended did.
    """

    def __init__(self, graph: Graph) -> None:
        self.ready: deque[Node] = deque(node for node in graph.nodes.values() if not node.upstream)
        self.statuses: dict[str, str] = {}
        self._missing = {node.name: len(node.upstream) for node in graph.nodes.values()}
        self._dependents: dict[str, list[Node]] = {name: [] for name in graph.nodes}
        for before, after in graph.edges:
            self._dependents[before].append(graph.nodes[after])

    def completed(self, node: Node, status: str) -> None:
        """A node has ended, and what waited for it alone can begin."""
        self.statuses[node.name] = status
        for dependent in self._dependents[node.name]:
            self._missing[dependent.name] -= 1
            if self._missing[dependent.name] == 0:
                self.ready.append(dependent)

    def blocking(self, node: Node) -> str | None:
        """The node that keeps another from running, since it made nothing."""
        return next((name for name in node.upstream if self.statuses[name] not in COMPLETE), None)
